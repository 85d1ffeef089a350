//! Names of objects: dotted numbers, in the order that agents walk them, and as the bytes of BER. Knows no value.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::fmt;
use std::str::FromStr;

/// Most parts of an OID (RFC 3416, 4.1).
pub const MAX_PARTS: usize = 128;

/// An object identifier of 2 to [`MAX_PARTS`] parts. Ordered as agents order them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(Box<[u32]>);

impl Oid {
    /// From its parts; none where they are too few or too many, or cannot be written in BER.
    #[must_use]
    pub fn new(parts: &[u32]) -> Option<Self> {
        let good = matches!(parts, [0 | 1, 0..=39, ..] | [2, ..=4_294_967_215, ..]) && parts.len() <= MAX_PARTS;
        good.then(|| Self(parts.into()))
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> &[u32] {
        &self.0
    }

    /// What follows this root; none where it is not below it. An OID is below itself, with nothing behind.
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(&*root.0)
    }

    /// The instance with this index; none where that is too long.
    #[must_use]
    pub fn with(&self, index: &[u32]) -> Option<Self> {
        Self::new(&[&self.0, index].concat())
    }

    /// From the content of a BER object identifier.
    #[must_use]
    pub fn from_ber(bytes: &[u8]) -> Option<Self> {
        let mut parts: Vec<u32> = Vec::new();
        let (mut part, mut open) = (0u64, false);
        for byte in bytes {
            part = part << 7 | u64::from(byte & 0x7F);
            open = byte & 0x80 != 0;
            if part > u64::from(u32::MAX) || parts.len() >= MAX_PARTS {
                return None;
            }
            if !open {
                let own = u32::try_from(part).ok()?;
                if parts.is_empty() {
                    // The first two parts share a number.
                    let first = (own / 40).min(2);
                    parts.extend([first, own - 40 * first]);
                } else {
                    parts.push(own);
                }
                part = 0;
            }
        }
        if open { None } else { Self::new(&parts) }
    }

    /// The content of its BER object identifier.
    #[must_use]
    pub fn to_ber(&self) -> Vec<u8> {
        let [first, second, rest @ ..] = &*self.0 else { return Vec::new() };
        let mut bytes = Vec::with_capacity(self.0.len() + 4);
        for part in std::iter::once(first * 40 + second).chain(rest.iter().copied()) {
            let groups = (32 - part.leading_zeros()).div_ceil(7).max(1);
            for group in (0..groups).rev() {
                #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
                let bits = (part >> (7 * group)) as u8 & 0x7F;
                bytes.push(if group > 0 { bits | 0x80 } else { bits });
            }
        }
        bytes
    }
}

impl FromStr for Oid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_prefix('.').unwrap_or(text);
        let number = |part: &str| if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None };
        let parts: Option<Vec<u32>> = text.split('.').take(MAX_PARTS + 1).map(number).collect();
        parts.and_then(|parts| Self::new(&parts)).ok_or(())
    }
}

/// Parts with dots between them.
#[must_use]
pub fn dotted(parts: &[u32]) -> String {
    let texts: Vec<_> = parts.iter().map(u32::to_string).collect();
    texts.join(".")
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(&self.0))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_oid_is_dotted_numbers_and_nothing_else() {
        for (text, bytes) in [
            ("1.3.6.1.2.1.1.3.0", Some(&[0x2B, 6, 1, 2, 1, 1, 3, 0][..])),
            (".1.3.6.1.4.1.13742.6", Some(&[0x2B, 6, 1, 4, 1, 0xEB, 0x2E, 6])),
            ("0.0", Some(&[0])),
            ("2.999.4294967295", Some(&[0x88, 0x37, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F])),
            ("1.40", None),
            ("3.1", None),
            ("1", None),
            ("", None),
            ("1.3.", None),
            ("1.3.-1", None),
            ("1.3.+1", None),
            ("1.3.4294967296", None),
            ("iso.3.6", None),
        ] {
            let oid = text.parse::<Oid>().ok();
            assert_eq!(oid.as_ref().map(Oid::to_ber).as_deref(), bytes, "{text}");
            assert_eq!(oid.map(|oid| oid.to_string()).as_deref(), bytes.map(|_| text.trim_start_matches('.')));
        }
    }

    #[test]
    fn bytes_that_are_no_oid_give_none() {
        for bytes in [&[][..], &[0x2B, 0x86], &[0x2B, 0x90, 0x80, 0x80, 0x80, 0x00], &[0x2B; 200]] {
            assert_eq!(Oid::from_ber(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_oid_comes_back_from_its_bytes(rest in prop::collection::vec(any::<u32>(), 0..126), second in 0u32..40) {
            let oid = Oid::new(&[&[1, second], rest.as_slice()].concat()).unwrap();
            prop_assert_eq!(Oid::from_ber(&oid.to_ber()), Some(oid.clone()));
            prop_assert_eq!(oid.to_string().parse::<Oid>(), Ok(oid));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(oid) = Oid::from_ber(&bytes) {
                prop_assert!(oid.parts().len() <= MAX_PARTS);
            }
        }
    }
}
