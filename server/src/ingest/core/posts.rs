//! Bodies that old agents posted -> one commit. Each body stands or falls by itself; what of it cannot be taken is kept as a dead
//! letter before the rest counts as stored, because its agent throws it away then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pattoo_wire::{Gap, GapReason};
use tracing::{error, info, warn};

use super::Core;
use crate::ingest::Now;
use crate::ingest::pattoo::{Fault, Refusal, Taken, is_agent};
use crate::store::{Commit, SeriesEntry, SeriesId, StoreError};

/// Most gateways of a server that may be old agents: the rest of its room is for those that have accounts.
const MAX_AGENTS: usize = 512;

/// A body as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// Where it was posted from and to, for logs.
    pub(crate) from: String,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
}

/// What a body came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Posted {
    /// All that could be taken is on stable storage.
    Stored {
        /// Readings.
        readings: usize,
        /// Datapoints that were not taken, and why.
        refused: Vec<Refusal>,
    },
    /// Nothing could be taken and posting it again cannot help.
    Refused(String),
    /// The server has no room for any of it.
    Full(String),
    /// The store does not work: post it again later.
    Unavailable(String),
}

/// A body on its way into a commit.
struct Waiting {
    taken: Taken,
    commit: Commit,
    /// Why what was not taken has no dead letter: then its agent has to keep the body, whatever of it is stored.
    unkept: Option<String>,
}

impl Core {
    /// What the times of readings that come now may say.
    pub(crate) fn now(&self, now_ms: i64) -> Now {
        Now::new(now_ms, self.max_future_ms)
    }

    /// Takes bodies, as they were read, in their order, and stores all that can be taken as one.
    pub(crate) fn take_posts(&mut self, posts: &[Post], read: Vec<Result<Taken, String>>, now_ms: i64) -> Vec<Posted> {
        let taken = self.refresh().map(|()| {
            // Until the commit is through, and also if something panics before.
            self.stale = true;
            read.into_iter().zip(posts).map(|(taken, post)| self.judge(taken, post, now_ms)).collect::<Vec<_>>()
        });
        let stored = taken.and_then(|judged| {
            let mut commit = Commit::default();
            judged.iter().filter_map(|judged| judged.as_ref().ok()).for_each(|waiting| join(&mut commit, &waiting.commit));
            self.store_posts(commit)?;
            Ok(judged)
        });
        match stored {
            Ok(judged) => {
                let told = |(judged, post): (Result<Waiting, Posted>, &Post)| match judged {
                    Ok(waiting) => self.counted(waiting, &post.from, now_ms),
                    Err(posted) => posted,
                };
                judged.into_iter().zip(posts).map(told).collect()
            }
            Err(e) => {
                self.store_failed(&e);
                posts.iter().map(|_| Posted::Unavailable(format!("nothing of it is stored: {e}"))).collect()
            }
        }
    }

    fn judge(&mut self, taken: Result<Taken, String>, post: &Post, now_ms: i64) -> Result<Waiting, Posted> {
        let mut taken = match taken {
            Ok(taken) => taken,
            Err(why) => {
                self.complain(None, "malformed", &post.from, &why);
                return Err(Posted::Refused(why));
            }
        };
        let commit = self.bind(&mut taken);
        let Some(first) = taken.refused.first() else {
            return Ok(Waiting { taken, commit, unkept: None });
        };
        let why = format!("{} datapoints were not taken, the first of them {}: {}", taken.refused.len(), first.number, first.why);
        let only = |fault| taken.points.is_empty() && taken.refused.iter().all(|refusal| refusal.fault == fault);
        // Nothing of it is in the commit, so its agent has to keep it. A wrong clock is no reason to send it back: that helps nobody.
        if only(Fault::Datapoint) {
            self.complain_of(&taken, &post.from);
            return Err(Posted::Refused(why));
        }
        if only(Fault::Room) {
            self.complain_of(&taken, &post.from);
            return Err(Posted::Full(why));
        }
        let kept = self.letters.keep(now_ms, &post.from, &why, &post.body);
        let unkept = kept.err().map(|e| {
            error!(error = %e, "what could not be taken of an agent's body could not be kept either");
            e.to_string()
        });
        let commit = Commit { gaps: records(&taken, &post.body, now_ms), ..commit };
        Ok(Waiting { taken, commit, unkept })
    }

    /// Gives readings their series. One without room is refused, and all that is new in the catalogue is in the commit.
    fn bind(&mut self, taken: &mut Taken) -> Commit {
        let differing: BTreeSet<SeriesId> = taken.points.iter().filter_map(|point| self.catalog.differing(&point.series)).collect();
        let differing: Vec<_> = differing.into_iter().collect();
        // What tells of a series in a backlog is older than what is known of it. Where the store cannot say, the commit will fail as well.
        let latest = self.store.latest(&differing).unwrap_or_default();
        let mut newest: HashMap<SeriesId, i64> =
            differing.iter().zip(latest).filter_map(|(id, latest)| Some((*id, latest?.at_ms))).collect();
        let mut changed: BTreeMap<SeriesId, SeriesEntry> = BTreeMap::new();
        let mut commit = Commit::default();
        let mut bound = Vec::with_capacity(taken.points.len());
        for point in std::mem::take(&mut taken.points) {
            let known = self.catalog.differing(&point.series).and_then(|id| newest.get(&id));
            let current = known.is_none_or(|newest| point.reading.at_ms >= *newest);
            match self.catalog.take_point(point.series.clone(), current, is_agent, MAX_AGENTS) {
                Ok((id, entry)) => {
                    if let Some(entry) = entry {
                        newest.insert(id, point.reading.at_ms);
                        changed.insert(id, entry);
                    }
                    commit.readings.push((id, point.reading.clone()));
                    bound.push(point);
                }
                Err(e) => {
                    let gateway = Some(e.gateway().to_owned());
                    taken.refused.push(Refusal { number: point.number, why: e.to_string(), fault: Fault::Room, gateway });
                }
            }
        }
        taken.points = bound;
        commit.series = changed.into_values().collect();
        commit
    }

    fn store_posts(&mut self, commit: Commit) -> Result<(), StoreError> {
        let replaced = match commit == Commit::default() {
            true => 0,
            false => self.store.commit(&commit)?.replaced,
        };
        self.stale = false;
        if replaced > 0 && self.live.replaced(replaced) {
            warn!(replaced, "readings of old agents took the place of others of the same series and time");
        }
        if !self.live.set_storing(true) {
            info!("the store takes commits again");
        }
        self.show(&commit.series);
        self.live.put_readings(commit.readings);
        Ok(())
    }

    fn counted(&self, waiting: Waiting, from: &str, now_ms: i64) -> Posted {
        let mut readings: BTreeMap<&str, u64> = BTreeMap::new();
        for point in &waiting.taken.points {
            *readings.entry(&point.series.gateway).or_default() += 1;
        }
        for (gateway, readings) in readings {
            self.live.heard(gateway, Some(now_ms), |_| {});
            self.live.count(gateway, |counters| {
                counters.batches += 1;
                counters.readings += readings;
            });
        }
        self.complain_of(&waiting.taken, from);
        match waiting.unkept {
            Some(why) => Posted::Unavailable(why),
            None => Posted::Stored { readings: waiting.taken.points.len(), refused: waiting.taken.refused },
        }
    }

    fn complain_of(&self, taken: &Taken, from: &str) {
        for Refusal { number, why, fault, gateway } in &taken.refused {
            self.complain(gateway.as_deref(), fault.code(), from, &format!("datapoint {number}: {why}"));
        }
    }

    /// An agent posts again what is not acknowledged: the count tells how often, the log does not have to.
    fn complain(&self, gateway: Option<&str>, code: &'static str, from: &str, why: &str) {
        let count = self.live.rejected(gateway, code);
        if count.is_power_of_two() {
            warn!(gateway, reason = code, count, from, "not taken from an old agent: {why}");
        }
    }
}

/// Records of what was not taken, one for each gateway. The same body again makes the same record.
fn records(taken: &Taken, body: &[u8], now_ms: i64) -> Vec<(String, u64, Gap)> {
    let at_ms = taken.made_ms.unwrap_or(now_ms).min(now_ms);
    let seq = u64::from(crc32fast::hash(body));
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for gateway in taken.refused.iter().filter_map(|refusal| refusal.gateway.as_deref()) {
        *counts.entry(gateway).or_default() += 1;
    }
    let record = |readings| Gap { from_ms: at_ms, to_ms: at_ms, first_seq: seq, last_seq: seq, readings, reason: GapReason::Refused };
    counts.into_iter().map(|(gateway, readings)| (gateway.to_owned(), 0, record(readings))).collect()
}

/// The later wins.
fn join(commit: &mut Commit, next: &Commit) {
    commit.series.extend(next.series.iter().cloned());
    commit.readings.append(next.readings.clone());
    commit.gaps.extend(next.gaps.iter().cloned());
}
