//! The log under the same data: a commit is one poll of all devices, as a gateway of that size sends it every 10 s, or several that wait.

use std::time::Duration;

use anyhow::{Result, ensure};
use pattoo_server::store::log::files::Files;
use pattoo_server::store::log::{Log, SEGMENT_BYTES, content};
use pattoo_server::store::{Commit, Reading};
use pattoo_tests::store_plant::day;

use crate::{series, timed};

/// Polls that are committed: a bit more than an hour and a half.
const POLLS: usize = 600;

/// What it came to.
#[derive(Default)]
pub(crate) struct Logged {
    pub(crate) points: f64,
    pub(crate) bytes: u64,
    pub(crate) writing: Duration,
    pub(crate) committing: Duration,
    pub(crate) reading: Duration,
}

/// Commits of so many polls each.
pub(crate) fn measure(seed: u64, devices: usize, polls: usize) -> Result<Logged> {
    let mut commits = vec![Commit::default(); POLLS / polls];
    for device in 0..devices {
        for (number, poll) in day(seed, device).into_iter().enumerate() {
            let Some(commit) = commits.get_mut(number / polls) else { break };
            let samples = poll.samples.into_iter().enumerate();
            let readings =
                samples.filter_map(|(point, sample)| Some((series(device, point), Reading { at_ms: poll.at_ms, sample: sample? })));
            commit.readings.extend(readings);
        }
    }
    let folder = tempfile::tempdir()?;
    let (log, _) = Log::open(Files::open(folder.path())?, SEGMENT_BYTES, &mut |_, _| ())?;
    let mut logged = Logged { points: commits.iter().map(|commit| commit.readings.len()).sum::<usize>() as f64, ..Logged::default() };
    for commit in &commits {
        let content = timed(&mut logged.writing, || content::write(commit)).map_err(anyhow::Error::msg)?;
        logged.bytes += content.len() as u64;
        timed(&mut logged.committing, || log.commit(content))?;
    }
    drop(log);
    let mut read = Vec::new();
    timed(&mut logged.reading, || Log::open(Files::open(folder.path())?, SEGMENT_BYTES, &mut |_, bytes| read.push(content::read(bytes))))?;
    ensure!(read.into_iter().eq(commits.into_iter().map(Ok)), "the log came back changed");
    Ok(logged)
}
