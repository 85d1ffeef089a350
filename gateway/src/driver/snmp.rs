//! SNMP agents, versions 1, 2c and 3. Shell. Knows nothing of when to read, nor where readings go.
//!
//! What to ask and what answers mean is in pure parts (`walk`, `get`, `rows`, `known`, `rate`), which ask an [`agent::Agent`]: a
//! `session` over UDP, or one in memory.

pub mod agent;
mod get;
mod known;
mod poll;
mod rate;
mod rows;
mod session;
mod walk;
pub mod wire;

pub(crate) use self::get::MAX_OBJECTS;
pub(crate) use self::walk::MAX_BINDINGS;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pattoo_wire::Reason;

use self::agent::{Agent, Question};
use self::known::{Known, KnownPoint};
use self::session::Keeper;
use super::{Clock, Driver};
use crate::config::{Device, snmp};
use crate::health::Waiting;
use crate::profile::snmp::{Oid, Value};
use crate::reading::{DeviceIndex, PointIndex, Row, Transaction};

/// An agent as a driver.
pub struct Snmp {
    clock: Clock,
    keeper: Keeper,
    known: HashMap<DeviceIndex, Known>,
}

impl Snmp {
    /// A driver for this agent. Does no I/O.
    #[must_use]
    pub fn new(agent: snmp::Agent, clock: Clock) -> Self {
        Self { clock, keeper: Keeper::new(agent), known: HashMap::new() }
    }
}

/// What was learned of agents that are asked in another way than over UDP: fixtures and simulations.
#[derive(Default)]
pub struct Memory(Known);

/// Reads these points of an agent as a driver does.
pub async fn read<A: Agent>(
    agent: &mut A,
    memory: &mut Memory,
    device: (DeviceIndex, &Device),
    points: &[PointIndex],
    now_ms: impl Fn() -> i64,
) -> Vec<Transaction> {
    poll::poll(agent, &mut memory.0, device, points, now_ms).await
}

/// What an agent that is no device yet says of these objects, and below which of these roots it has something.
///
/// # Errors
/// It does not answer.
pub(crate) async fn look(agent: snmp::Agent, objects: &[Oid], roots: &[Oid]) -> Result<(Vec<(Oid, Value)>, BTreeSet<Oid>), Reason> {
    let clock: Clock = Box::new(|| 0);
    let mut keeper = Keeper::new(agent);
    let mut session = keeper.open(&clock).await;
    let mut values = Vec::new();
    // One by one: version 1 refuses all of a question for one object that is not there.
    for object in objects {
        values.extend(session.ask(&Question::Get(vec![object.clone()])).await?.bindings);
    }
    let mut has = BTreeSet::new();
    for root in roots {
        let behind = session.ask(&Question::Next(root.clone())).await.map(|answer| answer.bindings).unwrap_or_default();
        if behind.first().is_some_and(|(oid, value)| oid.below(root).is_some() && value.present().is_ok()) {
            has.insert(root.clone());
        }
    }
    Ok((values, has))
}

impl Driver for Snmp {
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(async move {
            let Self { clock, keeper, known } = self;
            let known = known.entry(index).or_default();
            let mut session = keeper.open(clock).await;
            poll::poll(&mut session, known, (index, device), points, &*clock).await
        })
    }

    fn waiting(&self, _device: &Device) -> Waiting {
        Waiting { timeout: Some(self.keeper.timeout()), latency_p99: None, misses: self.keeper.misses.clone() }
    }

    fn series(&self, index: DeviceIndex, _device: &Device, points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        let known = self.known.get(&index);
        let of = |point: &PointIndex| {
            let rows: Vec<_> = known.and_then(|known| known.points.get(point)).into_iter().flat_map(KnownPoint::rows).collect();
            match rows.as_slice() {
                [] => vec![(*point, None)],
                rows => rows.iter().map(|(_, told)| (*point, told.row.clone())).collect(),
            }
        };
        points.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
