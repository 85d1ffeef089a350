//! What it takes to connect to an MQTT broker: URL, credentials, TLS. Shell: reads the files that the configuration names; connects nothing,
//! logs no secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;
use thiserror::Error;

use crate::config::Broker;
use crate::tls::{self, Shown, TlsError};

/// Longest time for TCP, TLS and the broker's answer together.
const CONNECT_TIMEOUT_S: u64 = 10;

/// A broker that is silent for twice as long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Largest credentials file, in bytes.
const MAX_CREDENTIALS_BYTES: u64 = 64 << 10;

/// Why a broker cannot be reached as it is configured.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not a URL of a broker.
    #[error("url {url:?}: {why}; expected mqtt://host:1883 or mqtts://host:8883")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Credentials that are not `user:password`.
    #[error("{}: expected one line user:password", .0.display())]
    Credentials(PathBuf),
    /// No broker at all.
    #[error("BUG: an uplink without a broker")]
    NoBroker,
    /// A file that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A clean session under this name, with packets of at most so many bytes. What certificate the broker shows is noted in `shown`.
///
/// # Errors
/// A URL, or a file of credentials, certificates or keys, that cannot be used.
pub(crate) fn options(client: String, broker: &Broker, max_packet_bytes: u32, shown: &Shown) -> Result<MqttOptions, SetupError> {
    let Endpoint { tls, host, port } = endpoint(&broker.url)?;
    let mut options = MqttOptions::new(client, host, port);
    if tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls_config(broker, shown)?))));
    }
    if let Some(path) = &broker.credentials {
        let (user, password) = credentials(path)?;
        options.set_credentials(user, password);
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(max_packet_bytes);
    options.set_clean_start(true).set_keep_alive(KEEP_ALIVE).set_connection_timeout(CONNECT_TIMEOUT_S).set_connect_properties(properties);
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
        return Err(SetupError::Url {
            url: "mqtt://…@…".into(), why: "credentials belong in the file that `credentials` names".into()
        });
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
    let text = String::from_utf8(tls::secret(path, MAX_CREDENTIALS_BYTES)?.ok_or_else(wrong)?).map_err(|_| wrong())?;
    let mut lines = text.lines();
    match (lines.next().and_then(|line| line.split_once(':')), lines.next()) {
        (Some((user, password)), None) if !user.is_empty() => Ok((user.to_owned(), password.to_owned())),
        _ => Err(wrong()),
    }
}

fn tls_config(broker: &Broker, shown: &Shown) -> Result<ClientConfig, SetupError> {
    Ok(tls::client(broker.ca.as_deref(), broker.identity.as_ref(), &[&rustls::version::TLS13], shown)?)
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
            let error = tls_config(&broker, &Shown::default()).unwrap_err().to_string();
            assert!(error.contains("ca.pem"), "{error}");
        }
    }
}
