//! From the configuration of the uplink to the options of the MQTT client: URL, credentials, TLS.
//!
//! Reads the files that the configuration names; connects nothing, logs no secret.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::topic;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tracing::warn;

use crate::config::{Broker, Identity, Uplink};

/// Largest MQTT packet in both directions, in bytes: twice the largest schema.
const MAX_PACKET_BYTES: u32 = 2 << 20;

/// Longest time for TCP, TLS and the broker's answer together.
const CONNECT_TIMEOUT_S: u64 = 10;

/// A broker that is silent for twice as long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Room in the client's queue beside the window: schemas and status documents.
const SPARE_QUEUE: usize = 64;

/// Largest credentials file, in bytes.
const MAX_CREDENTIALS_BYTES: u64 = 64 << 10;

/// Largest file of certificates or keys, in bytes; a system's list of authorities has 250 kB.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Where systems keep the authorities that they trust.
const SYSTEM_CA_FILES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why the uplink cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not a URL of a broker.
    #[error("uplink url {url:?}: {why}; expected mqtt://host:1883 or mqtts://host:8883")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Credentials that are not `user:password`.
    #[error("{}: expected one line user:password", .0.display())]
    Credentials(PathBuf),
    /// No certificate or key that can be used.
    #[error("{}: {why}; expected {expected} in PEM form", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A certificate and a key that are not of each other.
    #[error("{} and {}: {error}; expected the certificate and its own key", identity.certificate.display(), identity.key.display())]
    Identity {
        /// The files.
        identity: Identity,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// No broker at all.
    #[error("BUG: an uplink without a broker")]
    NoBroker,
    /// No authorities at all.
    #[error("this system has no list of certificate authorities at {}: install ca-certificates or set uplink.ca", SYSTEM_CA_FILES.join(", "))]
    NoAuthorities,
    /// TLS itself.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Messages that the client queues: the window, a schema for each, and the spare room.
pub(super) fn queue_len(max_unacknowledged: usize) -> usize {
    2 * max_unacknowledged + SPARE_QUEUE
}

/// What it takes to connect to each broker, in their order.
pub(super) fn options(gateway: &str, uplink: &Uplink, last_will: &[u8]) -> Result<Vec<MqttOptions>, SetupError> {
    uplink.brokers.iter().map(|broker| options_for(gateway, uplink, broker, last_will.to_vec())).collect()
}

fn options_for(gateway: &str, uplink: &Uplink, broker: &Broker, last_will: Vec<u8>) -> Result<MqttOptions, SetupError> {
    let Endpoint { tls, host, port } = endpoint(&broker.url)?;
    let mut options = MqttOptions::new(format!("pattoo-{gateway}"), host, port);
    if tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls_config(broker)?))));
    }
    if let Some(path) = &broker.credentials {
        let (user, password) = credentials(path)?;
        options.set_credentials(user, password);
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET_BYTES);
    let inflight = u16::try_from(queue_len(uplink.max_unacknowledged)).unwrap_or(u16::MAX);
    options
        .set_clean_start(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_connect_properties(properties)
        .set_outgoing_inflight_upper_limit(inflight)
        .set_last_will(LastWill::new(topic::status(gateway), last_will, QoS::AtLeastOnce, true, None));
    options.set_network_options(network);
    Ok(options)
}

#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

fn endpoint(url: &str) -> Result<Endpoint, SetupError> {
    let wrong = |why: &str| SetupError::Url { url: url.to_owned(), why: why.to_owned() };
    let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong("unknown scheme")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        // Not repeated in the message: what stands before it may be a password.
        return Err(SetupError::Url { url: "mqtt://…@…".into(), why: "credentials belong in the file uplink.credentials".into() });
    }
    if rest.contains(['/', '?', '#']) {
        return Err(wrong("nothing may follow the port"));
    }
    // The colons of an IPv6 address stand inside brackets.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong("the port is not a number from 1 to 65535"))?),
        _ => (rest, if tls { 8883 } else { 1883 }),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.is_empty() || port == 0 || (bare.is_none() && host.contains(':')) {
        return Err(wrong("no host or no port"));
    }
    if tls && bare.is_some() {
        return Err(wrong("TLS to an IPv6 address needs a host name"));
    }
    Ok(Endpoint { tls, host: host.to_owned(), port })
}

fn credentials(path: &Path) -> Result<(String, String), SetupError> {
    let wrong = || SetupError::Credentials(path.to_owned());
    let text = String::from_utf8(secret(path, MAX_CREDENTIALS_BYTES)?.ok_or_else(wrong)?).map_err(|_| wrong())?;
    let mut lines = text.lines();
    match (lines.next().and_then(|line| line.split_once(':')), lines.next()) {
        (Some((user, password)), None) if !user.is_empty() => Ok((user.to_owned(), password.to_owned())),
        _ => Err(wrong()),
    }
}

/// The content of a file; none where that is too large.
fn content(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, SetupError> {
    let file = |error| SetupError::File { path: path.to_owned(), error };
    if path.metadata().map_err(file)?.len() > max_bytes {
        return Ok(None);
    }
    std::fs::read(path).map(Some).map_err(file)
}

/// The same, of a file that only its owner should read.
fn secret(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, SetupError> {
    let content = content(path, max_bytes)?;
    if path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
        warn!(path = %path.display(), "everybody on this machine can read the uplink's secret: chmod o-r it");
    }
    Ok(content)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let wrong = |why: String| SetupError::Pem { path: path.to_owned(), why, expected: "certificates" };
    let pem = content(path, MAX_PEM_BYTES)?.ok_or_else(|| wrong("too large".into()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|e| wrong(e.to_string()))?;
    if certificates.is_empty() { Err(wrong("no certificate in it".into())) } else { Ok(certificates) }
}

fn tls_config(broker: &Broker) -> Result<ClientConfig, SetupError> {
    let path = match &broker.ca {
        Some(path) => path.clone(),
        None => SYSTEM_CA_FILES.map(PathBuf::from).into_iter().find(|path| path.exists()).ok_or(SetupError::NoAuthorities)?,
    };
    let mut roots = RootCertStore::empty();
    // A system's list may hold old ones that rustls cannot read; a list without any good one is an error.
    let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
    if added == 0 {
        return Err(SetupError::Pem { path, why: "no certificate in it".into(), expected: "certificates" });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?.with_root_certificates(roots);
    let Some(identity) = &broker.identity else { return Ok(builder.with_no_client_auth()) };
    let wrong = |why: String| SetupError::Pem { path: identity.key.clone(), why, expected: "a key" };
    let pem = secret(&identity.key, MAX_PEM_BYTES)?.ok_or_else(|| wrong("too large".into()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| wrong(e.to_string()))?;
    let chain = certificates(&identity.certificate)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| SetupError::Identity { identity: identity.clone(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_read_from_its_url_or_the_error_says_what_is_wrong() {
        for (url, expected) in [
            ("mqtt://ops.example", Some((false, "ops.example", 1883))),
            ("mqtts://ops.example/", Some((true, "ops.example", 8883))),
            ("mqtt://127.0.0.1:1884", Some((false, "127.0.0.1", 1884))),
            ("mqtt://[::1]:1884", Some((false, "[::1]", 1884))),
            ("mqtt://[::1]", Some((false, "[::1]", 1883))),
            ("mqtts://[::1]", None),
            ("http://ops.example", None),
            ("ops.example:1883", None),
            ("mqtt://", None),
            ("mqtt://:1883", None),
            ("mqtt://a:b:1883", None),
            ("mqtt://ops:0", None),
            ("mqtt://ops:70000", None),
            ("mqtt://ops/path", None),
            ("mqtt://user:secret@ops", None),
        ] {
            let found = endpoint(url);
            let expected = expected.map(|(tls, host, port)| Endpoint { tls, host: host.into(), port });
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{url}");
            if let Err(error) = found {
                assert!(!error.to_string().contains("secret"));
            }
        }
    }

    #[test]
    fn credentials_are_one_line_and_never_part_of_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, expected) in [
            ("plant7:se:cret\n", Some(("plant7", "se:cret"))),
            ("plant7:\n", Some(("plant7", ""))),
            ("secret\n", None),
            (":secret\n", None),
            ("a:secret\nb:secret\n", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = credentials(&path);
            assert_eq!(found.as_ref().ok(), expected.map(|(u, p)| (u.to_owned(), p.to_owned())).as_ref(), "{text:?}");
            if let Err(error) = found {
                assert!(!error.to_string().contains("secret") && error.to_string().contains("token"));
            }
        }
        let error = credentials(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            let broker = Broker { url: String::new(), credentials: None, ca: Some(path.clone()), identity: None };
            let error = tls_config(&broker).unwrap_err().to_string();
            assert!(error.contains("ca.pem"), "{error}");
        }
    }
}
