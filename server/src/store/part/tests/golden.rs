//! Bytes that every later program must read, and this one writes.

use super::*;

const V1: &str = include_str!("golden-v1.hex");

fn golden() -> Model {
    let good = Sample::Good;
    let mut model = Model::new();
    for row in 0..60i64 {
        let at_ms = 1_700_000_000_000 + row * 10_000 + row * 7919 % 21;
        let mut put = |id, sample| drop(model.insert((SeriesId(id), at_ms), sample));
        put(3, good(Value::Decimal(Decimal { mantissa: 2300 + row * row % 37, exponent: -1 })));
        put(6, good(Value::Unsigned(u64::MAX - 5 + row as u64 % 5)));
        put(9, good(Value::F32(50.0 + (row * 31 % 17) as f32 / 100.0)));
        put(12, good(Value::F64(1.0 / (row + 3) as f64)));
        put(15, good(Value::Bool(row > 40)));
        put(18, good(Value::Text(if row % 9 == 0 { "Störung".into() } else { "ok".into() })));
        put(
            21,
            match row {
                0..5 => Sample::Bad(Reason::Timeout),
                5..9 => Sample::Uncertain(Value::int(row), Reason::Stale),
                9..20 => continue,
                _ => good(Value::int(-1)),
            },
        );
    }
    model
}

#[test]
fn parts_of_format_1_are_read_and_written_as_ever() {
    let written: String = write(&golden(), Shape { groups: 3, rows: 40 }).chunks(64).map(|line| hex(line) + "\n").collect();
    if std::env::var_os("PATTOO_UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/part/tests/golden-v1.hex"), &written).unwrap();
    }
    let digits: Vec<u8> = V1.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    holds(&open(bytes.collect()), &golden());
    assert_eq!(written, V1, "a part is written otherwise than before: does a program of before read it?");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
