//! Shell: compares what is here with what VictoriaMetrics gives back, day by day, sends what is missing, and lets go of what it has.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use thiserror::Error;

use super::backend::Inner;
use super::compare::{Difference, FIRST_MS, MAX_ATTEMPTS, Sides, compare};
use super::forwarder::{SEND_EVERY, Sending};
use super::remote::RemoteError;
use crate::store::shelf::{DAY_MS, day_of};
use crate::store::{Reading, SeriesId, Store, StoreError};

/// Readings of a series that are compared at once.
const AT_ONCE: usize = 50_000;

/// Why it does not go on.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// Here.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Over there.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store is being closed.
    #[error("stopping")]
    Stopping,
}

/// What was done to days that are to be let go of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Days that were let go of.
    pub released: u64,
    /// Days that are still here: something was sent that has to settle, or came meanwhile.
    pub waiting: u64,
    /// Readings that were compared.
    pub compared: u64,
    /// Readings that are over there as they are here.
    pub found: u64,
    /// Readings of days that were let go of.
    pub confirmed: u64,
    /// Readings that were sent.
    pub sent: u64,
    /// Readings that were put beside.
    pub kept: u64,
    /// Of those kept, how many VictoriaMetrics dropped without a word.
    pub dropped: u64,
    /// The day that is at work, as days since 1970.
    pub day: i64,
}

impl Round {
    fn add(&mut self, here: usize, difference: &Difference) {
        let (here, sent, kept) = (here as u64, difference.send.len() as u64, difference.keep.len() as u64);
        self.compared += here;
        self.sent += sent;
        self.kept += kept;
        self.dropped += difference.dropped;
        self.found += here.saturating_sub(sent + kept);
    }
}

impl Inner {
    /// Sends readings; what cannot be kept there is left out.
    pub(super) fn send(&self, readings: &[(SeriesId, Vec<Reading>)]) -> Result<(), Trouble> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let named = readings.iter().filter_map(|(id, readings)| Some((*id, names.get(id)?.clone(), readings))).collect::<Vec<_>>();
        drop(names);
        self.remote.send(named.iter().map(|(id, names, readings)| (*id, names, readings.as_slice())))?;
        Ok(())
    }

    /// Sends what VictoriaMetrics does not show of a day.
    pub(super) fn send_missing(&self, day: i64, sending: &Sending<'_>) -> Result<(), Trouble> {
        self.compare_day(day, None, &mut Round::default(), sending)
    }

    /// Compares the days before a time, sends what is missing, and lets go of what is there.
    pub(super) fn round(&self, before_ms: i64, tell: &mut dyn FnMut(&Round)) -> Result<Round, Trouble> {
        let sending = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.trusted.load(Ordering::Relaxed) {
            self.probe()?;
        }
        // What is on its way first: it may be older than what is compared.
        let commits = self.send_fresh(&sending)?;
        // Days are those of parts.
        self.recent.flush()?;
        let mut round = Round::default();
        for day in self.recent.days().into_iter().take_while(|day| *day < day_of(before_ms)) {
            let sent = self.traffic.sent_at(day);
            if sent.is_some_and(|at| at.elapsed() < self.settings.settle) {
                round.waiting += 1;
                continue;
            }
            // What an earlier life sent may be as fresh as this life is old.
            let settled = sent.is_some() || self.begun.elapsed() >= self.settings.settle;
            let (before, compared) = (round.sent, round.compared);
            round.day = day;
            self.compare_day(day, Some(&mut *tell), &mut round, &sending)?;
            if round.sent > before {
                self.traffic.attempted(day);
            }
            let complete = round.sent == before && settled && round.waiting == 0;
            if complete && self.release(day, commits)? {
                round.released += 1;
                round.confirmed += round.compared - compared;
            } else {
                round.waiting += 1;
            }
            tell(&round);
        }
        if round.sent > 0 {
            self.settings.flush.iter().try_for_each(|url| self.remote.touch(url))?;
        }
        Ok(round)
    }

    /// Compares a day. What cannot be kept over there is put beside only if the day is to go, which somebody is told of then.
    fn compare_day(
        &self,
        day: i64,
        mut goes: Option<&mut dyn FnMut(&Round)>,
        round: &mut Round,
        sending: &Sending<'_>,
    ) -> Result<(), Trouble> {
        let (first_ms, end_ms) = (day.saturating_mul(DAY_MS), day.saturating_add(1).saturating_mul(DAY_MS));
        let attempts = self.traffic.attempts(day);
        let mut ids: Vec<SeriesId> = self.names.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        ids.sort_unstable();
        let mut told = Instant::now();
        for id in ids {
            if self.traffic.is_stopping() {
                return Err(Trouble::Stopping);
            }
            let mut from_ms = first_ms;
            loop {
                let here = self.recent.raw(id, from_ms, end_ms, AT_ONCE)?;
                let Some(last) = here.last() else { break };
                let next_ms = last.at_ms.saturating_add(1);
                let there = self.remote.readings(id, from_ms.max(FIRST_MS), next_ms)?;
                let beside = self.beside.raw(id, from_ms, next_ms, usize::MAX)?;
                let newest = self.recent.latest(&[id])?.pop().flatten().filter(|_| goes.is_some());
                let sides = Sides { here: &here, there: &there, beside: &beside };
                let attempts = if goes.is_some() { attempts } else { attempts.min(MAX_ATTEMPTS - 1) };
                let mut difference = compare(sides, attempts, newest.map(|newest| newest.at_ms));
                if goes.is_none() {
                    difference.keep.clear();
                }
                round.add(here.len(), &difference);
                if !difference.keep.is_empty() {
                    self.put_beside(difference.keep.into_iter().map(|reading| (id, reading)).collect())?;
                }
                if !difference.send.is_empty() {
                    // Also of what fails: it may be there.
                    self.traffic.sent([day]);
                    self.send(&[(id, difference.send)])?;
                }
                from_ms = next_ms;
                if told.elapsed() >= SEND_EVERY {
                    told = Instant::now();
                    self.send_fresh(sending)?;
                    goes.iter_mut().for_each(|tell| tell(round));
                }
            }
        }
        Ok(())
    }

    /// Lets go of a day that VictoriaMetrics has, or that is beside; not if there were commits with readings of it, or of one before, after
    /// that one.
    fn release(&self, day: i64, commits: u64) -> Result<bool, Trouble> {
        let before_ms = day.saturating_add(1).saturating_mul(DAY_MS);
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if self.traffic.is_touched(day, commits) {
            return Ok(false);
        }
        // First that it may go, so that whoever asks next asks over there as well.
        self.note_let_go(before_ms)?;
        self.recent.release(before_ms)?;
        self.traffic.gone(day);
        Ok(true)
    }
}
