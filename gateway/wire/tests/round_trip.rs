//! Whatever can be encoded is decoded as the same, to the bit.

mod samples;

use pattoo_wire::{
    Ack, Ask, Batch, Block, ClockSource, Decimal, Device, Echo, Gap, GapReason, Header, Hello, Kind, Labels, MAX_ACK_RANGES,
    MAX_ASK_RANGES, MAX_ASK_SCHEMAS, Reason, Repr, Sample, Schema, SchemaId, Series, Value, WireError, compressed, data_message,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use samples::{bits, decode_body, decode_data};

fn any_repr() -> impl Strategy<Value = Repr> {
    prop_oneof![
        (-18i8..=18).prop_map(|exponent| Repr::Decimal { exponent }),
        Just(Repr::Unsigned),
        Just(Repr::F32),
        Just(Repr::F64),
        Just(Repr::Bool),
        Just(Repr::Text),
    ]
}

fn any_value(repr: Repr) -> BoxedStrategy<Value> {
    match repr {
        // Steps of small numbers as well as all of them: differences of both are what the wire holds.
        Repr::Decimal { exponent } => {
            prop_oneof![-300i64..300, any::<i64>()].prop_map(move |mantissa| Value::Decimal(Decimal { mantissa, exponent })).boxed()
        }
        Repr::Unsigned => prop_oneof![0u64..300, any::<u64>()].prop_map(Value::Unsigned).boxed(),
        // From bits, so that every NaN comes.
        Repr::F32 => any::<u32>().prop_map(|n| Value::F32(f32::from_bits(n))).boxed(),
        Repr::F64 => any::<u64>().prop_map(|n| Value::F64(f64::from_bits(n))).boxed(),
        Repr::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Repr::Text => ".{0,12}".prop_map(Value::Text).boxed(),
    }
}

fn any_sample(repr: Repr) -> impl Strategy<Value = Sample> {
    let reason = || any::<u16>().prop_map(Reason::from_code);
    prop_oneof![
        4 => any_value(repr).prop_map(Sample::Good),
        1 => (any_value(repr), reason()).prop_map(|(value, reason)| Sample::Uncertain(value, reason)),
        1 => reason().prop_map(Sample::Bad),
        1 => Just(Sample::Bad(Reason::Timeout)),
    ]
}

fn any_labels() -> impl Strategy<Value = Labels> {
    btree_map(".{0,6}", ".{0,6}", 0..3)
}

/// A schema of up to 4 devices and 11 series.
fn any_schema() -> impl Strategy<Value = Schema> {
    let kind = prop_oneof![Just(Kind::Gauge), Just(Kind::Counter), Just(Kind::State), Just(Kind::Text)];
    let series =
        (any::<prop::sample::Index>(), ".{1,8}", ".{0,3}", kind, any_repr(), any_labels(), btree_map(any::<i64>(), ".{0,5}", 0..3));
    (vec(("[a-z0-9][a-zA-Z0-9._-]{0,10}", ".{0,8}", any_labels()), 1..5), vec(series, 1..12)).prop_map(|(devices, series)| {
        let devices: Vec<_> = devices
            .into_iter()
            .enumerate()
            .map(|(i, (name, profile, labels))| Device { name: format!("{name}{i}"), profile, labels })
            .collect();
        let series = series.into_iter().enumerate().map(|(i, (device, point, unit, kind, repr, labels, states))| {
            let device = device.index(devices.len()) as u32;
            Series { device, point: format!("{point}{i}"), unit, kind, repr, labels, states }
        });
        let series = series.collect();
        Schema { devices, series }
    })
}

/// Series in runs and out of order, times regular and not.
fn any_block(schema: &Schema) -> impl Strategy<Value = Block> + use<> {
    let reprs: Vec<_> = schema.series.iter().map(|s| s.repr).collect();
    let times = prop_oneof![
        vec(any::<i64>(), 1..6),
        (0i64..2_000_000_000_000, vec(9_990i64..10_010, 0..6)).prop_map(|(first, steps)| {
            let later = steps.into_iter().scan(first, |at, step| {
                *at += step;
                Some(*at)
            });
            std::iter::once(first).chain(later).collect()
        }),
    ];
    let known = reprs.len() as u32;
    let series = prop_oneof![vec(0..known, 1..6), (0..known).prop_map(move |from| (from..known).collect())];
    (series, times).prop_flat_map(move |(series, times_ms)| {
        let columns: Vec<_> = series.iter().map(|i| vec(any_sample(reprs[*i as usize]), times_ms.len())).collect();
        columns.prop_map(move |columns| Block { series: series.clone(), times_ms: times_ms.clone(), samples: columns.concat() })
    })
}

fn any_gap() -> impl Strategy<Value = Gap> {
    (any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u8>()).prop_map(
        |(from_ms, to_ms, first_seq, last_seq, readings, code)| Gap {
            from_ms,
            to_ms,
            first_seq,
            last_seq,
            readings,
            reason: GapReason::from_code(code),
        },
    )
}

fn any_batch() -> impl Strategy<Value = (Schema, Batch)> {
    any_schema().prop_flat_map(|schema| {
        let blocks = vec(any_block(&schema), 0..4);
        let gaps = vec(any_gap().prop_filter("ends after it begins", well_formed), 0..3);
        (Just(schema), blocks, gaps).prop_map(|(schema, blocks, gaps)| (schema, Batch { blocks, gaps }))
    })
}

fn well_formed(gap: &Gap) -> bool {
    gap.first_seq <= gap.last_seq && gap.to_ms.checked_sub(gap.from_ms).is_some_and(|ms| ms >= 0)
}

/// Ascending ranges that lie apart, from steps.
fn ranges(after: u64, steps: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut end = after;
    let mut next = |&(skipped, more)| {
        let first = end + 1 + skipped;
        end = first + more;
        (first, end)
    };
    steps.iter().map(&mut next).collect()
}

#[test]
fn ranges_out_of_order_are_not_written() {
    for ahead in [vec![(300, 301)], vec![(302, 301)], vec![(400, 401), (401, 402)], vec![(400, 401), (350, 351)], vec![(302, 302); 33]] {
        let ack = Ack { stream: 1, seq: 300, ahead };
        assert!(ack.encode().is_err(), "{ack:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_schema_comes_back_as_it_was(schema in any_schema()) {
        let (id, message) = schema.encode().unwrap();
        prop_assert_eq!(Schema::decode(&message), Ok((id, schema)));
    }

    #[test]
    fn a_batch_comes_back_to_the_bit((schema, batch) in any_batch(), stream: u64, seq in 1u64.., back: u64) {
        let id = SchemaId(seq as u32);
        let body = batch.encode(id, &schema).unwrap();
        prop_assert_eq!(bits(&decode_body(&body, &schema).unwrap()), bits(&batch));
        let header = Header { stream, seq, oldest: seq - back % seq };
        let (found, decoded) = decode_data(&data_message(&header, &body).unwrap(), &schema).unwrap();
        prop_assert_eq!(found, header);
        prop_assert_eq!(bits(&decoded), bits(&batch));
        prop_assert_eq!(decoded.encode(id, &schema).unwrap(), body);
    }

    #[test]
    fn a_gap_is_refused_or_comes_back(gap in any_gap()) {
        let batch = Batch { blocks: Vec::new(), gaps: vec![gap.clone()] };
        match batch.encode(SchemaId(1), &Schema::default()) {
            Ok(body) => prop_assert_eq!(decode_body(&body, &Schema::default()), Ok(batch)),
            Err(e) => prop_assert!(!well_formed(&gap), "{}", e),
        }
    }

    #[test]
    fn an_acknowledgement_comes_back(stream: u64, seq: u64, steps in vec((0u64..1 << 50, 0u64..1 << 50), 0..=MAX_ACK_RANGES)) {
        let seq = if steps.is_empty() { seq } else { seq >> 1 };
        let ack = Ack { stream, seq, ahead: ranges(seq, &steps) };
        prop_assert_eq!(Ack::decode(&ack.encode().unwrap()), Ok(ack));
    }

    #[test]
    fn what_a_server_asks_for_comes_back(
        stream: u64,
        echo in proptest::option::of((any::<u64>(), any::<i64>())),
        steps in vec((0u64..1 << 50, 0u64..1 << 50), 0..=MAX_ASK_RANGES),
        schemas in vec(any::<u32>().prop_map(SchemaId), 0..=MAX_ASK_SCHEMAS),
    ) {
        let echo = echo.map(|(sent_ms, time_ms)| Echo { sent_ms, time_ms });
        let ask = Ask { stream, echo, missing: ranges(0, &steps), schemas };
        prop_assert_eq!(Ask::decode(&ask.encode().unwrap()), Ok(ask));
    }

    #[test]
    fn a_hello_comes_back(stream: u64, oldest: u64, next: u64, sent_ms: u64, time_ms: i64, source: u8) {
        let hello = Hello { stream, oldest, next, sent_ms, time_ms, source: ClockSource::from_code(source) };
        prop_assert_eq!(Hello::decode(&hello.encode().unwrap()), Ok(hello));
    }

    #[test]
    fn a_compressed_body_is_the_same_batch_in_fewer_bytes((schema, batch) in any_batch()) {
        let body = batch.encode(SchemaId(1), &schema).unwrap();
        let packed = compressed(body.clone()).unwrap();
        prop_assert!(packed == body || packed.len() < body.len());
        prop_assert_eq!(bits(&decode_body(&packed, &schema).unwrap()), bits(&batch));
        prop_assert_eq!(compressed(packed.clone()).unwrap(), packed);
    }
}

#[test]
fn a_batch_that_would_not_come_back_is_not_written() {
    let schema = samples::schema();
    let block = |series: &[u32], times: usize, samples: Vec<Sample>| Batch {
        blocks: vec![Block { series: series.to_vec(), times_ms: vec![0; times], samples }],
        gaps: Vec::new(),
    };
    let bad = Sample::Bad(Reason::Timeout);
    let text = |len| vec![Sample::Good(Value::Text("x".repeat(len)))];
    let one = |value| vec![Sample::Good(value)];
    for (batch, expected) in [
        (block(&[], 1, vec![]), "a block of 0 series and 1 ticks has 0 samples"),
        (block(&[0], 0, vec![]), "a block of 1 series and 0 ticks has 0 samples"),
        (block(&[0], 2, vec![bad.clone()]), "a block of 1 series and 2 ticks has 1 samples"),
        (block(&[9], 1, vec![bad.clone()]), "series 9 is not in the schema"),
        (block(&[0], 1, one(Value::int(5))), "does not fit Decimal { exponent: -1 }"),
        (block(&[1], 1, one(Value::Bool(true))), "series \"energy_import\": message is invalid: value true does not fit Unsigned"),
        (block(&[5], 1, text(1025)), "does not fit Text"),
        (block(&[5], 8, vec![text(1024); 8].concat()), "message has"),
        (block(&[4], 16_385, vec![bad; 16_385]), "16385 bytes, at most 16384"),
    ] {
        let error = batch.encode(SchemaId(1), &schema).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} should say {expected}");
    }
}

#[test]
fn a_schema_that_contradicts_itself_is_not_written() {
    type Change = fn(&mut Schema);
    let changes: [(Change, &str); 9] = [
        (|s| s.devices[1].name = "main-meter".into(), "device \"main-meter\" is there twice"),
        (|s| s.devices[1].name = "a/b".into(), "device \"a/b\": a name is made of"),
        (|s| s.series[1].point = "voltage_l1".into(), "point \"voltage_l1\" is there twice"),
        (|s| s.series[1].point = String::new(), "a series without a point name"),
        (|s| s.series[1].device = 2, "names device 2"),
        (|s| s.series[1].unit = "u".repeat(256), "a text of 256 bytes"),
        (|s| s.series[0].repr = Repr::Decimal { exponent: 19 }, "has exponent 19"),
        (|s| s.series.resize(32_769, s.series[0].clone()), "32769 series"),
        (|s| s.devices.resize(32_769, s.devices[0].clone()), "32769 devices"),
    ];
    for (change, expected) in changes {
        let mut schema = samples::schema();
        change(&mut schema);
        let error = schema.encode().unwrap_err();
        assert!(matches!(error, WireError::Invalid(_)) && error.to_string().contains(expected), "{error} should say {expected}");
    }
}
