//! The same history into both: by MQTT in batches whose acknowledgements are awaited, and by remote write.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pattoo_server::store::victoria::remote_write::{MAX_SAMPLES, Message};
use pattoo_tests::mqtt::{Connect, Raw, code, publish};
use pattoo_tests::store_plant::{BEGIN_MS, MIX, POINTS, Poll, behaviour, history};
use pattoo_tests::victoria::{Victoria, agent};
use pattoo_wire::{Ack, Batch, Block, Device, Header, Kind, Repr, Schema, SchemaId, Series, data_message, topic};

use crate::Options;

/// Devices of a gateway.
pub(crate) const DEVICES: usize = 10;
/// Polls in a batch: a gateway of ten devices closes one when it has about a thousand readings.
const POLLS: usize = 5;
/// Batches of a gateway that wait for an acknowledgement, as its uplink has them.
const IN_FLIGHT: u64 = 32;
const STREAM: u64 = 7;

pub(crate) fn gateway(device: usize) -> String {
    format!("g{}", device / DEVICES)
}

fn schema(devices: usize) -> Schema {
    let device = |device| Device { name: format!("d{device}"), profile: "bench".into(), labels: [].into() };
    let mut schema = Schema { devices: (0..devices).map(device).collect(), series: Vec::new() };
    for device in 0..devices {
        for point in 0..POINTS {
            let name = MIX.iter().find(|(kind, ..)| *kind == behaviour(point)).map_or("", |(_, name, _)| name);
            let (kind, repr) = match name {
                "analog, rounded to 0.1" | "set points" => (Kind::Gauge, Repr::Decimal { exponent: -1 }),
                "analog, rounded to 0.01" => (Kind::Gauge, Repr::Decimal { exponent: -2 }),
                "counters" => (Kind::Counter, Repr::Unsigned),
                "booleans" => (Kind::State, Repr::Bool),
                "states" => (Kind::State, Repr::Decimal { exponent: 0 }),
                _ => (Kind::Gauge, Repr::F32),
            };
            let (point, unit, labels, states) = (format!("p{point}"), String::new(), [].into(), [].into());
            schema.series.push(Series { device: device as u32, point, unit, kind, repr, labels, states });
        }
    }
    schema
}

/// Polls of a device that have the same points share a block.
fn blocks(device: usize, polls: &[Poll]) -> Vec<Block> {
    let points =
        |poll: &Poll| -> Vec<usize> { (0..POINTS).filter(|point| poll.samples.get(*point).is_some_and(Option::is_some)).collect() };
    let alike = polls.chunk_by(|a, b| points(a) == points(b));
    let block = |polls: &[Poll]| {
        let points = polls.first().map(points).unwrap_or_default();
        let samples = points.iter().flat_map(|point| polls.iter().filter_map(|poll| poll.samples.get(*point)?.clone()));
        Block {
            series: points.iter().map(|point| (device * POINTS + point) as u32).collect(),
            times_ms: polls.iter().map(|poll| poll.at_ms).collect(),
            samples: samples.collect(),
        }
    };
    alike.map(block).filter(|block| !block.series.is_empty()).collect()
}

/// Polls between these two moments of the schedule.
pub(crate) fn between(polls: &[Poll], from_ms: i64, to_ms: i64) -> &[Poll] {
    let at = |ms| polls.partition_point(|poll| poll.at_ms < ms);
    polls.get(at(from_ms)..at(to_ms)).unwrap_or_default()
}

/// All that a gateway will say, made before it is timed: nothing but sending is left, so that the server never waits for it.
pub(crate) struct Gateway {
    name: String,
    schema: (SchemaId, Vec<u8>),
    bodies: Vec<Vec<u8>>,
    readings: u64,
}

impl Gateway {
    fn new(options: &Options, first: usize) -> Result<Self> {
        let devices = DEVICES.min(options.devices - first);
        let schema = schema(devices);
        let (schema_id, message) = schema.encode()?;
        let histories: Vec<_> =
            (first..first + devices).map(|device| history(options.seed, device, options.polls, options.poll_ms)).collect();
        let span_ms = POLLS as i64 * options.poll_ms;
        let (mut bodies, mut readings) = (Vec::new(), 0);
        for number in 0..options.polls.div_ceil(POLLS) as i64 {
            let from_ms = BEGIN_MS + number * span_ms;
            let of_device = |(device, polls): (usize, &Vec<Poll>)| blocks(device, between(polls, from_ms, from_ms + span_ms));
            let batch = Batch { blocks: histories.iter().enumerate().flat_map(of_device).collect(), gaps: Vec::new() };
            readings += batch.readings() as u64;
            bodies.push(pattoo_wire::compressed(batch.encode(schema_id, &schema)?)?);
        }
        Ok(Self { name: gateway(first), schema: (schema_id, message), bodies, readings })
    }

    /// Sends it all, and waits until it is acknowledged.
    fn send(&self, broker: SocketAddr) -> Result<()> {
        let Self { name, schema: (schema_id, schema), bodies, .. } = self;
        let mut raw = Raw::plain(broker)?.connected(Connect::as_id(&format!("pattoo-{name}")))?;
        ensure!(raw.subscribe(&topic::ack(name))? == code::GRANTED_1, "no acknowledgements for {name}");
        ensure!(raw.publish(&topic::schema(name, *schema_id), true, schema)? == code::SUCCESS, "the schema was refused");
        let (mut sent, mut acked) = (0, 0);
        while acked < bodies.len() as u64 {
            while sent < acked + IN_FLIGHT
                && let Some(body) = bodies.get(sent as usize)
            {
                sent += 1;
                let data = data_message(&Header { stream: STREAM, seq: sent, oldest: acked + 1 }, body)?;
                raw.send(&publish(&topic::data(name), (sent % 60_000 + 1) as u16, false, &data))?;
            }
            let ack = raw.message().with_context(|| format!("{acked} of {} acknowledged", bodies.len()))?;
            acked = acked.max(Ack::decode(&ack.1)?.seq);
        }
        Ok(())
    }
}

/// All gateways.
pub(crate) fn gateways(options: &Options) -> Result<Vec<Gateway>> {
    (0..options.devices).step_by(DEVICES).map(|first| Gateway::new(options, first)).collect()
}

/// All of them at once; gives how many readings that were.
pub(crate) fn mqtt(gateways: &[Gateway], broker: SocketAddr) -> Result<u64> {
    std::thread::scope(|scope| {
        let sending: Vec<_> = gateways.iter().map(|gateway| scope.spawn(move || gateway.send(broker))).collect();
        for gateway in sending {
            gateway.join().map_err(|_| anyhow::anyhow!("a gateway panicked"))??;
        }
        Ok(gateways.iter().map(|gateway| gateway.readings).sum())
    })
}

/// The same in messages of ten polls of all series, as an agent of Prometheus sends them; with how many samples each has.
pub(crate) fn messages(options: &Options) -> Result<Vec<(u64, Vec<u8>)>> {
    let histories: Vec<_> = (0..options.devices).map(|device| history(options.seed, device, options.polls, options.poll_ms)).collect();
    let polls = (MAX_SAMPLES / (options.devices * POINTS)).max(1);
    let span_ms = polls as i64 * options.poll_ms;
    let mut messages = Vec::new();
    for number in 0..options.polls.div_ceil(polls) as i64 {
        let from_ms = BEGIN_MS + number * span_ms;
        let mut message = Message::default();
        for (device, all) in histories.iter().enumerate() {
            let polls = between(all, from_ms, from_ms + span_ms);
            for point in 0..POINTS {
                let samples: Vec<_> =
                    polls.iter().filter_map(|poll| Some((poll.samples.get(point)?.as_ref()?.value()?.to_f64()?, poll.at_ms))).collect();
                if samples.is_empty() {
                    continue;
                }
                let (gateway, device, point) = (gateway(device), format!("d{device}"), format!("p{point}"));
                let labels = [("__name__", "reading"), ("gateway", &gateway), ("device", &device), ("point", &point)];
                message.put(labels, samples);
            }
        }
        messages.push((message.samples() as u64, message.take()?));
    }
    Ok(messages)
}

/// Writes them, one after the other; gives how many samples that were.
pub(crate) fn remote_write(messages: &[(u64, Vec<u8>)], victoria: &Victoria) -> Result<u64> {
    let agent = agent();
    messages.iter().map(|(samples, message)| victoria.write(&agent, message).map(|()| samples)).sum()
}
