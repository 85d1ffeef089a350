//! Users from the first start to the command line: the set-up link, tokens, what ends whom, and TLS that changes under way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_tests::api::Api;
use pattoo_tests::authority::Authority;
use pattoo_tests::program::{PATIENCE, binary};
use pattoo_tests::site::client;
use pattoo_tests::stack::Stack;
use pattoo_tests::wait_for;
use serde_json::{Value, json};

/// A server that was told to stop is gone long before a stream would have ended by itself.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// A server that nobody reads without a login.
struct Closed {
    stack: Stack,
    config: PathBuf,
    api: Api,
}

impl Closed {
    fn start(http: &str) -> Result<Self> {
        let mut stack = Stack::new()?;
        let config = stack.folder().join("server.yaml");
        std::fs::write(
            &config,
            format!("data: data\nhttp: {{ listen: 127.0.0.1:0{http} }}\nbroker: {{ listen: 127.0.0.1:0 }}\nagents: {{ listen: off }}\n"),
        )?;
        stack.start_server_with(&config)?;
        let api = stack.api()?;
        Ok(Self { stack, config, api })
    }

    /// Runs `pattoo-server …`; gives whether it succeeded, and what it said.
    fn run(&self, args: &[&str], input: &str) -> Result<(bool, String)> {
        let mut command = Command::new(binary("pattoo-server")?);
        command.args(args).arg("--config").arg(&self.config);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
    }

    fn does(&self, args: &[&str], input: &str) -> Result<String> {
        let (done, said) = self.run(args, input)?;
        ensure!(done, "pattoo-server {args:?}: {said}");
        Ok(said)
    }

    fn post(&self, path: &str, cookie: Option<&str>, body: &Value) -> Result<(u16, Option<String>, String)> {
        let mut headers = vec![("sec-fetch-site", "same-origin")];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        let method = if path.ends_with("password") { "PUT" } else { "POST" };
        self.api.send(method, path, &headers, Some(body))
    }

    fn reads(&self, header: (&str, &str)) -> Result<u16> {
        Ok(self.api.send("GET", "/api/v1/gateways", &[header], None)?.0)
    }

    fn wait_read(&self, header: (&str, &str), status: u16) -> Result<()> {
        wait_for(&format!("{status} for {}", header.0), PATIENCE, || (self.reads(header).ok()? == status).then_some(()))
    }
}

fn secret(text: &str) -> Result<String> {
    let secret = text.split("#link=").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(secret.with_context(|| format!("no link in {text}"))?.to_owned())
}

#[test]
fn from_the_first_start_to_the_last_session() -> Result<()> {
    let mut closed = Closed::start("")?;
    let server = closed.stack.server.as_ref().context("a server")?;
    let link = secret(&server.wait_line("the set-up link", |line| line.contains("#link="))?)?;
    ensure!(closed.reads(("x", "y"))? == 401, "read without a login");

    let (status, cookie, _) = closed.post("/api/v1/session/link", None, &json!({ "link": link }))?;
    ensure!(status == 200);
    let chosen = closed.post("/api/v1/session/password", cookie.as_deref(), &json!({"old": "", "new": "seven tame herons"}))?;
    let cookie = chosen.1.with_context(|| chosen.2.clone())?;
    ensure!(closed.reads(("cookie", &cookie))? == 200);
    let told = closed.stack.server.as_ref().context("a server")?.output();
    ensure!(told.iter().filter(|line| line.contains(&link)).count() == 1, "the link stands in one place only");

    // The command line, beside the running server.
    let (done, said) = closed.run(&["user", "disable", "admin"], "")?;
    ensure!(!done && said.contains("last admin"), "{said}");
    closed.does(&["user", "add", "olga", "--role", "operator", "--password-stdin"], "correct horse battery\n")?;
    let token = closed.does(&["token", "add", "olga", "metrics", "--role", "viewer", "--days", "7"], "")?;
    let bearer = format!("Bearer {}", token.trim());
    closed.wait_read(("authorization", &bearer), 200)?;
    let olga = closed.post("/api/v1/session", None, &json!({"user": "olga", "password": "correct horse battery"}))?;
    ensure!(olga.0 == 200 && olga.2.contains("\"must_choose\":true"), "{}", olga.2);
    let listed: Value = serde_json::from_str(&closed.does(&["token", "list", "--json"], "")?)?;
    let id = listed.pointer("/0/id").and_then(Value::as_str).context("an id")?.to_owned();
    closed.does(&["token", "revoke", &id], "")?;
    closed.wait_read(("authorization", &bearer), 401)?;
    let again = secret(&closed.does(&["user", "passwd", "olga"], "")?)?;
    wait_for("the new link to be known", PATIENCE, || {
        (closed.post("/api/v1/session/link", None, &json!({ "link": again })).ok()?.0 == 200).then_some(())
    })?;
    let list = closed.does(&["user", "list"], "")?;
    ensure!(list.contains("admin") && list.contains("olga") && !list.contains("argon2"), "{list}");
    let (_, _, log) = closed.api.send("GET", "/api/v1/audit", &[("cookie", &cookie)], None)?;
    for words in
        ["\"from\":\"command line\"", "\"what\":\"user passwd\",\"on\":\"olga\"", "\"what\":\"token revoke\"", "\"from\":\"127.0.0.1\""]
    {
        ensure!(log.contains(words), "{words} in {log}");
    }
    ensure!(!log.contains("horse") && !log.contains(&again), "a secret in {log}");

    // An open stream holds up nothing, and a restart logs nobody out.
    let mut stream = TcpStream::connect(closed.api.address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n\r\n")?;
    ensure!(first_line(&mut stream)?.contains("200"));
    let port = closed.api.address.port();
    let began = Instant::now();
    let status = closed.stack.server.as_mut().context("a server")?.stop()?;
    ensure!(status.success() && began.elapsed() < STOPS_WITHIN, "{status} after {:?}", began.elapsed());
    let text =
        std::fs::read_to_string(&closed.config)?.replace("listen: 127.0.0.1:0 }\nbroker", &format!("listen: 127.0.0.1:{port} }}\nbroker"));
    std::fs::write(&closed.config, text)?;
    closed.stack.start_server_with(&closed.config.clone())?;
    ensure!(closed.reads(("cookie", &cookie))? == 200, "the restart logged out");
    let said = closed.stack.server.as_ref().context("a server")?.output();
    ensure!(!said.iter().any(|line| line.contains("#link=")), "no second link: {said:?}");
    Ok(())
}

fn first_line(stream: &mut impl Read) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// The certificate that the server shows, and its answer to a question over TLS.
fn shown(closed: &Closed, ca: &Path) -> Result<(Vec<u8>, String)> {
    let config = client(ca, None, &[&rustls::version::TLS13])?;
    let mut connection = rustls::ClientConnection::new(config, "localhost".try_into()?)?;
    let mut tcp = TcpStream::connect(closed.api.address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let line = first_line(&mut stream)?;
    let certificate = connection.peer_certificates().and_then(|chain| chain.first()).context("a certificate")?;
    Ok((certificate.to_vec(), line))
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Arc::new(Authority::new(folder.path(), "plant")?);
    let (pem, key) = authority.server(folder.path())?;
    let ca = folder.path().join("plant.pem");
    let closed = Closed::start(&format!(", tls: {{ certificate: '{}', key: '{}' }}", pem.display(), key.display()))?;
    let (first, line) = shown(&closed, &ca)?;
    ensure!(line.contains("200 OK"), "{line}");
    let said = closed.stack.server.as_ref().context("a server")?.wait_line("the set-up link", |line| line.contains("#link="))?;
    ensure!(said.contains("https://127.0.0.1:"), "{said}");

    // Not TLS, and nothing at all, keep nobody else out.
    let mut plain = TcpStream::connect(closed.api.address)?;
    plain.set_read_timeout(Some(PATIENCE))?;
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let _silent = TcpStream::connect(closed.api.address)?;
    let mut answer = Vec::new();
    // An alert, or the end of the connection: no HTTP.
    let _ = plain.read_to_end(&mut answer);
    ensure!(!answer.starts_with(b"HTTP"), "plain HTTP was answered");

    std::fs::write(&pem, "broken")?;
    let server = closed.stack.server.as_ref().context("a server")?;
    server.wait_line("the broken file to be told", |line| line.contains("going on with the certificate as it was"))?;
    ensure!(shown(&closed, &ca)?.0 == first, "the old one goes on");
    let (new, _) = authority.server(&folder.path().join("renewed"))?;
    std::fs::copy(new.with_extension("key"), &key)?;
    std::fs::copy(&new, &pem)?;
    wait_for("the new certificate", PATIENCE, || (shown(&closed, &ca).ok()?.0 != first).then_some(()))
}
