use proptest::prelude::*;

use super::*;
use crate::profile::{ByteOrder, Layout, Table};

fn point(encoding: Encoding, scale: (i64, i8), words: WordOrder) -> ModbusRead {
    ModbusRead { scale, words, ..ModbusRead::new(Table::Input, 0, encoding) }
}

fn plain(encoding: Encoding) -> ModbusRead {
    point(encoding, (1, 0), WordOrder::HighFirst)
}

fn decimal(mantissa: i64, exponent: i8) -> Sample {
    Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))
}

#[test]
fn registers_decode_as_the_tables_of_vendors_have_them() {
    use Encoding::*;
    for (encoding, scale, words, expected) in [
        (U16, (1, -1), &[2301][..], decimal(2301, -1)),
        (U16, (1, 0), &[0xFFFF], decimal(65_535, 0)),
        (I16, (1, -2), &[0xFFFF], decimal(-1, -2)),
        (I16, (-1, 0), &[0x8000], decimal(32_768, 0)),
        (U32, (1, 0), &[0x0001, 0x0002], decimal(65_538, 0)),
        (U32, (10, 0), &[0xFFFF, 0xFFFF], decimal(42_949_672_950, 0)),
        (I32, (5, -3), &[0xFFFF, 0xFFFE], decimal(-10, -3)),
        (U64, (1, 0), &[0xFFFF; 4], Sample::Good(Value::Unsigned(u64::MAX))),
        (U64, (1, -3), &[0, 0, 0, 7], decimal(7, -3)),
        (U64, (1, -3), &[0x8000, 0, 0, 0], Sample::Bad(Reason::Overflow)),
        (I64, (1, 0), &[0x8000, 0, 0, 0], decimal(i64::MIN, 0)),
        (I64, (10, 0), &[0x7FFF, 0, 0, 0], Sample::Bad(Reason::Overflow)),
        (F32, (1, 0), &[0x4366, 0x199A], Sample::Good(Value::F32(230.1))),
        (F32, (1, 0), &[0x7FC0, 0], Sample::Bad(Reason::NotAValue)),
        (F32, (1, 0), &[0xFF80, 0], Sample::Bad(Reason::NotAValue)),
        (F64, (1, 0), &[0x406C, 0xC333, 0x3333, 0x3333], Sample::Good(Value::F64(230.1))),
        (F64, (1, 0), &[0x7FF8, 0, 0, 0], Sample::Bad(Reason::NotAValue)),
        (Bit, (1, 0), &[1], Sample::Good(Value::Bool(true))),
        (Bit, (1, 0), &[0], Sample::Good(Value::Bool(false))),
        // A device that answers with another number of registers than asked.
        (U32, (1, 0), &[1], Sample::Bad(Reason::Malformed)),
        (U16, (1, 0), &[], Sample::Bad(Reason::Malformed)),
    ] {
        assert_eq!(point(encoding, scale, WordOrder::HighFirst).decode(words, None), expected, "{encoding:?} {words:X?}");
        let turned = words.iter().rev().copied().collect::<Vec<_>>();
        assert_eq!(point(encoding, scale, WordOrder::LowFirst).decode(&turned, None), expected, "{encoding:?} {turned:X?}");
    }
}

/// Each with what a vendor's table or a standard's example gives.
#[test]
fn narrow_and_packed_types_decode_as_their_makers_have_them() {
    use Encoding::*;
    let bad = Sample::Bad(Reason::NotAValue);
    let text = |text: &str| Sample::Good(Value::Text(text.to_owned()));
    for (encoding, words, expected) in [
        (U8(Half::High), &[0xFF01][..], decimal(255, 0)),
        (U8(Half::Low), &[0xFF01], decimal(1, 0)),
        (I8(Half::High), &[0x8001], decimal(-128, 0)),
        (I8(Half::Low), &[0x80FF], decimal(-1, 0)),
        (U24, &[0x1200, 0x0001], decimal(1, 0)),
        (U24, &[0x00FF, 0xFFFF], decimal(16_777_215, 0)),
        (F16, &[0x3C00], Sample::Good(Value::F32(1.0))),
        (F16, &[0x3555], Sample::Good(Value::F32(0.333_251_95))),
        (F16, &[0xC000], Sample::Good(Value::F32(-2.0))),
        (F16, &[0x7BFF], Sample::Good(Value::F32(65_504.0))),
        (F16, &[0x0001], Sample::Good(Value::F32(5.960_464_5e-8))),
        (F16, &[0x0400], Sample::Good(Value::F32(6.103_515_6e-5))),
        (F16, &[0x7C00], bad.clone()),
        (F16, &[0x7E00], bad.clone()),
        (Bcd16, &[0x1234], decimal(1_234, 0)),
        (Bcd16, &[0x9999], decimal(9_999, 0)),
        (Bcd16, &[0x12A4], bad.clone()),
        (Bcd32, &[0x0123, 0x4567], decimal(1_234_567, 0)),
        (Bcd32, &[0xFFFF, 0xFFFF], bad.clone()),
        (Mod10(2), &[12, 3_456], decimal(123_456, 0)),
        (Mod10(2), &[0xFFFF, 0xFFFE], decimal(-10_002, 0)),
        (Mod10(2), &[1, 0xFFFE], bad.clone()),
        (Mod10(2), &[1, 10_000], bad.clone()),
        (Mod10(3), &[1, 0, 9_999], decimal(100_009_999, 0)),
        (Mod10(4), &[9_999; 4], decimal(9_999_999_999_999_999, 0)),
        (Text(3), &[0x4142, 0x4320, 0x2020], text("ABC")),
        (Text(3), &[0x4142, 0x0043, 0x4444], text("AB")),
        (Text(2), &[0x2020, 0x2020], text("")),
        (Text(2), &[0, 0], bad.clone()),
        (Text(2), &[0xFFFF, 0xFFFF], bad.clone()),
        (Text(2), &[0xC3BC, 0x0A41], text("\u{fc}\u{fffd}A")),
        (Text(1), &[0xFC41], text("\u{fffd}A")),
        // 2026-11-29, a Sunday, 12:34:56.789.
        (DateTime(Layout::Iec), &[26, 0x0BFD, 0x0C22, 56_789], text("2026-11-29T12:34:56.789")),
        (DateTime(Layout::Iec), &[26, 0x0BFD, 0x0CA2, 56_789], bad.clone()),
        (DateTime(Layout::Iec), &[26, 0x0BFD, 0x0C22, 60_000], bad.clone()),
        (DateTime(Layout::Iec), &[0xFFFF; 4], bad.clone()),
        (DateTime(Layout::Six), &[2026, 2, 28, 23, 59, 59], text("2026-02-28T23:59:59")),
        (DateTime(Layout::Six), &[24, 2, 29, 0, 0, 0], text("2024-02-29T00:00:00")),
        (DateTime(Layout::Six), &[2025, 2, 29, 0, 0, 0], bad.clone()),
        (DateTime(Layout::Six), &[2025, 13, 1, 0, 0, 0], bad.clone()),
        (DateTime(Layout::Six), &[2025, 4, 31, 0, 0, 0], bad.clone()),
        (DateTime(Layout::Six), &[2025, 1, 1, 24, 0, 0], bad.clone()),
        (DateTime(Layout::Three), &[0x1A0B, 0x1D0C, 0x2238], text("2026-11-29T12:34:56")),
        (DateTime(Layout::Three), &[0xFF0B, 0x1D0C, 0x2238], bad.clone()),
    ] {
        assert_eq!(plain(encoding).decode(words, None), expected, "{encoding:?} {words:X?}");
    }
}

/// 230.1 as a single float is 0x4366199A; the letters as vendors print them.
#[test]
fn the_four_orders_of_four_bytes() {
    use {ByteOrder as B, WordOrder as W};
    for (name, words, bytes, registers) in [
        ("ABCD", W::HighFirst, B::HighFirst, [0x4366, 0x199A]),
        ("BADC", W::HighFirst, B::LowFirst, [0x6643, 0x9A19]),
        ("CDAB", W::LowFirst, B::HighFirst, [0x199A, 0x4366]),
        ("DCBA", W::LowFirst, B::LowFirst, [0x9A19, 0x6643]),
    ] {
        let read = ModbusRead { words, bytes, ..plain(Encoding::F32) };
        assert_eq!(read.decode(&registers, None), Sample::Good(Value::F32(230.1)), "{name}");
        assert_eq!(read.encode(&Value::F32(230.1)), Some(registers.to_vec()), "{name}");
    }
    let read = ModbusRead { words: W::LowFirst, bytes: B::LowFirst, ..plain(Encoding::U64) };
    assert_eq!(read.decode(&[0x0807, 0x0605, 0x0403, 0x0201], None), Sample::Good(Value::Unsigned(0x0102_0304_0506_0708)));
    let text = ModbusRead { bytes: B::LowFirst, ..plain(Encoding::Text(2)) };
    assert_eq!(text.decode(&[0x4241, 0x0043], None), Sample::Good(Value::Text("ABC".to_owned())));
}

#[test]
fn bits_of_a_register_are_flags_and_small_numbers() {
    let bits = |first, count| ModbusRead { bits: Some((first, count)), ..plain(Encoding::U16) };
    assert_eq!(bits(15, 1).decode(&[0x8000], None), Sample::Good(Value::Bool(true)));
    assert_eq!(bits(14, 1).decode(&[0x8000], None), Sample::Good(Value::Bool(false)));
    assert_eq!(bits(4, 3).decode(&[0xFFDF], None), decimal(5, 0));
    assert_eq!(ModbusRead { scale: (5, -1), offset: (-1, 0), ..bits(0, 4) }.decode(&[0xF3], None), decimal(5, -1));
    let wide = ModbusRead { bits: Some((31, 1)), words: WordOrder::LowFirst, ..plain(Encoding::U32) };
    assert_eq!(wide.decode(&[0, 0x8000], None), Sample::Good(Value::Bool(true)));
    assert_eq!(wide.masks(), [0, 0x8000]);
    let marked = ModbusRead { invalid: vec![vec![0xFFFF]], ..bits(0, 1) };
    assert_eq!(marked.decode(&[0xFFFF], None), Sample::Bad(Reason::NotAValue));
    assert_eq!(marked.decode(&[0x0FFF], None), Sample::Good(Value::Bool(true)));
    let half = ModbusRead { invalid: vec![vec![0xFF00]], ..plain(Encoding::U8(Half::High)) };
    assert_eq!(half.decode(&[0xFF12], None), Sample::Bad(Reason::NotAValue));
}

#[test]
fn an_offset_is_added_to_what_is_scaled() {
    let read = |scale, offset| ModbusRead { scale, offset, ..plain(Encoding::U16) };
    assert_eq!(read((1, -1), (-40, 0)).decode(&[1], None), decimal(-399, -1));
    assert_eq!(read((1, 0), (-27_315, -2)).decode(&[300], None), decimal(2_685, -2));
    assert_eq!(read((-2, -1), (5, -1)).decode(&[1], None), decimal(3, -1));
    let big = ModbusRead { offset: (i64::MAX, 0), ..plain(Encoding::U64) };
    assert_eq!(big.decode(&[0, 0, 0, 1], None), Sample::Bad(Reason::Overflow));
    let float = ModbusRead { scale: (1, -1), offset: (-40, 0), ..plain(Encoding::F32) };
    assert_eq!(float.decode(&[0x42F6, 0], None), Sample::Good(Value::F32(-27.7)));
}

#[test]
fn a_scale_register_that_holds_no_scale_costs_the_value() {
    let read = ModbusRead { address: 5, scale_at: Some(7), ..plain(Encoding::U16) };
    let expected = |text: &str| Sample::Good(Value::F64(text.parse().unwrap()));
    for (words, sample) in [
        ([2301, 0, 0xFFFF], expected("230.1")),
        ([2301, 9, 2], expected("230100")),
        ([1, 0, 10], expected("1e10")),
        ([1, 0, 0xFFF6], expected("1e-10")),
        ([1, 0, 11], Sample::Bad(Reason::OutOfRange)),
        ([1, 0, 0xFFF5], Sample::Bad(Reason::OutOfRange)),
        ([1, 0, 0x8000], Sample::Bad(Reason::NotAValue)),
    ] {
        assert_eq!(read.decode(&words, None), sample, "{words:X?}");
    }
    assert_eq!(read.decode(&[1, 0], None), Sample::Bad(Reason::Malformed));
    assert_eq!(ModbusRead { decimals: Some(1), ..read.clone() }.decode(&[2345, 0, 0xFFFE], None), decimal(235, -1));
    assert_eq!(ModbusRead { bytes: ByteOrder::LowFirst, ..read }.decode(&[0xFD08, 0, 0xFFFF], None), expected("230.1"));
}

#[test]
fn marks_and_limits_make_a_reading_bad() {
    let mut read = point(Encoding::U32, (1, -1), WordOrder::LowFirst);
    read.invalid = vec![vec![0, 0x8000], vec![0xFFFF, 0xFFFF]];
    assert_eq!(read.decode(&[0, 0x8000], None), Sample::Bad(Reason::NotAValue));
    assert_eq!(read.decode(&[0xFFFF, 0xFFFF], None), Sample::Bad(Reason::NotAValue));
    assert_eq!(read.decode(&[0x8000, 0], None), decimal(0x8000, -1));
    assert_eq!(read.no_value(), Some(vec![0, 0x8000]));
    let range = Some((0.5, 10.0));
    for (raw, expected) in [(4, Sample::Bad(Reason::OutOfRange)), (5, decimal(5, -1)), (100, decimal(100, -1))] {
        assert_eq!(read.decode(&[raw, 0], range), expected, "{raw}");
    }
    assert_eq!(read.decode(&[101, 0], range), Sample::Bad(Reason::OutOfRange));
    let float = plain(Encoding::F32);
    assert_eq!(float.decode(&float.no_value().unwrap(), None), Sample::Bad(Reason::NotAValue));
    assert_eq!(plain(Encoding::U16).no_value(), None);
}

#[test]
fn decimals_round_what_the_register_prints() {
    for (encoding, decimals, text, expected) in [
        (Encoding::F32, 1, "230.1", decimal(2_301, -1)),
        (Encoding::F32, 2, "0.125", decimal(13, -2)),
        (Encoding::F32, 2, "-0.125", decimal(-13, -2)),
        (Encoding::F32, 0, "49.98", decimal(50, 0)),
        (Encoding::F64, 3, "1234.5675", decimal(1_234_568, -3)),
        (Encoding::F64, 3, "1e18", Sample::Bad(Reason::Overflow)),
    ] {
        let read = ModbusRead { decimals: Some(decimals), ..plain(encoding) };
        let raw = match encoding {
            Encoding::F32 => u64::from(text.parse::<f32>().unwrap().to_bits()),
            _ => text.parse::<f64>().unwrap().to_bits(),
        };
        assert_eq!(read.decode(&read.split(raw), None), expected, "{text}");
    }
}

#[test]
fn what_no_register_means_is_not_encoded() {
    let value = |mantissa, exponent| Value::Decimal(Decimal { mantissa, exponent });
    assert_eq!(point(Encoding::U16, (5, 0), WordOrder::HighFirst).encode(&value(7, 0)), None);
    assert_eq!(plain(Encoding::U16).encode(&value(65_536, 0)), None);
    assert_eq!(plain(Encoding::U16).encode(&value(-1, 0)), None);
    assert_eq!(plain(Encoding::I16).encode(&value(-1, 0)), Some(vec![0xFFFF]));
    assert_eq!(plain(Encoding::U16).encode(&value(1, -1)), None);
    assert_eq!(plain(Encoding::F32).encode(&Value::F64(1.0)), None);
}

const ENCODINGS: [Encoding; 26] = {
    use Encoding::*;
    [
        Bit,
        U8(Half::High),
        U8(Half::Low),
        I8(Half::High),
        I8(Half::Low),
        U16,
        I16,
        U24,
        U32,
        I32,
        U64,
        I64,
        F16,
        F32,
        F64,
        Bcd16,
        Bcd32,
        Mod10(2),
        Mod10(3),
        Mod10(4),
        Text(1),
        Text(5),
        Text(6),
        DateTime(Layout::Iec),
        DateTime(Layout::Six),
        DateTime(Layout::Three),
    ]
};

/// All types in all orders, with every scale and offset that fits.
fn reads() -> impl Strategy<Value = ModbusRead> {
    let encodings = prop::sample::select(ENCODINGS.to_vec());
    let scales = prop::sample::select(vec![(1, 0), (1, -1), (-1, -3), (10, 0), (25, -2), (i64::MAX, 0)]);
    let offsets = prop::sample::select(vec![(0, 0), (0, 0), (-40, 0), (5, -1), (1, -6)]);
    let bits = prop::option::weighted(0.3, (0u8..16, 1u8..15));
    (encodings, scales, offsets, bits, any::<[bool; 2]>()).prop_map(|(encoding, scale, offset, bits, low)| {
        let mut read = plain(encoding);
        if encoding.integers().is_some() {
            (read.scale, read.offset) = (scale, offset);
        }
        if low[0] && encoding.len() > 1 && !matches!(encoding, Encoding::Text(_) | Encoding::DateTime(_)) {
            read.words = WordOrder::LowFirst;
        }
        if low[1] && !matches!(encoding, Encoding::U8(_) | Encoding::I8(_) | Encoding::Bit) {
            read.bytes = ByteOrder::LowFirst;
        }
        if let (Some((first, count)), Encoding::U16 | Encoding::U32 | Encoding::U64) = (bits, encoding) {
            read.bits = Some((first, count.min(16 - first)));
            if read.bits == Some((first, 1)) {
                (read.scale, read.offset) = ((1, 0), (0, 0));
            }
        }
        read
    })
}

/// Words of the right number, one byte and a half of them likely to be small: digits, months and letters.
fn words_of(read: &ModbusRead) -> impl Strategy<Value = Vec<u16>> + use<> {
    let word = prop_oneof![any::<u16>(), 0u16..13, (0u16..10_000), (0x20u16..0x7F, 0x20u16..0x7F).prop_map(|(a, b)| a << 8 | b)];
    prop::collection::vec(word, usize::from(read.encoding.len()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_good_value_has_the_representation_of_its_point_and_encodes_to_its_own_bits(
        (read, words) in reads().prop_flat_map(|read| { let words = words_of(&read); (Just(read), words) }),
    ) {
        match read.decode(&words, None) {
            Sample::Good(value) => {
                prop_assert_eq!(value.repr(), read.repr());
                let encoded = read.encode(&value);
                match read.encoding {
                    // Any word but 0 is a set bit.
                    Encoding::Bit => prop_assert_eq!(encoded, Some(vec![u16::from(words[0] != 0)])),
                    // What is behind a NUL, a weekday, a year of two digits: not told by the value.
                    Encoding::Text(_) | Encoding::DateTime(_) => {
                        let encoded = encoded.or_else(|| read.nearest(&value, 0)).unwrap();
                        let again = read.decode(&encoded, None);
                        let plain = !value.to_string().contains(char::REPLACEMENT_CHARACTER) && !value.to_string().is_empty();
                        prop_assert!(!plain || again == Sample::Good(value), "{:?}", again);
                    }
                    _ => {
                        let own = words.iter().zip(read.masks()).map(|(word, mask)| word & mask).collect::<Vec<_>>();
                        prop_assert_eq!(encoded, Some(own));
                    }
                }
            }
            Sample::Bad(Reason::Overflow) => {
                prop_assert!(read.encoding.integers().is_some() && (read.scale != (1, 0) || read.offset.0 != 0));
            }
            other => prop_assert_eq!(other, Sample::Bad(Reason::NotAValue)),
        }
    }

    #[test]
    fn another_number_of_words_is_no_reply(read in reads(), words in prop::collection::vec(any::<u16>(), 0..8)) {
        prop_assume!(words.len() != usize::from(read.encoding.len()));
        prop_assert_eq!(read.decode(&words, None), Sample::Bad(Reason::Malformed));
    }

    /// The orders are those that the vendors' letters mean, whatever the type: the bytes of each value, put as the letters say.
    #[test]
    fn every_order_gives_the_value_of_the_plain_one(
        encoding in prop::sample::select(ENCODINGS.to_vec()), raw in any::<[u16; 6]>(), low_words in any::<bool>(), low_bytes in any::<bool>(),
    ) {
        let fixed = matches!(encoding, Encoding::Bit | Encoding::U8(_) | Encoding::I8(_));
        let in_order = matches!(encoding, Encoding::Text(_) | Encoding::DateTime(_));
        let words = &raw[..usize::from(encoding.len())];
        let mut put = words.to_vec();
        let mut read = plain(encoding);
        if low_words && !in_order && !fixed {
            read.words = WordOrder::LowFirst;
            put.reverse();
        }
        if low_bytes && !fixed {
            read.bytes = ByteOrder::LowFirst;
            put.iter_mut().for_each(|word| *word = word.rotate_left(8));
        }
        let same = |a: &Sample, b: &Sample| a == b || format!("{a:?}") == format!("{b:?}");
        prop_assert!(same(&read.decode(&put, None), &plain(encoding).decode(words, None)));
    }

    #[test]
    fn a_scale_register_moves_the_point_and_nothing_else(
        raw in any::<i32>(), factor in -10i16..=10, before in 0u16..3, behind in 0u16..3, junk in any::<u16>(), decimals in prop::option::of(0u8..=12),
    ) {
        let mut read = ModbusRead { address: 10, scale_at: Some(if before > 0 { 10 - before } else { 12 + behind }), decimals, ..plain(Encoding::I32) };
        let mut words = vec![junk; usize::from(read.last() - read.first()) + 1];
        let first = read.first();
        let at = |register: u16| usize::from(register - first);
        words[at(10)] = (raw as u32 >> 16) as u16;
        words[at(11)] = raw as u16;
        words[at(read.scale_at.unwrap())] = factor.cast_unsigned();
        let expected = format!("{raw}e{factor}").parse::<f64>().unwrap();
        match (read.decode(&words, None), decimals) {
            (Sample::Good(Value::F64(got)), None) => prop_assert_eq!(got.to_bits(), expected.to_bits()),
            (Sample::Good(Value::Decimal(got)), Some(decimals)) => {
                prop_assert_eq!(got.exponent, -decimals.cast_signed());
                // Half of the last decimal, and what a double cannot tell.
                prop_assert!((got.to_f64() - expected).abs() <= 0.500_001 * 10f64.powi(-i32::from(decimals)) + expected.abs() * 1e-15);
                if i16::from(decimals) >= -factor {
                    prop_assert_eq!(got.to_f64().to_bits(), expected.to_bits());
                }
            }
            (Sample::Bad(Reason::Overflow), Some(decimals)) => {
                prop_assert!(expected.abs() * 10f64.powi(i32::from(decimals)) > 9.2e18);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        read.invalid = vec![read.split(u64::from(raw as u32))];
        prop_assert_eq!(read.decode(&words, None), Sample::Bad(Reason::NotAValue));
        // A simulated value goes the same way back.
        read.invalid.clear();
        if let (Sample::Good(value @ Value::F64(_)), true) = (read.decode(&words, None), i8::try_from(factor).is_ok()) {
            prop_assert_eq!(read.nearest(&value, factor as i8), Some(words[at(10)..=at(11)].to_vec()));
        }
    }

    #[test]
    fn a_scaled_float_is_rounded_once_and_comes_back_within_a_step(x in -1e6f32..1e6) {
        for (scale, expected) in [((1000, 0), f64::from(x) * 1000.0), ((1, -1), f64::from(x) / 10.0), ((1, -3), f64::from(x) / 1000.0)] {
            let read = point(Encoding::F32, scale, WordOrder::HighFirst);
            let Sample::Good(Value::F32(got)) = read.decode(&read.split(u64::from(x.to_bits())), None) else { panic!("{x}") };
            prop_assert_eq!(got.to_bits(), (expected as f32).to_bits());
            let back = read.nearest(&Value::F32(got), 0).unwrap();
            let back = f32::from_bits(u32::from(back[0]) << 16 | u32::from(back[1]));
            prop_assert!((f64::from(back) - f64::from(x)).abs() <= f64::from(x.abs()) * 1.3e-7 + 1e-44, "{} {}", x, back);
        }
    }

    #[test]
    fn rounded_floats_of_common_size_survive_the_way_through_registers(mantissa in -999_999i64..=999_999, decimals in 0u8..=4) {
        for encoding in [Encoding::F32, Encoding::F64] {
            let read = ModbusRead { decimals: Some(decimals), ..plain(encoding) };
            let value = Value::Decimal(Decimal { mantissa, exponent: -decimals.cast_signed() });
            prop_assert_eq!(read.decode(&read.encode(&value).unwrap(), None), Sample::Good(value));
        }
    }
}
