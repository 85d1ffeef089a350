//! The index of a row -> its parts, as the table says that they are encoded (RFC 2578, 7.7). Knows no row.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use core::net::Ipv4Addr;

use super::value::{hex, printable};
use super::{MAX_PARTS, Oid, dotted};

/// One part of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name: the label that it is told as.
    pub name: String,
    /// How it is encoded.
    pub kind: PartKind,
}

/// How a part of an index is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// One number.
    Integer,
    /// Text behind its length.
    String,
    /// Text up to the end of the index.
    Implied,
    /// Four numbers.
    Ip,
    /// Six numbers.
    Mac,
    /// An OID behind its length.
    Oid,
}

impl PartKind {
    /// Every one with the name that profiles use.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("integer", Self::Integer),
        ("string", Self::String),
        ("implied", Self::Implied),
        ("ip", Self::Ip),
        ("mac", Self::Mac),
        ("oid", Self::Oid),
    ];
}

/// The texts of the parts; none where the index is not what they say.
#[must_use]
pub fn index_parts(parts: &[Part], index: &[u32]) -> Option<Vec<String>> {
    let mut rest = index;
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        let own = match part.kind {
            PartKind::Integer => take(&mut rest, 1)?,
            PartKind::Implied => take(&mut rest, usize::MAX)?,
            PartKind::Ip => take(&mut rest, 4)?,
            PartKind::Mac => take(&mut rest, 6)?,
            PartKind::String | PartKind::Oid => {
                let count = *take(&mut rest, 1)?.first()?;
                let count = usize::try_from(count).ok().filter(|count| *count <= rest.len())?;
                take(&mut rest, count)?
            }
        };
        texts.push(match part.kind {
            PartKind::Integer => dotted(own),
            PartKind::Oid => Oid::new(own)?.to_string(),
            PartKind::String | PartKind::Implied => printable(&octets(own)?),
            PartKind::Ip => Ipv4Addr::from(<[u8; 4]>::try_from(octets(own)?).ok()?).to_string(),
            PartKind::Mac => hex(&octets(own)?),
        });
    }
    rest.is_empty().then_some(texts)
}

/// So many numbers; all of them where more are asked for than an OID has.
fn take<'i>(rest: &mut &'i [u32], count: usize) -> Option<&'i [u32]> {
    let count = if count > MAX_PARTS { rest.len() } else { count };
    let (own, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(own)
}

fn octets(numbers: &[u32]) -> Option<Vec<u8>> {
    numbers.iter().map(|number| u8::try_from(*number).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(kinds: &[PartKind]) -> Vec<Part> {
        kinds.iter().map(|kind| Part { name: "x".into(), kind: *kind }).collect()
    }

    #[test]
    fn each_part_is_taken_as_it_is_encoded() {
        use PartKind::{Implied, Integer, Ip, Mac, Oid, String};
        for (kinds, index, texts) in [
            (&[Integer][..], &[7][..], Some(&["7"][..])),
            (&[Integer, Integer, Integer], &[1, 2, 4_294_967_295], Some(&["1", "2", "4294967295"])),
            (&[Integer, String, Integer], &[1, 2, 104, 105, 9], Some(&["1", "hi", "9"])),
            (&[Implied], &[104, 105], Some(&["hi"])),
            (&[Implied], &[], Some(&[""])),
            (&[Ip, Integer], &[10, 0, 0, 9, 161], Some(&["10.0.0.9", "161"])),
            (&[Mac], &[0, 1, 2, 171, 205, 239], Some(&["00:01:02:ab:cd:ef"])),
            (&[Oid], &[3, 1, 3, 6], Some(&["1.3.6"])),
            (&[Integer], &[], None),
            (&[Integer], &[1, 2], None),
            (&[String], &[3, 104, 105], None),
            (&[String], &[4_294_967_295, 1], None),
            (&[String], &[1, 300], None),
            (&[Ip], &[10, 0, 0, 256], None),
        ] {
            let found = index_parts(&parts(kinds), index);
            let expected: Option<Vec<_>> = texts.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(found, expected, "{kinds:?} {index:?}");
        }
    }

    proptest! {
        #[test]
        fn no_index_makes_it_panic(kinds in prop::collection::vec(0usize..6, 0..5), index in prop::collection::vec(any::<u32>(), 0..128)) {
            let kinds: Vec<_> = kinds.iter().map(|kind| PartKind::NAMES[*kind].1).collect();
            let _ = index_parts(&parts(&kinds), &index);
        }
    }
}
