//! Decoding allocates no more than it says, whatever the bytes say.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod samples;

use pattoo_wire::{
    Batch, Block, Labels, MAX_BODY_BYTES, MAX_DATA_BYTES, MAX_READINGS, MAX_SCHEMA_BYTES, MAX_SERIES, Reason, Repr, Sample, Schema,
    SchemaId, Series, Value,
};
use proptest::prelude::*;

use samples::{content, decode_body, decode_data, messages, reseal, with_huge_counts};

/// As [`pattoo_wire::Body::decode`] promises.
const BATCH_LIMIT: u64 = 1 << 20;

/// As [`MAX_SCHEMA_BYTES`] promises.
fn schema_limit(len: usize) -> u64 {
    40 * len as u64 + (40 << 20)
}

/// Most bytes that were allocated at one moment.
fn peak<T>(work: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| {
        std::hint::black_box(work());
    })
    .bytes_max
}

/// As many series as a gateway may have: as many of each representation in each [`MAX_READINGS`] of them.
fn wide_schema() -> Schema {
    let mut schema = samples::schema();
    let reprs = [Repr::Decimal { exponent: 0 }, Repr::Bool, Repr::Text, Repr::Unsigned];
    schema.series = (0..MAX_SERIES)
        .map(|i| Series {
            device: 0,
            point: i.to_string(),
            unit: String::new(),
            kind: pattoo_wire::Kind::Gauge,
            repr: reprs[i * reprs.len() / MAX_READINGS % reprs.len()],
            labels: Labels::new(),
            states: Default::default(),
        })
        .collect();
    schema
}

fn sealed_body(numbers: &[u64]) -> Vec<u8> {
    let mut content = vec![1];
    numbers.iter().for_each(|n| varint(&mut content, *n));
    reseal(content)
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

#[test]
fn the_counter_counts() {
    assert!((1 << 20..1 << 21).contains(&peak(|| vec![1u8; 1 << 20])));
}

#[test]
fn the_largest_honest_batches_stay_within_the_bound() {
    let schema = wide_schema();
    let block = |series: std::ops::Range<u32>, ticks: usize, sample: Sample| Block {
        samples: vec![sample; series.len() * ticks],
        series: series.collect(),
        times_ms: (0..ticks as i64).collect(),
    };
    let bad = Sample::Bad(Reason::Timeout);
    let all = MAX_READINGS.min(MAX_SERIES) as u32;
    let text = |s: &str| Sample::Good(Value::Text(s.into()));
    let batches = [
        vec![block(0..all, 1, bad.clone())],
        vec![block(0..2, 7_900, bad.clone())],
        vec![block(4096..8192, 4, Sample::Good(Value::Bool(true)))],
        vec![block(8192..12_100, 1, text("x"))],
        vec![block(8192..12_288, 1, text("")), block(8192..11_000, 1, text(""))],
        vec![block(0..1, 1, bad.clone()); 720],
        vec![block(0..1, 16, bad); 300],
    ];
    for (i, blocks) in batches.into_iter().enumerate() {
        let batch = Batch { blocks, gaps: Vec::new() };
        let body = batch.encode(SchemaId(1), &schema).unwrap();
        assert!(decode_body(&body, &schema).is_ok());
        let used = peak(|| decode_body(&body, &schema));
        assert!(used <= BATCH_LIMIT, "batch {i}: {used} bytes for {} readings in {} bytes", batch.readings(), body.len());
        assert!(batch.readings() <= MAX_READINGS);
    }
}

#[test]
fn a_body_of_nothing_but_marks_blocks_or_gaps_stays_within_the_bound() {
    let schema = wide_schema();
    let fill = |head: &[u64], item: &[u64], times: usize| {
        let body = sealed_body(&[head, &item.repeat(times)].concat());
        assert!(body.len() <= MAX_BODY_BYTES, "{} bytes would be refused at the door", body.len());
        body
    };
    let bodies = [
        // schema, no gap, 1 block: 1 tick, time 0, 1 run from 0 of 16,384 series, then as many marks of one cell as fit.
        fill(&[1, 0, 1, 1, 0, 1, 0, 16_384, 1_950], &[0, 1, 2, 1], 1_950),
        // 16,384 blocks announced, as many as fit.
        fill(&[1, 0, 16_384], &[1, 0, 1, 0, 1, 1, 0, 1, 2, 1], 790),
        // 64 gaps announced, each as short as it can be; then a block over all readings.
        fill(&[1, 64], &[0, 0, 0, 0, 0, 1], 64),
        // Ticks without end, then runs of series without end.
        fill(&[1, 0, 1, 7_900, 0], &[0], 7_899),
        fill(&[1, 0, 1, 1, 0, 3_900], &[0, 1], 3_900),
    ];
    for (i, body) in bodies.iter().enumerate() {
        let used = peak(|| decode_body(body, &schema));
        assert!(used <= BATCH_LIMIT, "body {i}: {used} bytes");
    }
}

#[test]
fn enormous_counts_in_a_batch_allocate_nothing_for_themselves() {
    let schema = wide_schema();
    let m = messages();
    for message in with_huge_counts(&m.data).chain(with_huge_counts(&m.packed_data)) {
        assert!(message.len() <= MAX_DATA_BYTES);
        let used = peak(|| decode_data(&message, &schema));
        assert!(used <= BATCH_LIMIT, "{used} bytes");
    }
}

#[test]
fn enormous_counts_in_a_schema_stay_within_the_bound() {
    for message in with_huge_counts(&messages().schema) {
        let used = peak(|| Schema::decode(&message));
        assert!(used <= schema_limit(message.len()), "{used} bytes for {}", message.len());
    }
}

/// A schema of these many devices and series, each of these bytes; hardly ever a valid one.
fn schema_message(devices: (u64, &[u8]), series: (u64, &[u8])) -> Vec<u8> {
    let mut content = vec![1];
    for (count, item) in [devices, series] {
        varint(&mut content, count);
        content.extend(item.repeat(count as usize));
    }
    let message = reseal(content);
    assert!(message.len() <= MAX_SCHEMA_BYTES, "{} bytes would be refused at the door", message.len());
    message
}

#[test]
fn the_most_wasteful_schemas_stay_within_the_bound() {
    let most = MAX_SERIES as u64;
    // One label with an empty key and an empty text: the smallest thing that costs a node of a map.
    let device = [0, 0, 1, 0, 0];
    let series = [0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0];
    let (bare_device, bare_series) = ([0, 0, 0], [0, 0, 0, 0, 1, 0, 0]);
    // Twelve labels: the fewest that need three nodes.
    let dozen: Vec<u8> = [0, 0, 12].into_iter().chain((b'a'..b'm').flat_map(|key| [1, key, 0])).collect();
    // Maps of 128 keys of one byte each.
    let many: Vec<u8> = [0, 0, 128, 1].into_iter().chain((0..128).flat_map(|key| [1, key, 0])).collect();
    let messages = [
        schema_message((most, &bare_device), (most, &bare_series)),
        schema_message((most, &device), (most, &series)),
        schema_message((most, &dozen), (most, &series)),
        schema_message((2_600, &many), (0, &[])),
        // Counts that promise more than there is.
        reseal(vec![1, 0xff, 0xff, 0x00]),
        reseal(vec![1, 0x80, 0x80, 0x01]),
        reseal(vec![1, 0, 0x80, 0x80, 0x01]),
    ];
    for (i, message) in messages.iter().enumerate() {
        let used = peak(|| Schema::decode(message));
        assert!(used <= schema_limit(message.len()), "schema {i}: {used} bytes for {}", message.len());
    }
}

#[test]
fn the_largest_honest_schema_stays_within_the_bound() {
    let (_, message) = wide_schema().encode().unwrap();
    assert!(Schema::decode(&message).is_ok());
    let used = peak(|| Schema::decode(&message));
    assert!(used <= schema_limit(message.len()), "{used} bytes for {}", message.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_content_stays_within_the_bounds(bytes in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..2000)) {
        let schema = samples::schema();
        for version in [1, 2] {
            let message = reseal([&[version][..], &bytes].concat());
            prop_assert!(peak(|| decode_body(&message, &schema)) <= BATCH_LIMIT);
            prop_assert!(peak(|| decode_data(&message, &schema)) <= BATCH_LIMIT);
        }
        let message = reseal([&[1][..], &bytes].concat());
        prop_assert!(peak(|| Schema::decode(&message)) <= schema_limit(message.len()));
    }

    #[test]
    fn changed_messages_stay_within_the_bounds(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let schema = samples::schema();
        let m = messages();
        let change = |message: &[u8]| {
            let mut changed = content(message).to_vec();
            for (at, byte) in &changes {
                let at = at.index(changed.len());
                changed[at] = *byte;
            }
            reseal(changed)
        };
        let (data, schema_message) = (change(&m.data), change(&m.schema));
        prop_assert!(peak(|| decode_data(&data, &schema)) <= BATCH_LIMIT);
        prop_assert!(peak(|| Schema::decode(&schema_message)) <= schema_limit(schema_message.len()));
    }
}
