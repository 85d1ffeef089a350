use proptest::prelude::*;

use super::*;

fn value(bytes: &[u8]) -> Result<Value, Malformed> {
    Reader::new(bytes).value()
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    push_value(&mut out, value);
    out
}

/// Field crates, 1.2.1: the crate computes 8 - length.
#[test]
fn an_unsigned_or_signed_longer_than_eight_bytes_is_stepped_over() {
    for first in [0x25, 0x35, 0x95] {
        let bytes = [&[first, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0x21, 7][..]].concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.value(), Ok(Value::Unreadable));
        assert_eq!(reader.value(), Ok(Value::Unsigned(7)));
        assert!(reader.is_empty());
    }
    assert_eq!(value(&[0x20]), Ok(Value::Unreadable), "no bytes at all");
    assert_eq!(value(&[0x95, 5, 1, 0, 0, 0, 0]), Ok(Value::Unreadable), "an enumerated of more than four bytes");
}

/// Field crates, 1.2.4: the crate writes 70000 as `25 07 00 00 00 00 01 11 70`.
#[test]
fn integers_are_written_in_the_fewest_bytes() {
    for (value, expected) in [
        (Value::Unsigned(0), vec![0x21, 0]),
        (Value::Unsigned(255), vec![0x21, 0xFF]),
        (Value::Unsigned(70_000), vec![0x23, 0x01, 0x11, 0x70]),
        (Value::Unsigned(1 << 32), vec![0x25, 5, 1, 0, 0, 0, 0]),
        (Value::Unsigned(u64::MAX), vec![0x25, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        (Value::Signed(0), vec![0x31, 0]),
        (Value::Signed(-1), vec![0x31, 0xFF]),
        (Value::Signed(127), vec![0x31, 0x7F]),
        (Value::Signed(128), vec![0x32, 0x00, 0x80]),
        (Value::Signed(-128), vec![0x31, 0x80]),
        (Value::Signed(-129), vec![0x32, 0xFF, 0x7F]),
        (Value::Signed(-70_000), vec![0x33, 0xFE, 0xEE, 0x90]),
        (Value::Enumerated(62), vec![0x91, 62]),
        (Value::Enumerated(70_000), vec![0x93, 0x01, 0x11, 0x70]),
    ] {
        assert_eq!(bytes(&value), expected, "{value:?}");
    }
}

/// Field crates, 1.2.6: the crate writes a wildcard date as `a4 93 ..`.
#[test]
fn a_wildcard_date_keeps_its_bytes() {
    assert_eq!(bytes(&Value::Date([255, 255, 255, 255])), [0xA4, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(value(&[0xA4, 0xFF, 1, 2, 0xFF]), Ok(Value::Date([255, 1, 2, 255])));
}

/// Field crates, 1.2.7: the crate ignores the character set.
#[test]
fn a_text_in_latin_1_or_ucs_2_is_read_and_one_in_an_unknown_set_costs_only_itself() {
    assert_eq!(value(b"\x75\x04\x05K\xFCh"), Ok(Value::Text("Küh".into())));
    assert_eq!(value(b"\x75\x05\x04\0K\0\xFC"), Ok(Value::Text("Kü".into())));
    let mut reader = Reader::new(b"\x73\x09AB\x21\x07");
    assert_eq!(reader.value(), Ok(Value::Unreadable));
    assert_eq!(reader.value(), Ok(Value::Unsigned(7)));
}

/// Field crates, 1.2.8: the crate loses a whole reply for one constructed value.
#[test]
fn what_is_constructed_is_stepped_over() {
    // Event time stamps: three of them, each under [2]: a date and a time.
    let one = [&[0x2E, 0xA4, 126, 1, 2, 3, 0xB4, 1, 2, 3, 4, 0x2F][..]].concat();
    let bytes = [one.clone(), one.clone(), one, vec![0x3F, 0x21, 7]].concat();
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.values_until(3), Ok(vec![Value::Constructed; 3]));
    assert_eq!(reader.value(), Ok(Value::Unsigned(7)));
    // An object-property-reference: context tags only.
    let mut reader = Reader::new(&[0x0C, 0, 0, 0, 4, 0x19, 85, 0x3F]);
    assert_eq!(reader.values_until(3), Ok(vec![Value::Context(0, vec![0, 0, 0, 4]), Value::Context(1, vec![85])]));
}

#[test]
fn nesting_has_an_end() {
    let deep = |depth| [vec![0x0E; depth], vec![0x0F; depth]].concat();
    assert_eq!(value(&deep(MAX_DEPTH)), Ok(Value::Constructed));
    assert_eq!(value(&deep(MAX_DEPTH + 1)), Err(Malformed));
    assert_eq!(value(&[0x0E, 0x1F]), Err(Malformed), "closed by another number");
}

#[test]
fn a_length_beyond_the_bytes_is_refused_before_anybody_makes_room_for_it() {
    for bytes in [&[0x25][..], &[0x25, 255, 0xFF, 0xFF, 0xFF, 0xFF], &[0x65, 254, 0xFF, 0xFF, 1], &[0x22, 1], &[]] {
        assert_eq!(value(bytes), Err(Malformed), "{bytes:02x?}");
    }
}

#[test]
fn a_bit_string_with_impossible_unused_bits_is_unreadable() {
    assert_eq!(value(&[0x82, 4, 0b1010_0000]), Ok(Value::Bits(vec![true, false, true, false])));
    assert_eq!(value(&[0x82, 8, 0xFF]), Ok(Value::Unreadable));
    assert_eq!(value(&[0x81, 1]), Ok(Value::Unreadable), "unused bits of no byte");
    assert_eq!(value(&[0x81, 0]), Ok(Value::Bits(vec![])));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u64>().prop_map(Value::Unsigned),
        any::<i64>().prop_map(Value::Signed),
        any::<u32>().prop_map(|bits| Value::Real(f32::from_bits(bits & 0xBFFF_FFFF))),
        any::<i64>().prop_map(|n| Value::Double(n as f64)),
        prop::collection::vec(any::<u8>(), 0..600).prop_map(Value::Octets),
        "[^\0]{0,300}".prop_map(Value::Text),
        prop::collection::vec(any::<bool>(), 0..20).prop_map(Value::Bits),
        any::<u32>().prop_map(Value::Enumerated),
        any::<[u8; 4]>().prop_map(Value::Date),
        any::<[u8; 4]>().prop_map(Value::Time),
        any::<u32>().prop_map(|bits| Value::Object(ObjectId::from_bits(bits))),
    ]
}

proptest! {
    #[test]
    fn a_value_is_read_as_it_was_written(one in any_value(), other in any_value()) {
        let all = [bytes(&one), bytes(&other)].concat();
        let mut reader = Reader::new(&all);
        prop_assert_eq!(reader.value(), Ok(one));
        prop_assert_eq!(reader.value(), Ok(other));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut reader = Reader::new(&bytes);
        while reader.value().is_ok() {}
        let _ = Reader::new(&bytes).values_until(3);
    }
}
