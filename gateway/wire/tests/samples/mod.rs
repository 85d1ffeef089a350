//! One example that uses everything of version 1, and comparison that tells one NaN from another.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part; what fails here is a failed test")]

use pattoo_wire::{
    Ack, Ask, Batch, Block, Body, ClockSource, Decimal, Device, Echo, Gap, GapReason, Header, Hello, Kind, Labels, Reason, Repr, Sample,
    Schema, SchemaId, Series, Value, compressed, data_message, open_data,
};

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn series(device: u32, point: &str, unit: &str, kind: Kind, repr: Repr) -> Series {
    Series { device, point: point.into(), unit: unit.into(), kind, repr, labels: Labels::new(), states: Default::default() }
}

/// Every kind and every representation.
pub(crate) fn schema() -> Schema {
    let mut mode = series(1, "mode", "", Kind::State, Repr::Decimal { exponent: 0 });
    mode.states = [(-1, "fault".to_owned()), (0, "off".to_owned()), (1, "läuft".to_owned())].into();
    let mut used = series(1, "filesystem_used[/]", "By", Kind::Gauge, Repr::Decimal { exponent: 3 });
    used.labels = labels(&[("device", "/dev/vda"), ("type", "ext4")]);
    Schema {
        devices: vec![
            Device { name: "main-meter".into(), profile: "eastron-sdm630".into(), labels: labels(&[("site", "north")]) },
            Device { name: "host".into(), profile: "linux-host".into(), labels: Labels::new() },
        ],
        series: vec![
            series(0, "voltage_l1", "V", Kind::Gauge, Repr::Decimal { exponent: -1 }),
            series(0, "energy_import", "kWh", Kind::Counter, Repr::Unsigned),
            series(0, "current_l1", "A", Kind::Gauge, Repr::F32),
            series(0, "power", "W", Kind::Gauge, Repr::F64),
            series(1, "running", "", Kind::State, Repr::Bool),
            series(1, "firmware", "", Kind::Text, Repr::Text),
            mode,
            used,
            series(1, "tiny", "1", Kind::Gauge, Repr::Decimal { exponent: -18 }),
        ],
    }
}

fn decimals(exponent: i8, mantissas: &[i64]) -> Vec<Sample> {
    mantissas.iter().map(|&mantissa| Sample::Good(Value::Decimal(Decimal { mantissa, exponent }))).collect()
}

fn values<T: Clone>(values: &[T], wrap: impl Fn(T) -> Value) -> Vec<Sample> {
    values.iter().map(|v| Sample::Good(wrap(v.clone()))).collect()
}

/// Every representation with its extremes, every quality, every reason, every reason of a gap.
pub(crate) fn batch() -> Batch {
    let at_ms = 1_790_000_000_123;
    let columns = [
        decimals(-1, &[2301, 2301, -1, i64::MAX, i64::MIN]),
        values(&[u64::MAX, 0, 1 << 63, 4_294_967_296, 7], Value::Unsigned),
        values(&[230.1, -0.0, f32::INFINITY, f32::from_bits(0x7fc0_1234), f32::from_bits(1)], Value::F32),
        values(&[0.1, f64::NEG_INFINITY, f64::from_bits(0xfff8_0000_dead_beef), f64::MAX, f64::MIN_POSITIVE], Value::F64),
        values(&[true, false, true, true, false], Value::Bool),
        values(&["", "v1.2.3", "läuft ✓", "\u{0}", "x"].map(str::to_owned), Value::Text),
        decimals(0, &[-1, 0, 1, 0, -1]),
        decimals(3, &[12_000, 12_001, 12_000, 0, -5]),
        decimals(-18, &[0, 1, 2, 3, i64::MIN]),
    ];
    let regular = Block {
        series: (0..9).collect(),
        times_ms: vec![at_ms, at_ms + 10_000, at_ms + 20_003, at_ms + 5, i64::MIN],
        samples: columns.concat(),
    };
    let bad = [
        Reason::Timeout,
        Reason::LinkDown,
        Reason::Malformed,
        Reason::NotAValue,
        Reason::OutOfRange,
        Reason::Stale,
        Reason::Unavailable,
        Reason::BackedOff,
        Reason::Overflow,
        Reason::Exception(0),
        Reason::Exception(2),
        Reason::Exception(255),
        Reason::Other(0),
        Reason::Other(255),
        Reason::Other(u16::MAX),
    ];
    let mut samples: Vec<_> = bad.iter().map(|reason| Sample::Bad(*reason)).collect();
    samples.push(Sample::Uncertain(Value::Bool(true), Reason::Stale));
    samples.push(Sample::Uncertain(Value::Bool(false), Reason::Stale));
    samples.push(Sample::Good(Value::Bool(true)));
    let marked = Block { series: vec![4], times_ms: (0..samples.len() as i64).map(|i| at_ms - 7 + i * 1000).collect(), samples };
    let scattered = Block {
        series: vec![7, 0, 1, 4, 3],
        times_ms: vec![0],
        samples: vec![
            Sample::Bad(Reason::Timeout),
            Sample::Uncertain(Value::Decimal(Decimal { mantissa: -2301, exponent: -1 }), Reason::OutOfRange),
            Sample::Bad(Reason::Exception(2)),
            Sample::Bad(Reason::Exception(2)),
            Sample::Good(Value::F64(-1.5)),
        ],
    };
    let gap = |from_ms, to_ms, first_seq, last_seq, readings, reason| Gap { from_ms, to_ms, first_seq, last_seq, readings, reason };
    Batch {
        blocks: vec![regular, marked, scattered],
        gaps: vec![
            gap(at_ms - 100_000, at_ms - 50_000, 17, 40, 1234, GapReason::BufferFull),
            gap(0, 0, 1, 1, 0, GapReason::TooOld),
            gap(0, i64::MAX, 0, u64::MAX, u64::MAX, GapReason::Damaged),
            gap(i64::MIN, -1, 5, 5, 1, GapReason::Other(200)),
        ],
    }
}

pub(crate) const HEADER: Header = Header { stream: 0x0123_4567_89ab_cdef, seq: 300, oldest: 41 };
pub(crate) const HELLO: Hello =
    Hello { stream: u64::MAX, oldest: 41, next: 301, sent_ms: 123_456_789, time_ms: 1_790_000_000_123, source: ClockSource::Server };

pub(crate) fn ack() -> Ack {
    Ack::through(u64::MAX, 300)
}

/// What only version 2 can say.
pub(crate) fn ack_ahead() -> Ack {
    Ack { stream: 7, seq: 300, ahead: vec![(302, 302), (400, 90_000), (u64::MAX - 1, u64::MAX)] }
}

pub(crate) fn ask() -> Ask {
    Ask {
        stream: 7,
        echo: Some(Echo { sent_ms: 123_456_789, time_ms: 1_790_000_000_456 }),
        missing: vec![(1, 1), (3, 70_000), (u64::MAX, u64::MAX)],
        schemas: vec![SchemaId(0), SchemaId(u32::MAX)],
    }
}

/// The messages of the example.
pub(crate) struct Messages {
    pub(crate) id: SchemaId,
    pub(crate) schema: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) ack: Vec<u8>,
    pub(crate) packed_body: Vec<u8>,
    pub(crate) packed_data: Vec<u8>,
    pub(crate) ack_ahead: Vec<u8>,
    pub(crate) hello: Vec<u8>,
    pub(crate) ask: Vec<u8>,
}

impl Messages {
    pub(crate) fn all(self) -> [Vec<u8>; 9] {
        let Self { id: _, schema, body, data, ack, packed_body, packed_data, ack_ahead, hello, ask } = self;
        [schema, body, data, ack, packed_body, packed_data, ack_ahead, hello, ask]
    }
}

pub(crate) fn messages() -> Messages {
    let (id, schema_message) = schema().encode().unwrap();
    let body = batch().encode(id, &schema()).unwrap();
    let data = data_message(&HEADER, &body).unwrap();
    let packed_body = compressed(body.clone()).unwrap();
    let packed_data = data_message(&HEADER, &packed_body).unwrap();
    let (ack, ack_ahead) = (ack().encode().unwrap(), ack_ahead().encode().unwrap());
    let (hello, ask) = (HELLO.encode().unwrap(), ask().encode().unwrap());
    Messages { id, schema: schema_message, data, body, ack, packed_body, packed_data, ack_ahead, hello, ask }
}

/// The whole way of a data message through the server.
pub(crate) fn decode_data(message: &[u8], schema: &Schema) -> Result<(Header, Batch), pattoo_wire::WireError> {
    let (header, body) = open_data(message)?;
    Ok((header, body.decode(body.schema(), schema)?))
}

pub(crate) fn decode_body(message: &[u8], schema: &Schema) -> Result<Batch, pattoo_wire::WireError> {
    let body = Body::open(message)?;
    body.decode(body.schema(), schema)
}

/// The same batch with floats as texts of their bits: equal only if every bit is.
pub(crate) fn bits(batch: &Batch) -> Batch {
    let exact = |value: &Value| match value {
        Value::F32(x) => Value::Text(format!("f32 {:08x}", x.to_bits())),
        Value::F64(x) => Value::Text(format!("f64 {:016x}", x.to_bits())),
        other => other.clone(),
    };
    let mut batch = batch.clone();
    for sample in batch.blocks.iter_mut().flat_map(|b| &mut b.samples) {
        match sample {
            Sample::Good(value) | Sample::Uncertain(value, _) => *value = exact(value),
            Sample::Bad(_) => {}
        }
    }
    batch
}

/// Puts a correct checksum on a message whose content was tampered with, so that it reaches the decoder.
pub(crate) fn reseal(mut content: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&content);
    content.extend_from_slice(&crc.to_le_bytes());
    content
}

/// Version and content of a message, without its checksum.
pub(crate) fn content(message: &[u8]) -> &[u8] {
    &message[..message.len() - 4]
}

/// Every message that has, somewhere, a varint for an enormous count instead of the byte that was there.
pub(crate) fn with_huge_counts(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    const HUGE: [&[u8]; 3] =
        [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[0xff, 0x7f]];
    let content = content(message);
    (1..content.len()).flat_map(move |at| HUGE.into_iter().map(move |huge| reseal([&content[..at], huge, &content[at + 1..]].concat())))
}
