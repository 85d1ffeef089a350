//! Bytes on the wire per reading, MQTT 5 framing included, next to JSON and Sparkplug B encodings of the same readings.
//!
//! `cargo bench -p pattoo-tests --bench wire_size --profile dev > tests/bench/wire-size.md` refreshes the committed table
//! (sizes do not depend on the compiler's settings). Fails when our own encoding is over its target.
#![expect(clippy::print_stdout, reason = "its table goes to the terminal")]

mod plant;
mod rivals;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use pattoo_wire::{Ack, Batch, Block, Device, Header, Sample, Schema, SchemaId, Series, compressed, data_message, open_data, topic};

use plant::{DEVICES, POINTS, Plant, Poll};
use rivals::{Metrics, json_compact, json_objects, sparkplug};

const SEED: u64 = 20_201;
/// One hour of polls.
const POLLS: usize = 360;
const GATEWAY: &str = "plant7";
/// Sequence number of the first batch: a gateway that has run for months.
const FIRST_SEQ: u64 = 1_000_000;
const STREAM: u64 = 0xa1b2_c3d4_e5f6_0718;
/// Polls in a batch, and the most bytes per reading that a PUBLISH of it may take.
const BATCHES: [(usize, f64); 2] = [(1, 4.0), (6, 2.0)];

/// Bytes of one encoding over the whole run.
#[derive(Default)]
struct Bytes {
    payload: usize,
    publish: usize,
    puback: usize,
    ack: usize,
}

/// A PUBLISH packet without properties: type, remaining length, topic, packet id above QoS 0, length of properties.
fn publish_bytes(topic: &str, qos: u8, payload: usize) -> usize {
    let remaining = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + 1 + payload;
    let length_bytes = (1..5).find(|n| remaining < 1 << (7 * n)).unwrap_or(5);
    1 + length_bytes + remaining
}

/// A PUBACK that says success may leave out reason and properties.
const PUBACK_BYTES: usize = 4;

fn schema_of(plant: &Plant) -> Schema {
    let devices =
        (0..DEVICES).map(|d| Device { name: Plant::device_name(d), profile: "meter".into(), labels: Default::default() }).collect();
    let series = plant.points.iter().enumerate().map(|(i, p)| Series {
        device: (i / POINTS) as u32,
        point: p.name.into(),
        unit: String::new(),
        kind: p.kind,
        repr: p.repr,
        labels: Default::default(),
        states: Default::default(),
    });
    Schema { devices, series: series.collect() }
}

/// One block for each device, its polls as ticks.
fn batch_of(polls: &[Poll]) -> Batch {
    let blocks = (0..DEVICES).filter(|_| !polls.is_empty()).map(|device| {
        let polls: Vec<_> = polls.iter().filter(|p| p.device == device).collect();
        let cells = (0..POINTS).flat_map(|point| polls.iter().filter_map(move |p| p.values.get(point)));
        Block {
            series: (0..POINTS).map(|point| (device * POINTS + point) as u32).collect(),
            times_ms: polls.iter().map(|p| p.at_ms).collect(),
            samples: cells.cloned().map(Sample::Good).collect(),
        }
    });
    Batch { blocks: blocks.collect(), gaps: Vec::new() }
}

/// Our messages for one batch, proven to give the same readings back. `deflate` is the time that compressing took, if it is to be.
fn ours(bytes: &mut Bytes, polls: &[Poll], id: SchemaId, schema: &Schema, seq: u64, deflate: Option<&mut Duration>) -> anyhow::Result<()> {
    let batch = batch_of(polls);
    let header = Header { stream: STREAM, seq, oldest: seq };
    let mut body = batch.encode(id, schema)?;
    if let Some(deflate) = deflate {
        let start = Instant::now();
        body = compressed(body)?;
        *deflate += start.elapsed();
    }
    let message = data_message(&header, &body)?;
    let (found, body) = open_data(&message)?;
    anyhow::ensure!(found == header && body.decode(id, schema)? == batch, "batch {seq} came back changed");
    let ack = Ack::through(STREAM, seq).encode()?;
    bytes.payload += message.len();
    bytes.publish += publish_bytes(&topic::data(GATEWAY), 1, message.len());
    bytes.puback += PUBACK_BYTES;
    // One acknowledgement for each batch: the server may join several, so this is the most.
    bytes.ack += publish_bytes(&topic::ack(GATEWAY), 1, ack.len()) + PUBACK_BYTES;
    Ok(())
}

fn rival(bytes: &mut Bytes, topic: &str, qos: u8, payload: &[u8]) {
    bytes.payload += payload.len();
    bytes.publish += publish_bytes(topic, qos, payload.len());
    bytes.puback += if qos > 0 { PUBACK_BYTES } else { 0 };
}

/// Every packet of a batch without readings: what each batch costs beside them.
fn empty_batch() -> anyhow::Result<f64> {
    let schema = schema_of(&Plant::new(SEED));
    let (id, _) = schema.encode()?;
    let mut bytes = Bytes::default();
    ours(&mut bytes, &[], id, &schema, FIRST_SEQ, None)?;
    Ok((bytes.publish + bytes.puback + bytes.ack) as f64)
}

/// Bytes of every encoding for batches of this many polls, and the readings in them.
fn measure(polls_per_batch: usize) -> anyhow::Result<(usize, Vec<(&'static str, Bytes)>)> {
    let mut plant = Plant::new(SEED);
    let schema = schema_of(&plant);
    let (id, _) = schema.encode()?;
    let [mut pattoo, mut packed, mut alias, mut typed, mut named, mut compact, mut objects]: [Bytes; 7] = Default::default();
    let mut deflate = Duration::ZERO;
    for batch in 0..POLLS / polls_per_batch {
        let polls: Vec<Poll> = (0..polls_per_batch).flat_map(|_| plant.poll()).collect();
        ours(&mut pattoo, &polls, id, &schema, FIRST_SEQ + batch as u64, None)?;
        ours(&mut packed, &polls, id, &schema, FIRST_SEQ + batch as u64, Some(&mut deflate))?;
        let seq = (batch % 256) as u8;
        let ndata = format!("spBv1.0/plants/NDATA/{GATEWAY}");
        for (bytes, metrics) in [(&mut alias, Metrics::Alias), (&mut typed, Metrics::AliasAndType), (&mut named, Metrics::NameAndType)] {
            rival(bytes, &ndata, 0, &sparkplug(&plant.points, &polls, metrics, seq));
        }
        let json = format!("plants/{GATEWAY}/data");
        rival(&mut compact, &json, 1, &json_compact(&plant.points, &polls));
        rival(&mut objects, &json, 1, &json_objects(&plant.points, &polls));
    }
    let table = vec![
        ("Pattoo, compressed where that pays", packed),
        ("Pattoo, not compressed", pattoo),
        ("Sparkplug B, aliases, no data types", alias),
        ("Sparkplug B, aliases", typed),
        ("Sparkplug B, names", named),
        ("JSON, one object per device and poll", compact),
        ("JSON, one object per reading", objects),
    ];
    // To the terminal only: it is another one on every machine.
    eprintln!("compressing a batch took {:?}", deflate / u32::try_from(POLLS / polls_per_batch)?);
    Ok((POLLS * DEVICES * POINTS, table))
}

fn main() -> anyhow::Result<ExitCode> {
    println!("# Bytes on the wire per reading\n");
    println!("Made by `cargo bench -p pattoo-tests --bench wire_size --profile dev > tests/bench/wire-size.md`.\n");
    println!("{DEVICES} devices of {POINTS} points, every point every 10 s, one transaction per device and poll with a time of its own;");
    println!("one hour from a seed. 40 % analog values rounded to 0.1 or 0.01 (random walks), 20 % float32 noise (half of it rounded,");
    println!("half with all 24 bits), 15 % counters, 10 % set points, 10 % booleans, 5 % status. All encodings carry the same readings.");
    println!("MQTT 5. Pattoo and JSON at QoS 1; Sparkplug at QoS 0, as its specification demands, so it has no PUBACK and no other");
    println!("acknowledgement. Its schema or birth messages are not counted for anyone. Nothing else is compressed.");
    let (mut good, empty) = (true, empty_batch()?);
    let mut column = Vec::new();
    for (polls, target) in BATCHES {
        let (readings, table) = measure(polls)?;
        let share = |bytes: usize| bytes as f64 / readings as f64;
        println!("\n## Batches of {} s ({} readings each)\n", polls * 10, polls * DEVICES * POINTS);
        println!("| encoding | payload | PUBLISH, payload included | + PUBACK | + our acknowledgement and its PUBACK | all |");
        println!("|---|---|---|---|---|---|");
        for (name, b) in &table {
            let all = b.publish + b.puback + b.ack;
            let [payload, publish, puback, ack, all] = [b.payload, b.publish, b.puback, b.ack, all].map(share);
            println!("| {name} | {payload:.2} | {publish:.2} | {puback:.3} | {ack:.3} | {all:.2} |");
        }
        let all_of = |index: usize| table.get(index).map_or(f64::MAX, |(_, b)| share(b.publish + b.puback + b.ack));
        let all = all_of(0);
        let verdict = if all <= target { "met" } else { "MISSED" };
        println!("\nTarget: at most {target} bytes, every packet in both directions counted: {all:.2}, {verdict}.");
        good &= all <= target;
        // What a series adds to a batch, compressed and not.
        let adds = |all: f64| (all * readings as f64 - empty * (POLLS / polls) as f64) / (readings / polls) as f64;
        column.push((adds(all_of(0)), adds(all_of(1)), polls));
    }
    if let [(_, first, 1), (packed, column, polls)] = column[..] {
        let [next, packed] = [column, packed].map(|column| (column - first) / (polls - 1) as f64);
        println!("\n## What `pattoo-gateway check` reckons with\n");
        println!(
            "A batch costs {empty:.0} bytes beside its readings, all packets counted; a reading costs {first:.2} bytes where it is the"
        );
        println!("first of its series in a batch and {next:.2} bytes where it is a later one, {packed:.2} if compressed.");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
