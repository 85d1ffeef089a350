//! Whom a reverse proxy asks for, and whether over TLS: X-Forwarded-For and X-Forwarded-Proto. Pure.
//!
//! Anybody can send these headers, so they count only where the connection comes from a proxy that the configuration names.

use core::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Network;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address.
    pub(super) address: IpAddr,
    /// Whether a trusted proxy says that it speaks TLS.
    pub(super) tls: bool,
}

/// Who is at the other end of a connection from `peer`.
///
/// Each proxy appends whom it heard, so the list is read from its end, for as long as its entries are trusted proxies. What stands
/// before the first that is none is hearsay.
pub(super) fn client(headers: &HeaderMap, peer: IpAddr, proxies: &[Network]) -> Client {
    let trusted = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
    let mut client = Client { address: peer.to_canonical(), tls: false };
    if !trusted(client.address) {
        return client;
    }
    // A client may have sent a list of its own, to which the proxy appends.
    client.tls = entries(headers, "x-forwarded-proto").last().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    for entry in entries(headers, "x-forwarded-for").into_iter().rev() {
        let Some(address) = address(entry) else { break };
        client.address = address;
        if !trusted(address) {
            break;
        }
    }
    client
}

fn entries<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    // One that is no text stands for an entry that nobody can read: what is before it does not count.
    headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim).collect()
}

/// Some proxies write the port too.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse::<IpAddr>().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_from_a_trusted_proxy_only_and_only_as_far_as_it_is_believed() {
        let proxies: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"].map(|network| network.parse().unwrap()).into();
        let by = |peer: &str, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            let found = client(&headers, peer.parse().unwrap(), &proxies);
            (found.address.to_string(), found.tls)
        };
        let (of, proto) = ("x-forwarded-for", "x-forwarded-proto");
        for (peer, pairs, address, tls) in [
            ("192.0.2.1", &[(of, "198.51.100.7"), (proto, "https")][..], "192.0.2.1", false),
            ("127.0.0.1", &[], "127.0.0.1", false),
            ("127.0.0.1", &[(of, "198.51.100.7"), (proto, "https")], "198.51.100.7", true),
            ("::ffff:127.0.0.1", &[(of, "::ffff:198.51.100.7"), (proto, "HTTPS")], "198.51.100.7", true),
            // What the client itself sent stands first.
            ("127.0.0.1", &[(of, "203.0.113.9, 198.51.100.7")], "198.51.100.7", false),
            ("127.0.0.1", &[(of, "203.0.113.9"), (of, "198.51.100.7, 10.1.1.1")], "198.51.100.7", false),
            ("127.0.0.1", &[(of, "10.2.2.2, 10.1.1.1")], "10.2.2.2", false),
            ("127.0.0.1", &[(of, "198.51.100.7, unknown, 10.1.1.1")], "10.1.1.1", false),
            ("127.0.0.1", &[(of, "198.51.100.7:4711")], "198.51.100.7", false),
            ("127.0.0.1", &[(of, "[2001:db8::1]:4711")], "2001:db8::1", false),
            ("127.0.0.1", &[(of, "")], "127.0.0.1", false),
            ("127.0.0.1", &[(proto, "https, http")], "127.0.0.1", false),
            ("127.0.0.1", &[(proto, "https"), (proto, "http")], "127.0.0.1", false),
        ] {
            assert_eq!(by(peer, pairs), (address.to_owned(), tls), "{pairs:?} from {peer}");
        }
    }
}
