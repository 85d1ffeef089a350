//! Whose a client certificate is: its common name and its end, from DER. Pure.
//!
//! It proves nothing: signature, chain and validity are what rustls has checked before anything here is believed. It reads as
//! much of X.509 as that needs; what is built otherwise has no name.

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
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`: the version, which version 1 leaves out.
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String: the ones whose bytes are text as they stand.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const DAY_S: i64 = 24 * 3600;

impl Certificate {
    /// Reads it; nothing where it has not exactly one common name, or is not as X.509 has it.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Der(der).expect(SEQUENCE)?;
        let mut body = outer.expect(SEQUENCE)?;
        let (tag, _) = Der(body.0).next()?;
        if tag == VERSION {
            body.next()?;
        }
        // Serial number, signature algorithm.
        body.next()?;
        body.next()?;
        let own = common_name(body.expect(SEQUENCE)?).as_deref() == Some(authority::NAME);
        let mut validity = body.expect(SEQUENCE)?;
        validity.next()?;
        let (tag, until) = validity.next()?;
        let expires_ms = time_ms(tag, until)?;
        let name = common_name(body.expect(SEQUENCE)?)?;
        Some(Self { name, sha256: sha256(der), expires_ms, own })
    }
}

/// Bytes in DER that are still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        let (found, content) = self.next()?;
        (found == tag).then_some(Der(content))
    }
}

fn common_name(mut subject: Der<'_>) -> Option<String> {
    let mut names = Vec::new();
    while !subject.0.is_empty() {
        let mut set = subject.expect(SET)?;
        while !set.0.is_empty() {
            let mut pair = set.expect(SEQUENCE)?;
            let kind = pair.expect(OBJECT_ID)?.0;
            let (tag, text) = pair.next()?;
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

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that RFC 5280 allows.
fn time_ms(tag: u8, text: &[u8]) -> Option<i64> {
    let (century, text) = match tag {
        GENERALIZED_TIME => {
            let (century, rest) = text.split_at_checked(2)?;
            (digits(century)?, rest)
        }
        UTC_TIME => (if text.first()? >= &b'5' { 19 } else { 20 }, text),
        _ => return None,
    };
    let digit_pairs = text.strip_suffix(b"Z")?;
    if digit_pairs.len() != 12 {
        return None;
    }
    let fields: Vec<i64> = digit_pairs.chunks_exact(2).map(digits).collect::<Option<_>>()?;
    let &[year, month, day, hour, minute, second] = fields.as_slice() else { return None };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(century * 100 + year, month, day);
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) * 1000)
}

fn digits(pair: &[u8]) -> Option<i64> {
    std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Days from 1970-01-01 in the Gregorian calendar; years begin in March here, so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
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
    fn times_are_read_as_the_calendar_has_them() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000_000)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (GENERALIZED_TIME, "20001329120000Z", None),
            (GENERALIZED_TIME, "20000229120000", None),
            (GENERALIZED_TIME, "2000022912000+Z", None),
            (UTC_TIME, "", None),
            (0x04, "700101000000Z", None),
        ] {
            assert_eq!(time_ms(tag, text.as_bytes()), expected, "{text}");
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
