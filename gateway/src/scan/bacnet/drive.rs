//! Asks devices of a BACnet network who they are and what they have. Shell; sends Who-Is and reads, nothing else.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::report::{Report, report};
use super::{Told, Way, told};
use crate::config::{Bacnet, Profiles};
use crate::driver::bacnet::browse::{Browsed, browse};
use crate::driver::bacnet::port::Port;
use crate::driver::bacnet::services::IAm;
use crate::driver::bacnet::{Peer, tags};
use crate::driver::wall_clock;
use crate::mix::mix;

/// Default of how long the answers to one Who-Is are waited for.
pub(crate) const WAIT: Duration = Duration::from_secs(1);
/// Devices do not all answer one question: instances are asked for by these ends, as sites number them.
const SLICES: [u32; 6] = [99, 999, 9_999, 99_999, 999_999, tags::ANY_INSTANCE - 1];
/// Longest pause between two questions for all, so that several who scan do not ask in step.
const JITTER_MS: u64 = 250;
/// A question or an answer may be lost: so often all are asked.
const ROUNDS: u64 = 2;
/// Most devices that are asked what they have.
const MAX_DEVICES: usize = 4_096;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The socket, and how others are reached.
    pub link: Bacnet,
    /// First and last instance.
    pub range: (u32, u32),
    /// How long the answers to one Who-Is are waited for.
    pub wait: Duration,
    /// How long the scan may take.
    pub budget: Duration,
}

/// Why there is nothing to report.
#[derive(Debug, Error)]
pub(crate) enum ScanError {
    /// No socket.
    #[error("cannot listen on {0}: {1}; does another program use that port? Any other is fine: --local 0.0.0.0:0")]
    NoSocket(SocketAddr, io::Error),
}

/// How far a scan has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    /// Since it began.
    pub elapsed: Duration,
    /// What is asked now.
    pub asking: String,
    /// Devices found so far.
    pub found: usize,
}

/// Scans until all is known, the time is up, or `stop` is done.
///
/// # Errors
/// There is no socket.
pub(crate) async fn scan(
    wanted: &Wanted,
    way: &super::Way,
    profiles: &Profiles,
    mut progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, ScanError> {
    let start = Instant::now();
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let work = look(wanted, &mut found, &mut notes, start, &mut progress);
    let ended = tokio::select! {
        ended = timeout_at(start + wanted.budget, work) => ended.map_err(|_| "the time is up (--budget)"),
        () = stop => Err("interrupted"),
    };
    match ended {
        Ok(result) => result.map_err(|error| ScanError::NoSocket(wanted.link.local, error))?,
        Err(why) => notes.push(format!("ended early: {why}; what comes next was not asked")),
    }
    found.sort_by_key(|device: &Device| (device.i_am.device, device.peer.clone()));
    let told: Vec<Told> = found.iter().map(|device| told(&device.peer, &device.i_am, &device.browsed)).collect();
    for device in &found {
        let instance = device.i_am.device;
        if !device.asked {
            notes.push(format!("device {instance} was not asked what it has"));
        } else if let Some(reason) = device.browsed.ended {
            notes.push(format!("device {instance} stopped answering ({reason}): not all of it is here"));
        }
        if device.browsed.left_out > 0 {
            notes.push(format!("device {instance} has {} objects more than are asked for", device.browsed.left_out));
        }
    }
    Ok(report(way, start.elapsed().as_secs_f64(), &told, profiles, notes))
}

struct Device {
    peer: Peer,
    i_am: IAm,
    browsed: Browsed,
    asked: bool,
}

async fn look(
    wanted: &Wanted,
    found: &mut Vec<Device>,
    notes: &mut Vec<String>,
    start: Instant,
    progress: &mut impl FnMut(&Progress),
) -> io::Result<()> {
    let port = Port::new(&wanted.link);
    let seed = getrandom::u64().unwrap_or_default();
    for round in 0..ROUNDS {
        for (slice, range) in (0u64..).zip(slices(wanted.range)) {
            let (low, high) = range;
            progress(&Progress { elapsed: start.elapsed(), asking: format!("who is {low} to {high}"), found: found.len() });
            for (peer, i_am) in port.survey(Some(range), wanted.wait).await? {
                let is_in = (low..=high).contains(&i_am.device);
                let is_new = !found.iter().any(|other| other.peer == peer && other.i_am.device == i_am.device);
                if is_in && is_new && found.len() < MAX_DEVICES {
                    found.push(Device { peer, i_am, browsed: Browsed::default(), asked: false });
                }
            }
            let jitter = mix(seed ^ (round << 8 | slice)) % JITTER_MS;
            tokio::time::sleep(Duration::from_millis(jitter)).await;
        }
    }
    if found.len() >= MAX_DEVICES {
        notes.push(format!("more than {MAX_DEVICES} devices answered: the rest is left out (--range)"));
    }
    let clock = wall_clock();
    let count = found.len();
    for device in found {
        let instance = device.i_am.device;
        let told = |done: usize, of: usize| {
            progress(&Progress { elapsed: start.elapsed(), asking: format!("device {instance}: object {done} of {of}"), found: count });
        };
        device.asked = true;
        browse(&port, &device.peer, &device.i_am, &clock, &mut device.browsed, told).await;
    }
    Ok(())
}

/// The parts of a range of instances that are asked for one after the other.
fn slices((first, last): (u32, u32)) -> Vec<(u32, u32)> {
    let mut low = 0;
    let mut slices = Vec::new();
    for high in SLICES {
        let own = (low.max(first), high.min(last));
        if own.0 <= own.1 {
            slices.push(own);
        }
        low = high + 1;
    }
    slices
}

/// The report of an EDE file.
pub(crate) fn from_ede(way: &Way, devices: &[Told], profiles: &Profiles) -> Report {
    report(way, 0.0, devices, profiles, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_asked_for_in_parts_that_cover_it() {
        for (range, expected) in [
            ((0, 4_194_302), vec![(0, 99), (100, 999), (1000, 9_999), (10_000, 99_999), (100_000, 999_999), (1_000_000, 4_194_302)]),
            ((5, 5), vec![(5, 5)]),
            ((50, 150), vec![(50, 99), (100, 150)]),
            ((4_000_000, 4_194_302), vec![(4_000_000, 4_194_302)]),
        ] {
            assert_eq!(slices(range), expected);
        }
    }
}
