//! What to ask gateways for: an answer to each hello, and unasked when a schema is unknown or a batch stays missing. Pure.
//!
//! Not durable, and it need not be: a hello comes every minute, and what is missing then is asked for again.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::{Ask, Echo, Header, Hello, MAX_ASK_SCHEMAS, SchemaId};

use crate::catalog::{Catalog, MAX_GATEWAYS};

/// A batch may come late by itself for so long: other messages overtake it, or it is under way again.
pub(super) const HOLE_WAIT_MS: i64 = 5_000;
/// Unasked, a gateway is asked for the same at most this often.
pub(super) const ASK_EVERY_MS: i64 = 10_000;

/// What is wanted of all gateways.
#[derive(Debug, Default)]
pub(super) struct Asking {
    gateways: BTreeMap<String, Wanted>,
}

/// What is wanted of one gateway, of the stream that it sent last.
#[derive(Debug, Default)]
struct Wanted {
    stream: u64,
    /// Schemas that batches wait for, and when they were asked for.
    schemas: BTreeMap<SchemaId, Option<i64>>,
    /// The highest batch that was turned away for want of a schema; 0 for none.
    waiting: u64,
    /// A schema came that batches had waited for.
    came: bool,
    /// The lowest missing batch below others that came, since when, and when it was asked for.
    hole: Option<(u64, i64, Option<i64>)>,
    hello: Option<Hello>,
}

impl Wanted {
    fn of_stream(&mut self, stream: u64) {
        if self.stream != stream {
            *self = Self { stream, schemas: std::mem::take(&mut self.schemas), ..Self::default() };
        }
    }
}

impl Asking {
    /// A batch was turned away because its schema has not come.
    pub(super) fn schema_missing(&mut self, gateway: &str, header: &Header, id: SchemaId) {
        let Some(wanted) = self.wanted(gateway, header.stream) else { return };
        wanted.waiting = wanted.waiting.max(header.seq);
        if wanted.schemas.len() < MAX_ASK_SCHEMAS {
            wanted.schemas.entry(id).or_default();
        }
    }

    /// A schema is known now.
    pub(super) fn schema_came(&mut self, gateway: &str, id: SchemaId) {
        if let Some(wanted) = self.gateways.get_mut(gateway) {
            wanted.came |= wanted.schemas.remove(&id).is_some();
        }
    }

    /// A gateway said where it stands: it gets an answer.
    pub(super) fn hello(&mut self, gateway: &str, hello: Hello) {
        if let Some(wanted) = self.wanted(gateway, hello.stream) {
            wanted.hello = Some(hello);
        }
    }

    /// A batch of a stream came.
    pub(super) fn batch(&mut self, gateway: &str, stream: u64) {
        self.wanted(gateway, stream);
    }

    fn wanted(&mut self, gateway: &str, stream: u64) -> Option<&mut Wanted> {
        if self.gateways.len() >= MAX_GATEWAYS && !self.gateways.contains_key(gateway) {
            return None;
        }
        let wanted = self.gateways.entry(gateway.to_owned()).or_default();
        wanted.of_stream(stream);
        Some(wanted)
    }

    /// What to ask now of these gateways, whose messages have just been dealt with.
    pub(super) fn due(&mut self, catalog: &Catalog, heard: &BTreeSet<String>, now_ms: i64) -> Vec<(String, Ask)> {
        let ask = |gateway: &String| {
            let wanted = self.gateways.get_mut(gateway)?;
            wanted.due(gateway, catalog, now_ms).map(|ask| (gateway.clone(), ask))
        };
        heard.iter().filter_map(ask).collect()
    }
}

impl Wanted {
    fn due(&mut self, gateway: &str, catalog: &Catalog, now_ms: i64) -> Option<Ask> {
        let standing = catalog.standing(gateway, self.stream).unwrap_or_default();
        let missing = standing.contiguous.saturating_add(1);
        self.hole = match self.hole {
            _ if standing.highest == standing.contiguous => None,
            Some(hole) if hole.0 == missing => Some(hole),
            _ => Some((missing, now_ms, None)),
        };
        if let Some(hello) = self.hello.take() {
            let echo = Some(Echo { sent_ms: hello.sent_ms, time_ms: now_ms });
            return Some(self.ask(gateway, catalog, echo, (hello.oldest, hello.next), now_ms));
        }
        if std::mem::take(&mut self.came) {
            let waiting = std::mem::take(&mut self.waiting);
            let ask = self.ask(gateway, catalog, None, (0, waiting.saturating_add(1)), now_ms);
            return (!ask.missing.is_empty()).then_some(ask);
        }
        let again = |asked: Option<i64>| asked.is_none_or(|at| now_ms < at || now_ms - at >= ASK_EVERY_MS);
        let old = |since| now_ms < since || now_ms - since >= HOLE_WAIT_MS;
        let hole = self.hole.is_some_and(|(_, since, asked)| old(since) && again(asked));
        if hole || self.schemas.values().any(|asked| again(*asked)) {
            let to = if hole { standing.highest } else { 0 };
            return Some(self.ask(gateway, catalog, None, (0, to), now_ms));
        }
        None
    }

    /// Asks for all schemas that are wanted, and for what is missing within `from..to`.
    fn ask(&mut self, gateway: &str, catalog: &Catalog, echo: Option<Echo>, (from, to): (u64, u64), now_ms: i64) -> Ask {
        let missing = catalog.missing(gateway, self.stream, from, to);
        self.schemas.values_mut().for_each(|asked| *asked = Some(now_ms));
        if let Some((seq, _, asked)) = &mut self.hole
            && missing.iter().any(|&(first, last)| (first..=last).contains(seq))
        {
            *asked = Some(now_ms);
        }
        Ask { stream: self.stream, echo, missing, schemas: self.schemas.keys().copied().collect() }
    }
}
