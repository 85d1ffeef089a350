//! An SNMP v2c agent of our own, for loads and faults: quick, and it says what it was asked. It judges nothing, that is what net-snmp is for.

use std::collections::BTreeMap;

/// Numbers of an object identifier.
pub type Oid = Vec<u32>;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const END_OF_MIB: u8 = 0x82;
const NO_SUCH_OBJECT: u8 = 0x80;
const GET: u8 = 0xA0;
const GET_NEXT: u8 = 0xA1;
const RESPONSE: u8 = 0xA2;
const GET_BULK: u8 = 0xA5;

/// What an agent has: encoded values, each with its tag, by object.
pub type Objects = BTreeMap<Oid, Vec<u8>>;

/// Most bytes of an answer; a bulk answer ends before it has more.
const MAX_ANSWER_BYTES: usize = 1400;

/// An encoded `INTEGER`, or another type of number by its tag: Counter32 0x41, Gauge32 0x42, TimeTicks 0x43, Counter64 0x46.
#[must_use]
pub fn number(tag: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skipped = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    let mut content = bytes[skipped..].to_vec();
    if content[0] > 127 {
        content.insert(0, 0);
    }
    sealed(tag, &content)
}

/// An encoded `OCTET STRING`.
#[must_use]
pub fn text(value: &str) -> Vec<u8> {
    sealed(OCTETS, value.as_bytes())
}

/// The answer to this request; none where it is none that this agent knows.
#[must_use]
pub fn answer(request: &[u8], objects: &Objects) -> Option<Vec<u8>> {
    let mut message = Reader(Reader(request).take(SEQUENCE)?);
    let (version, community) = (message.take(INTEGER)?, message.take(OCTETS)?);
    let kind = *message.0.first()?;
    let mut pdu = Reader(message.take(kind)?);
    let id = pdu.take(INTEGER)?;
    let (first, second) = (pdu.take_number()?, pdu.take_number()?);
    let mut list = Reader(pdu.take(SEQUENCE)?);
    let mut asked = Vec::new();
    while !list.0.is_empty() {
        asked.push(object_id(Reader(list.take(SEQUENCE)?).take(OBJECT_ID)?));
    }
    let found: Vec<_> = match kind {
        GET => asked.into_iter().map(|oid| get(oid, objects)).collect(),
        GET_NEXT => asked.iter().map(|oid| next(oid, objects)).collect(),
        GET_BULK => bulk(asked, first, second, objects),
        _ => return None,
    };
    let list: Vec<u8> =
        found.iter().flat_map(|(oid, value)| sealed(SEQUENCE, &[sealed(OBJECT_ID, &encoded(oid)), value.clone()].concat())).collect();
    let zero = sealed(INTEGER, &[0]);
    let pdu = [sealed(INTEGER, id), zero.clone(), zero, sealed(SEQUENCE, &list)].concat();
    let message = [sealed(INTEGER, version), sealed(OCTETS, community), sealed(RESPONSE, &pdu)].concat();
    Some(sealed(SEQUENCE, &message))
}

fn get(oid: Oid, objects: &Objects) -> (Oid, Vec<u8>) {
    let value = objects.get(&oid).cloned().unwrap_or_else(|| vec![NO_SUCH_OBJECT, 0]);
    (oid, value)
}

fn next(oid: &Oid, objects: &Objects) -> (Oid, Vec<u8>) {
    let after = (std::ops::Bound::Excluded(oid), std::ops::Bound::Unbounded);
    let found = objects.range::<Oid, _>(after).next().map(|(oid, value)| (oid.clone(), value.clone()));
    found.unwrap_or_else(|| (oid.clone(), vec![END_OF_MIB, 0]))
}

/// RFC 3416, 4.2.3: the first ones once, the rest repeated, as far as the answer has room.
fn bulk(mut asked: Vec<Oid>, once: u64, repetitions: u64, objects: &Objects) -> Vec<(Oid, Vec<u8>)> {
    let mut repeated = asked.split_off(asked.len().min(usize::try_from(once).unwrap_or(usize::MAX)));
    let mut found: Vec<_> = asked.iter().map(|oid| next(oid, objects)).collect();
    let size = |(oid, value): &(Oid, Vec<u8>)| encoded(oid).len() + value.len() + 6;
    let mut bytes: usize = found.iter().map(size).sum();
    for _ in 0..repetitions {
        for oid in &mut repeated {
            let item = next(oid, objects);
            bytes += size(&item);
            if bytes > MAX_ANSWER_BYTES {
                return found;
            }
            oid.clone_from(&item.0);
            found.push(item);
        }
        if found.iter().rev().take(repeated.len()).all(|(_, value)| value.first() == Some(&END_OF_MIB)) {
            break;
        }
    }
    found
}

/// Tag, length, content.
fn sealed(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..128 => vec![tag, length as u8],
        128..256 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head.as_slice(), content].concat()
}

fn encoded(oid: &[u32]) -> Vec<u8> {
    let [a, b, rest @ ..] = oid else { return Vec::new() };
    let mut out = Vec::new();
    for number in std::iter::once(a * 40 + b).chain(rest.iter().copied()) {
        let groups = (1..5).take_while(|group| number >> (7 * group) > 0).count();
        out.extend((1..=groups).rev().map(|group| (number >> (7 * group)) as u8 | 0x80));
        out.push(number as u8 & 0x7F);
    }
    out
}

fn object_id(bytes: &[u8]) -> Oid {
    let mut numbers = Vec::new();
    let mut number = 0u32;
    for byte in bytes {
        number = number << 7 | u32::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    match numbers.split_first() {
        Some((first, rest)) => [&[(*first / 40).min(2), first - (*first / 40).min(2) * 40], rest].concat(),
        None => numbers,
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [found, short, rest @ ..] = self.0 else { return None };
        if *found != tag {
            return None;
        }
        let (length, rest) = match usize::from(*short) {
            length @ 0..128 => (length, rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(long & 0x7F)?;
                (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    fn take_number(&mut self) -> Option<u64> {
        Some(self.take(INTEGER)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_object_ids_are_as_the_encoding_rules_say() {
        assert_eq!(number(0x46, u64::MAX), [[0x46, 9, 0].as_slice(), &[0xFF; 8]].concat());
        assert_eq!((number(2, 0), number(2, 127), number(2, 128)), (vec![2, 1, 0], vec![2, 1, 127], vec![2, 2, 0, 128]));
        for oid in [vec![1, 3, 6, 1, 4, 1, 318], vec![2, 999, 3], vec![1, 3, 6, 1, u32::MAX, 16_384, 127, 128]] {
            assert_eq!(object_id(&encoded(&oid)), oid);
        }
    }
}
