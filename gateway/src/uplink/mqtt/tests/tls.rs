//! With a broker that wants TLS.

use super::*;

fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl must be installed for this test");
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `openssl -days 2` made a moment ago.
fn is_in_two_days(ends_ms: i64) -> bool {
    (0..600_000).contains(&(clock::now_ms() + 2 * 86_400_000 - ends_ms))
}

#[tokio::test]
async fn tls_works_with_the_given_authority_and_refuses_another() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    for ca in ["ca", "other"] {
        openssl(
            &dir,
            &format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={ca} -keyout {ca}.key -out {ca}.pem"),
        );
    }
    openssl(&dir, "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(dir.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(&dir, "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem");
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |name: &str| dir.join(name).display().to_string();
    let more = format!(
        "user root\nlistener {tls_port} 127.0.0.1\ntls_version tlsv1.3\ncertfile {}\nkeyfile {}\n",
        at("server.pem"),
        at("server.key")
    );
    let broker = Mosquitto::prepared(folder, &more);
    let server = Server::start(broker.port, "server");
    let url = format!("mqtts://127.0.0.1:{tls_port}");
    let stranger = Gateway::start(&config(url.clone(), Some(dir.join("other.pem"))), 1).await;
    let gateway = Gateway::start(&config(url, Some(dir.join("ca.pem"))), 5).await;
    gateway.drained().await;
    server.seen.lock().unwrap().assert_has_all(5);
    assert_eq!(stranger.buffer.stats().batches, 1);
    // When certificates end that are trusted or were shown; the stranger trusts another authority and believes nothing that it was shown.
    let ends =
        |gateway: &Gateway| gateway.ends.known().into_iter().map(|(what, ends_ms)| (what, is_in_two_days(ends_ms))).collect::<Vec<_>>();
    let authority = |name: &str| (format!("the authority {}", dir.join(name).display()), true);
    let shown = (format!("the certificate of mqtts://127.0.0.1:{tls_port}"), true);
    assert_eq!((ends(&gateway), ends(&stranger)), (vec![authority("ca.pem"), shown], vec![authority("other.pem")]));
}
