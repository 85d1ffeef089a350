//! Writes the little BER that answers to notifications are made of. Pure. Reading is the business of the snmp2 crate.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const COUNTER32: u8 = 0x41;

/// One element: its tag, its length, its content.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).map_or(&[] as &[u8], |first| length.get(first..).unwrap_or_default());
    if content.len() >= 0x80 {
        bytes.push(0x80 | significant.len() as u8);
    }
    bytes.extend(if significant.is_empty() { &[0] } else { significant });
    bytes.extend(content);
    bytes
}

/// An element that consists of others.
pub(super) fn elements(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// A number in as few bytes as it needs.
pub(super) fn number(tag: u8, number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xFF } else { 0 };
    // A byte goes if the next one still shows the sign.
    let spare =
        bytes.windows(2).take_while(|pair| pair.first() == Some(&sign) && pair.last().is_some_and(|next| (next ^ sign) < 0x80)).count();
    element(tag, bytes.get(spare..).unwrap_or_default())
}

pub(super) fn octets(bytes: &[u8]) -> Vec<u8> {
    element(OCTETS, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        for (value, bytes) in [
            (0, vec![2, 1, 0]),
            (127, vec![2, 1, 127]),
            (128, vec![2, 2, 0, 128]),
            (-1, vec![2, 1, 255]),
            (-128, vec![2, 1, 128]),
            (-129, vec![2, 2, 255, 127]),
            (70_000, vec![2, 3, 1, 0x11, 0x70]),
            (i64::from(i32::MAX), vec![2, 4, 0x7F, 0xFF, 0xFF, 0xFF]),
            (i64::from(u32::MAX), vec![2, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
        ] {
            assert_eq!(number(INTEGER, value), bytes, "{value}");
        }
    }

    #[test]
    fn lengths_are_short_or_long() {
        for (length, head) in [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (300, vec![4, 0x82, 1, 44])] {
            assert_eq!(octets(&vec![7; length]), [head, vec![7; length]].concat(), "{length}");
        }
    }
}
