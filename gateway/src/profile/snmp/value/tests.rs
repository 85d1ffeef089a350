use pattoo_wire::Value as Meant;
use proptest::prelude::*;

use super::*;

fn how(syntax: Syntax) -> How {
    How::new(syntax)
}

fn octets(text: &[u8]) -> Value {
    Value::Octets(text.to_vec())
}

/// The value as it prints, or the reason in brackets.
fn text(sample: &Sample) -> String {
    match sample {
        Sample::Good(value) => value.to_string(),
        other => format!("({})", other.reason().unwrap()),
    }
}

#[test]
fn each_kind_of_value_means_what_its_type_says() {
    use Syntax::{Bits, Counter32, Counter64, DateTime, Float, Integer, Ip, Mac, Text, Ticks, Unsigned};
    let oid = "1.3.6.1.4.1.9".parse().unwrap();
    for (syntax, value, expected) in [
        (Integer, Value::Integer(-7), "-7"),
        (Integer, Value::Gauge(4_294_967_295), "4294967295"),
        (Integer, octets(b"7"), "(malformed reply)"),
        (Unsigned, Value::Gauge(4_294_967_295), "4294967295"),
        // hrStorageSize of a disk of more than 2^31 blocks.
        (Unsigned, Value::Integer(-2), "4294967294"),
        (Unsigned, Value::Integer(-4_294_967_296), "(malformed reply)"),
        (Counter32, Value::Counter32(4_294_967_295), "4294967295"),
        (Counter64, Value::Counter64(u64::MAX), "18446744073709551615"),
        (Counter64, Value::Integer(-1), "(malformed reply)"),
        (Ticks, Value::Ticks(12_345), "123.45"),
        (Ticks, Value::Ticks(u32::MAX), "42949672.95"),
        (Float, Value::Opaque(vec![0x9F, 0x78, 4, 0x42, 0x28, 0, 0]), "42"),
        (Float, Value::Opaque(vec![0x9F, 0x78, 4, 0x43, 0x66, 0x1A, 0x36]), "230.10239"),
        (Float, Value::Opaque(vec![0x9F, 0x79, 8, 0x40, 0x09, 0x21, 0xFB, 0x54, 0x44, 0x2D, 0x18]), "3.141592653589793"),
        (Float, Value::Opaque(vec![0x9F, 0x78, 4, 0x7F, 0xC0, 0, 0]), "(not a value)"),
        (Float, Value::Opaque(vec![0x9F, 0x78, 4, 0x42]), "(malformed reply)"),
        (Float, octets(b"0.15 "), "0.15"),
        (Float, octets(b"n/a"), "(malformed reply)"),
        (Text, octets("Z\u{fc}rich\0".as_bytes()), "Z\u{fc}rich"),
        (Text, octets(b"a\r\nb\x1b\xFF "), "a  b\u{FFFD}\u{FFFD}"),
        (Text, octets(b""), ""),
        (Text, Value::Integer(1), "(malformed reply)"),
        (Mac, octets(&[0, 0x1B, 0x21, 0xAB, 0xCD, 0xEF]), "00:1b:21:ab:cd:ef"),
        (Mac, octets(b""), "(not a value)"),
        (Ip, Value::Ip([10, 0, 0, 9]), "10.0.0.9"),
        (Ip, octets(&[0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]), "2001:db8::9"),
        (Ip, octets(&[1, 2, 3]), "(malformed reply)"),
        (Syntax::Oid, Value::Oid(oid), "1.3.6.1.4.1.9"),
        (DateTime, octets(&[7, 0xEA, 11, 30, 3, 57, 58, 4]), "2026-11-30T03:57:58.4"),
        (DateTime, octets(&[7, 0xEA, 11, 30, 3, 57, 58, 4, b'-', 9, 30]), "2026-11-30T03:57:58.4-09:30"),
        (DateTime, octets(&[7, 0xEA, 2, 29, 0, 0, 0, 0]), "(not a value)"),
        (DateTime, octets(&[0; 8]), "(not a value)"),
        (DateTime, octets(&[7, 0xEA, 11]), "(malformed reply)"),
        // Bit 0 is the highest one of the first octet (hrPrinterDetectedErrorState: low paper, door open).
        (Bits, octets(&[0b1000_1000]), "17"),
        (Bits, octets(&[0, 0b1000_0000]), "256"),
        (Bits, octets(b""), "0"),
        (Bits, octets(&[0, 0, 0, 0, 0, 0, 0, 1]), "9223372036854775808"),
        (Bits, octets(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), "(overflow)"),
        (Integer, Value::NoSuchObject, "(unavailable)"),
        (Integer, Value::NoSuchInstance, "(unavailable)"),
        (Integer, Value::EndOfMib, "(unavailable)"),
        (Text, Value::Null, "(unavailable)"),
        (Text, Value::Other, "(malformed reply)"),
        (Text, octets(&[b'x'; 1025]), "(overflow)"),
    ] {
        let sample = how(syntax).decode(&value, Factor::default(), None);
        assert_eq!(text(&sample), expected, "{syntax:?} {value:?}");
        if let Some(meant) = sample.value() {
            assert_eq!(meant.repr(), how(syntax).repr(), "{syntax:?} {value:?}");
        }
    }
}

#[test]
fn scale_offset_factors_and_decimals_are_exact() {
    let scaled = |scale, offset| How { scale, offset, ..how(Syntax::Integer) };
    let floating = |decimals| How { floating: true, decimals, ..how(Syntax::Integer) };
    let power = |power| Factor { power, times: 1 };
    for (how, value, factor, expected) in [
        (scaled((1, -1), (0, 0)), Value::Integer(2301), Factor::default(), "230.1"),
        (scaled((1, 0), (-40, 0)), Value::Integer(65), Factor::default(), "25"),
        (scaled((1, -1), (-27_315, -2)), Value::Integer(2931), Factor::default(), "19.95"),
        (scaled((1024, 0), (0, 0)), Value::Gauge(u32::MAX), Factor::default(), "4398046510080"),
        (scaled((i64::MAX, 0), (0, 0)), Value::Gauge(2), Factor::default(), "(overflow)"),
        // ENTITY-SENSOR-MIB: precision 1; scale milli.
        (floating(None), Value::Integer(235), power(-1), "23.5"),
        (floating(None), Value::Integer(3_301), power(-3), "3.301"),
        (floating(Some(1)), Value::Integer(235), power(-2), "2.4"),
        (floating(Some(3)), Value::Integer(235), power(-1), "23.500"),
        (floating(Some(1)), Value::Integer(7), power(19), "(out of range)"),
        (floating(Some(12)), Value::Integer(i64::MAX), power(18), "(overflow)"),
        // hrStorageUsed in units of 4096.
        (How { times: true, ..how(Syntax::Unsigned) }, Value::Integer(5), Factor { power: 0, times: 4_096 }, "20480"),
        (How { bit: Some(4), ..how(Syntax::Bits) }, octets(&[0b1000_1000]), Factor::default(), "true"),
        (How { bit: Some(3), ..how(Syntax::Bits) }, octets(&[0b1000_1000]), Factor::default(), "false"),
        (How { invalid: vec![-1, -2], ..how(Syntax::Integer) }, Value::Integer(-2), Factor::default(), "(not a value)"),
        (How { invalid: vec![-1], ..how(Syntax::Unsigned) }, Value::Integer(-1), Factor::default(), "(not a value)"),
        (How { scale: (1, -1), ..how(Syntax::Ticks) }, Value::Ticks(15), Factor::default(), "0.015"),
        (How { decimals: Some(1), ..how(Syntax::Float) }, octets(b"0.25"), Factor::default(), "0.3"),
    ] {
        let sample = how.decode(&value, factor, None);
        assert_eq!(text(&sample), expected, "{how:?} {value:?}");
        if let Some(meant) = sample.value() {
            assert_eq!(meant.repr(), how.repr(), "{how:?} {value:?}");
        }
    }
    assert_eq!(how(Syntax::Integer).decode(&Value::Integer(9), Factor::default(), Some((0.0, 8.0))), Sample::Bad(Reason::OutOfRange));
    assert_eq!(How { scale: (8, 0), ..how(Syntax::Counter64) }.rated(0.5, None), Sample::Good(Meant::F64(4.0)));
    assert_eq!(how(Syntax::Counter64).rated(9.0, Some((0.0, 8.0))), Sample::Bad(Reason::OutOfRange));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Octets),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Opaque),
        any::<u32>().prop_map(Value::Counter32),
        any::<u32>().prop_map(Value::Ticks),
        any::<u64>().prop_map(Value::Counter64),
        any::<[u8; 4]>().prop_map(Value::Ip),
        Just(Value::NoSuchInstance),
        Just(Value::Other),
    ]
}

proptest! {
    /// Whatever an agent says, a point has a value of its own representation or a reason.
    #[test]
    fn no_value_is_of_another_representation(
        value in any_value(),
        syntax in 0usize..Syntax::NAMES.len(),
        scale in (1i64..2_000, -6i8..=0),
        offset in (-500i64..500, -3i8..=0),
        decimals in prop::option::of(0u8..=12),
        power in -30i64..30,
        times in any::<i64>(),
        floating in any::<bool>(),
    ) {
        let syntax = Syntax::NAMES[syntax].1;
        let decimals = decimals.filter(|_| floating || syntax == Syntax::Float);
        let how = How { scale, offset, decimals, floating, times: !floating, ..how(syntax) };
        if let Some(meant) = how.decode(&value, Factor { power, times }, None).value() {
            prop_assert_eq!(meant.repr(), how.repr());
        }
    }
}
