//! Whose a client certificate is: its common name and its end, from DER. Pure.
//!
//! It proves nothing: signature, chain and validity are what rustls has checked before anything here is believed. It reads as
//! much of X.509 as that needs; what is built otherwise has no name.

use pattoo_wire::certificate::{Der, Frame};

use super::accounts::sha256;
use super::authority;

/// A client certificate that TLS has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject.
    pub name: String,
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// When it expires, ms since 1970.
    pub expires_ms: i64,
    /// Whether its issuer bears the name of the server's own authority.
    pub own: bool,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
/// UTF8String, PrintableString, IA5String: the ones whose bytes are text as they stand.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

impl Certificate {
    /// Reads it; nothing where it has not exactly one common name, or is not as X.509 has it.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let Frame { issuer, ends_ms, subject } = Frame::read(der)?;
        let own = common_name(issuer).as_deref() == Some(authority::NAME);
        Some(Self { name: common_name(subject)?, sha256: sha256(der), expires_ms: ends_ms, own })
    }
}

fn common_name(mut subject: Der<'_>) -> Option<String> {
    let mut names = Vec::new();
    while !subject.0.is_empty() {
        let mut set = subject.expect(SET)?;
        while !set.0.is_empty() {
            let mut pair = set.expect(SEQUENCE)?;
            let kind = pair.expect(OBJECT_ID)?.0;
            let (tag, text) = pair.element()?;
            if kind == COMMON_NAME {
                let text = TEXTS.contains(&tag).then(|| std::str::from_utf8(text).ok()).flatten()?;
                names.push(text.to_owned());
            }
        }
    }
    // Two names would leave it open which one counts.
    match names.len() {
        1 => names.pop(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::authority::Authority;

    #[test]
    fn name_and_end_of_a_certificate_are_read() {
        let (authority, _) = Authority::new().unwrap();
        for (name, expires_ms) in [("g1", 1_893_456_000_000), ("Plant_7.b", 4_102_444_800_000), ("x", 253_402_300_799_000)] {
            let made = authority.sign_client(name, expires_ms).unwrap();
            let read = Certificate::read(&made.der).unwrap();
            assert_eq!((read.name.as_str(), read.expires_ms), (name, expires_ms));
            assert_eq!((read.sha256, read.own), (sha256(&made.der), true));
        }
    }

    #[test]
    fn a_subject_without_exactly_one_common_name_is_nobody() {
        let rdn = |oid: u8, tag: u8, text: &[u8]| {
            let value = [&[tag, text.len() as u8], text].concat();
            let pair = [&[OBJECT_ID, 3, 0x55, 0x04, oid], value.as_slice()].concat();
            let sequence = [&[SEQUENCE, pair.len() as u8], pair.as_slice()].concat();
            [&[SET, sequence.len() as u8], sequence.as_slice()].concat()
        };
        let (cn, organisation) = (3, 10);
        for (subject, expected) in [
            ([rdn(organisation, 0x0c, b"Plant"), rdn(cn, 0x0c, b"g1")].concat(), Some("g1")),
            (rdn(cn, 0x13, b"g1"), Some("g1")),
            (rdn(organisation, 0x0c, b"g1"), None),
            ([rdn(cn, 0x0c, b"g1"), rdn(cn, 0x0c, b"g2")].concat(), None),
            (rdn(cn, 0x1e, b"\0g\x001"), None),
            (rdn(cn, 0x0c, b"\xff"), None),
            (Vec::new(), None),
        ] {
            assert_eq!(common_name(Der(&subject)).as_deref(), expected, "{subject:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let _ = Certificate::read(&bytes);
            let (authority, _) = Authority::new().unwrap();
            let mut der = authority.sign_client("g1", 1_893_456_000_000).unwrap().der;
            let at = at.index(der.len());
            der[at] = with;
            let _ = Certificate::read(&der);
        }
    }
}
