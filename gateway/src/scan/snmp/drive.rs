//! Asks agents who they are, many at the same time, over the session that the driver uses. Shell; sends nothing but reads.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Dossier, Report, Wanted, probes};
use crate::config::{Profiles, snmp};
use crate::driver::snmp::look;
use crate::poll::all;
use crate::profile::snmp::{Oid, Value};
use crate::scan::drive::Progress;

/// Longest time for one agent that answers.
const MAX_LOOK: Duration = Duration::from_secs(10);
const SYS_DESCR: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 1, 0];
const SYS_OBJECT_ID: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 2, 0];
const SYS_NAME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 5, 0];

/// Scans until all were asked, the time is up, or `stop` is done; then gives what was found by then. `agent` makes the agent at an address,
/// asked in one of the ways.
pub async fn scan(
    wanted: &Wanted,
    profiles: &Profiles,
    agent: impl Fn(&str, &str) -> Option<snmp::Agent>,
    progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Report {
    let start = Instant::now();
    let (found, asked, next) = (RefCell::new(Vec::new()), RefCell::new(0), RefCell::new(wanted.hosts.iter()));
    let (progress, probes) = (RefCell::new(progress), probes(profiles));
    let lane = || async {
        loop {
            let Some(host) = next.borrow_mut().next() else { return };
            (progress.borrow_mut())(&Progress { elapsed: start.elapsed(), asking: host.clone(), found: found.borrow().len() });
            if let Some(dossier) = dossier(wanted, host, &agent, &probes).await {
                found.borrow_mut().push(dossier);
            }
            *asked.borrow_mut() += 1;
        }
    };
    let lanes = all((0..wanted.parallel.min(wanted.hosts.len())).map(|_| lane()));
    tokio::select! {
        _ = timeout_at(start + wanted.budget, lanes) => {}
        () = stop => {}
    }
    let (found, asked) = (found.borrow(), *asked.borrow());
    Report::new(wanted, profiles, &found, asked, start.elapsed())
}

/// The agent at an address; nothing where nobody answers to any of the ways.
async fn dossier(wanted: &Wanted, host: &str, agent: &impl Fn(&str, &str) -> Option<snmp::Agent>, probes: &[Oid]) -> Option<Dossier> {
    for (way, text) in wanted.ways.iter().enumerate() {
        let Some(agent) = agent(host, text) else { continue };
        // What it is takes a question for each probe.
        let agent = snmp::Agent { timeout: wanted.timeout, retries: 1, deadline: wanted.timeout * 2 + MAX_LOOK, ..agent };
        let names: Vec<Oid> = [SYS_DESCR, SYS_OBJECT_ID, SYS_NAME].iter().filter_map(|name| Oid::new(name)).collect();
        let Ok((values, has)) = look(agent, &names, probes).await else { continue };
        let of = |name: &[u32]| values.iter().find(|(oid, _)| oid.parts() == name).map(|(_, value)| value);
        let text = |name| of(name).and_then(Value::plain).unwrap_or_default();
        let object_id = match of(SYS_OBJECT_ID) {
            Some(Value::Oid(id)) => Some(id.clone()),
            _ => None,
        };
        return Some(Dossier { host: host.to_owned(), way, descr: text(SYS_DESCR), object_id, name: text(SYS_NAME), has });
    }
    None
}
