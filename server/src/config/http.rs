//! The part `http:` of the configuration: where page and API listen, with TLS or without, and who may read without a login. Pure.

use core::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::agents::networks;
use super::broker::RawTls;
use super::{Found, Identity, Network, Problem, address, default};

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Where page and API listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How it shows that it is itself; none without TLS.
    pub tls: Option<Identity>,
    /// Whether programs of this machine may read everything but users without a login. Only on loopback.
    pub anonymous: bool,
    /// Reverse proxies in front of it, whose X-Forwarded-For and X-Forwarded-Proto count.
    pub proxies: Vec<Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    listen: Option<Spanned<String>>,
    tls: Option<Spanned<RawTls>>,
    anonymous: Option<Spanned<String>>,
    insecure: Option<bool>,
    proxies: Option<Spanned<Vec<String>>>,
}

impl RawHttp {
    /// From what the file says, and the environment's own listener.
    pub(super) fn resolve(
        self,
        at: impl Fn(Location) -> String,
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
        path: impl Fn(&Found) -> Result<PathBuf, Problem>,
        from_env: Option<Found>,
    ) -> Result<Http, Problem> {
        let listen_at = from_env.or(found(self.listen)).unwrap_or_else(|| default(DEFAULT_LISTEN));
        let listen = address(&listen_at)?;
        let loopback = listen.ip().is_loopback();
        let proxies = self.proxies.map(|proxies| networks("proxies", &at(proxies.referenced), proxies.value)).transpose()?;
        let tls = match self.tls {
            None => None,
            Some(tls) => {
                let place = at(tls.referenced);
                match tls.value.0.resolve(at, &found, path)? {
                    (identity, None) => Some(identity),
                    (_, Some(_)) => {
                        let message = "found `client_ca`, expected it only below `broker`: people log in by a password".into();
                        return Err(Problem { place, message });
                    }
                }
            }
        };
        if !loopback && tls.is_none() && self.insecure != Some(true) {
            return Err(listen_at.problem(format!(
                "found {listen}, which other machines can reach, expected `tls` beside it, as in `tls: auto`: passwords would travel in plain \
                 text; `insecure: true` says that something else protects them"
            )));
        }
        let anonymous = match found(self.anonymous) {
            None => false,
            Some(text) if text.text == "off" => false,
            Some(text) if text.text == "viewer" && loopback => true,
            Some(text) if text.text == "viewer" => {
                return Err(text.problem(format!(
                    "found `viewer` with the listener {listen}, expected it only on loopback: everybody could read everything"
                )));
            }
            Some(text) => return Err(text.problem(format!("found {:?}, expected `viewer` or `off`", text.text))),
        };
        Ok(Http { listen, tls, anonymous, proxies: proxies.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    fn http(block: &str) -> Result<Http, String> {
        let parsed = parse(Path::new("/etc/pattoo/server.yaml"), &format!("http: {{ {block} }}\n"), |_| None);
        parsed.map(|config| config.http).map_err(|e| e.to_string())
    }

    #[test]
    fn beyond_loopback_only_with_tls_or_a_word_and_never_without_a_login() {
        for (block, expected) in [
            ("listen: 127.0.0.1:1", Ok((false, false))),
            ("listen: 127.0.0.1:1, anonymous: viewer", Ok((false, true))),
            ("listen: '[::1]:1', anonymous: off", Ok((false, false))),
            ("listen: 127.0.0.1:1, tls: auto, anonymous: viewer", Ok((true, true))),
            ("listen: 0.0.0.0:1", Err("server.yaml:1:17: found 0.0.0.0:1, which other machines can reach, expected `tls`")),
            ("listen: 0.0.0.0:1, insecure: false", Err("passwords would travel in plain text")),
            ("listen: 0.0.0.0:1, insecure: true", Ok((false, false))),
            ("listen: 0.0.0.0:1, tls: auto", Ok((true, false))),
            ("listen: 0.0.0.0:1, tls: { names: [ops.example] }", Ok((true, false))),
            ("listen: 0.0.0.0:1, tls: auto, anonymous: viewer", Err("expected it only on loopback")),
            ("listen: 0.0.0.0:1, insecure: true, anonymous: viewer", Err("expected it only on loopback")),
            ("anonymous: admin", Err("found \"admin\", expected `viewer` or `off`")),
            ("tls: { client_ca: x.pem }", Err("found `client_ca`")),
            ("tls: { certificate: x.pem }", Err("expected both")),
        ] {
            match (http(block), expected) {
                (Ok(http), Ok(expected)) => assert_eq!((http.tls.is_some(), http.anonymous), expected, "{block}"),
                (Err(error), Err(words)) => assert!(error.contains(words), "{block}: {error}"),
                (found, _) => panic!("{block}: {found:?}"),
            }
        }
        assert_eq!(http("listen: 127.0.0.1:1").unwrap().proxies, []);
        let proxies = http("proxies: [127.0.0.1, 10.0.0.0/8]").unwrap().proxies;
        assert_eq!(proxies, ["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let wrong = http("proxies: [proxy.example]").unwrap_err();
        assert!(wrong.contains("`proxies`: found \"proxy.example\", expected an address or a network"), "{wrong}");
        let files = http("listen: 0.0.0.0:1, tls: { certificate: own.pem, key: own.key }").unwrap().tls;
        assert_eq!(files, Some(Identity::Files { certificate: "/etc/pattoo/own.pem".into(), key: "/etc/pattoo/own.key".into() }));
    }
}
