//! The part `agents:` of the configuration: where agents of the Python Pattoo post, and from where they may. Pure.

use core::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{Found, Problem, address, default};

const DEFAULT_LISTEN: &str = "127.0.0.1:20201";
/// Most networks in a list.
const MAX_NETWORKS: usize = 64;

/// Where old agents post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    /// Where it listens.
    pub listen: SocketAddr,
    /// From where they may post, beside this machine.
    pub allow: Vec<Network>,
    /// Whether somebody asked for it: a port that is taken stops only that server.
    pub asked: bool,
}

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    start: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether an address is one of it. One of the other family never is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let beyond = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                start.to_bits() | beyond == address.to_bits() | beyond
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                let beyond = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                start.to_bits() | beyond == address.to_bits() | beyond
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    /// An address, or one with the number of bits that count.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let start: IpAddr = address.parse().map_err(|_| ())?;
        let most = if start.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| ())?;
        if bits <= most { Ok(Self { start, bits }) } else { Err(()) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgents {
    listen: Option<Spanned<String>>,
    allow: Option<Spanned<Vec<String>>>,
}

impl RawAgents {
    /// From what the file says, and the environment's own listener. None where it is off.
    pub(super) fn resolve(
        self,
        at: impl Fn(Location) -> String,
        found: impl Fn(Option<Spanned<String>>) -> Option<Found>,
        from_env: Option<Found>,
    ) -> Result<Option<Agents>, Problem> {
        let listen = from_env.or(found(self.listen));
        let allow = self.allow.map(|allow| networks("allow", &at(allow.referenced), allow.value)).transpose()?;
        let asked = listen.is_some() || allow.is_some();
        let listen = listen.unwrap_or_else(|| default(DEFAULT_LISTEN));
        if listen.text == "off" {
            return Ok(None);
        }
        let at = address(&listen)?;
        let allow = allow.unwrap_or_default();
        match at.ip().is_loopback() || !allow.is_empty() {
            true => Ok(Some(Agents { listen: at, allow, asked })),
            false => Err(listen.problem(format!(
                "found {at}, which other machines can reach, expected `allow` beside it, as in `allow: [10.1.0.0/16]`: old agents have no \
                 login, so everybody in the networks that it names can write readings"
            ))),
        }
    }
}

/// The networks of a list of this name.
pub(super) fn networks(key: &str, place: &str, texts: Vec<String>) -> Result<Vec<Network>, Problem> {
    let problem = |message: String| Problem { place: place.to_owned(), message };
    if texts.len() > MAX_NETWORKS {
        return Err(problem(format!("`{key}`: found {} networks, expected at most {MAX_NETWORKS}", texts.len())));
    }
    let network = |text: &String| {
        text.parse().map_err(|()| problem(format!("`{key}`: found {text:?}, expected an address or a network like 10.1.0.0/16")))
    };
    texts.iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_share_its_bits() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("192.0.2.129/25", "192.0.2.200", "192.0.2.127"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "fe00::", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()) && !network.contains(outside.parse().unwrap()), "{network:?}");
        }
        for wrong in ["", "10.1.0.0/33", "10.1.0.0/-1", "10.1.0.0/", "10.1/16", "host", "::/129", "10.1.0.0/16/2"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
