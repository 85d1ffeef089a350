//! Which batches are with the server, which are on their way, and which is to go next. Pure; knows no connection and no time-out.

use std::collections::BTreeMap;

use pattoo_wire::{Ack, MAX_ACK_RANGES};

use super::ranges::Ranges;
use crate::buffer::Stats;
use crate::config::Order;

/// Most ranges that lie apart. When there are as many, what goes next joins them: the oldest that is missing. An acknowledgement can
/// then name all of them, and the server, which remembers 1024, all that it has.
const MAX_RANGES: usize = MAX_ACK_RANGES;

/// The largest number of a batch whose ranges a message may name: one more must still be a number.
const LAST_SEQ: u64 = u64::MAX - 1;

/// What a batch is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// New: made while the connection was good.
    Live,
    /// It had to wait.
    Backlog,
}

/// What an acknowledgement told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// All up to here, if that is new.
    pub(super) through: Option<u64>,
    /// Ranges beyond it that are new.
    pub(super) ahead: Vec<(u64, u64)>,
    /// When the batch was sent that was sent last of those that it names.
    pub(super) sent_ms: Option<i64>,
}

/// The books on the batches of one stream.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    order: Order,
    /// Only in the order of the numbers, whatever was configured.
    in_order: bool,
    /// Most batches that are on their way.
    window: u64,
    backfill_percent: u32,
    stats: Stats,
    /// All that need not be sent: with the server, on their way, or nowhere. From 0 on.
    covered: Ranges,
    /// On their way, with the time when they were sent. At most `window`.
    out: BTreeMap<u64, i64>,
    /// The server has said that it has all up to here.
    through: u64,
    /// Where what is new begins; nowhere where the order is that of the numbers.
    live_from: u64,
    /// Hundredths of a turn that the backlog is owed.
    owed: u32,
    /// What the buffer cannot give now; asked again after a while.
    absent: [bool; 2],
}

impl Ledger {
    pub(super) fn new(order: Order, window: u64, backfill_percent: u32, stats: Stats) -> Self {
        let mut ledger = Self {
            order,
            in_order: true,
            window: window.max(1),
            backfill_percent,
            stats,
            covered: Ranges::default(),
            out: BTreeMap::new(),
            through: 0,
            live_from: 0,
            owed: 0,
            absent: [false; 2],
        };
        ledger.begin(stats);
        ledger
    }

    fn begin(&mut self, stats: Stats) {
        self.stats = stats;
        self.out.clear();
        self.covered = Ranges::default();
        self.covered.add(0, stats.oldest.saturating_sub(1));
        self.through = stats.oldest.saturating_sub(1);
        self.all_is_backlog();
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats
    }

    /// Batches on their way.
    pub(super) fn out(&self) -> u64 {
        self.out.len() as u64
    }

    /// Batches that are still to be sent.
    pub(super) fn unsent(&self) -> u64 {
        self.stats.next.saturating_sub(self.covered.count())
    }

    /// The buffer stands like this now. Gives whether that is another life of it.
    pub(super) fn follow(&mut self, stats: Stats) -> bool {
        if stats.stream != self.stats.stream {
            self.begin(stats);
            return true;
        }
        if stats == self.stats {
            return false;
        }
        if stats.oldest > self.stats.oldest {
            // Released or dropped: nothing to send any more, unless the server asks for what can still be read.
            let gone = (self.stats.oldest, stats.oldest - 1);
            self.out.retain(|seq, _| *seq < gone.0 || *seq > gone.1);
            self.covered.add(gone.0, gone.1);
        }
        self.stats = stats;
        if stats.kept > 0 {
            self.covered.add(0, stats.kept - 1);
        }
        self.covered.remove(stats.next, u64::MAX);
        self.out.retain(|seq, _| (stats.kept..stats.next).contains(seq));
        self.look_again();
        false
    }

    /// What could not be had may be there now.
    pub(super) fn look_again(&mut self) {
        self.absent = [false; 2];
    }

    /// Whether to keep to the order of the numbers, because the server may not be able to acknowledge any other.
    pub(super) fn keep_order(&mut self, in_order: bool) {
        if self.in_order != in_order {
            self.in_order = in_order;
            self.all_is_backlog();
        }
    }

    fn order(&self) -> Order {
        if self.in_order { Order::OldestFirst } else { self.order }
    }

    /// What comes from now on is new, and all before it is backlog.
    pub(super) fn all_is_backlog(&mut self) {
        self.live_from = if self.order() == Order::OldestFirst { u64::MAX } else { self.stats.next };
    }

    /// The batch to send next, if there is one and there is room for it.
    pub(super) fn choose(&mut self) -> Option<u64> {
        let (live, backlog) = (self.live(), self.backlog());
        let seq = match (live, backlog) {
            (Some(live), Some(backlog)) => {
                self.owed += self.backfill_percent;
                if self.owed < 100 {
                    live
                } else {
                    self.owed -= 100;
                    backlog
                }
            }
            (live, backlog) => live.or(backlog)?,
        };
        let joins = self.covered.contains(seq - 1) || self.covered.contains(seq + 1);
        if joins || self.covered.len() < MAX_RANGES {
            return Some(seq);
        }
        (!self.absent[Kind::Backlog as usize]).then(|| self.covered.gap_from(0))
    }

    fn live(&mut self) -> Option<u64> {
        if self.absent[Kind::Live as usize] || self.out() >= self.window {
            return None;
        }
        let first = |ledger: &Self| Some(ledger.covered.gap_from(ledger.live_from)).filter(|seq| *seq < ledger.stats.next);
        if self.stats.next - first(self)? > self.window {
            // What is new does not get through as fast as it comes; then the newest counts, and what waited is backlog.
            self.live_from = self.stats.next - 1;
        }
        first(self)
    }

    fn backlog(&self) -> Option<u64> {
        let share = match self.order() {
            Order::OldestFirst => self.window,
            Order::LiveFirst | Order::NewestFirst => (self.window * u64::from(self.backfill_percent) / 100).max(1),
        };
        let out = self.out.range(..self.live_from).count() as u64;
        if self.absent[Kind::Backlog as usize] || self.out() >= self.window || out >= share {
            return None;
        }
        let end = self.live_from.min(self.stats.next);
        let first = self.covered.gap_from(0);
        let seq = if self.order() == Order::NewestFirst { self.covered.gap_below(end)? } else { first };
        (first..end).contains(&seq).then_some(seq)
    }

    /// Whether a batch that was chosen is still to be sent.
    pub(super) fn wants(&self, seq: u64) -> bool {
        seq < self.stats.next && !self.covered.contains(seq)
    }

    pub(super) fn sent(&mut self, now_ms: i64, seq: u64) {
        self.covered.add(seq, seq);
        self.out.insert(seq, now_ms);
    }

    /// The buffer cannot give this one: not now, or never again.
    pub(super) fn missing(&mut self, seq: u64, gone: bool) {
        if gone {
            self.covered.add(seq, seq);
        } else {
            let kind = if seq < self.live_from { Kind::Backlog } else { Kind::Live };
            self.absent[kind as usize] = true;
        }
    }

    /// Takes all that is on its way back, to be sent again.
    pub(super) fn requeue_all(&mut self) -> u64 {
        let lost = std::mem::take(&mut self.out);
        self.requeue(lost.keys().copied())
    }

    /// Takes those back that were sent before this time, to be sent again.
    pub(super) fn requeue_sent_before(&mut self, limit_ms: i64) -> u64 {
        let lost: Vec<u64> = self.out.iter().filter(|(_, sent_ms)| **sent_ms < limit_ms).map(|(seq, _)| *seq).collect();
        self.out.retain(|_, sent_ms| *sent_ms >= limit_ms);
        self.requeue(lost)
    }

    fn requeue(&mut self, lost: impl IntoIterator<Item = u64>) -> u64 {
        let mut count = 0;
        for seq in lost {
            self.covered.remove(seq, seq);
            count += 1;
        }
        count
    }

    /// Notes what the server has; none where it names batches that were never made.
    pub(super) fn acknowledge(&mut self, ack: &Ack) -> Option<News> {
        let last = ack.ahead.last().map_or(ack.seq, |range| range.1);
        if last >= self.stats.next {
            return None;
        }
        let mut news = News { through: (ack.seq > self.through).then_some(ack.seq), ..News::default() };
        self.through = self.through.max(ack.seq);
        let ahead = ack.ahead.iter().copied().filter(|(first, last)| {
            *first > self.through && (!self.covered.covers(*first, *last) || self.out.range(first..=last).next().is_some())
        });
        news.ahead = ahead.collect();
        for (first, last) in std::iter::once((0, ack.seq)).chain(ack.ahead.iter().copied()) {
            let taken = self.out.range(first..=last).map(|(_, sent_ms)| *sent_ms).max();
            news.sent_ms = news.sent_ms.max(taken);
            self.out.retain(|seq, _| !(first..=last).contains(seq));
            self.covered.add(first, last);
        }
        Some(news)
    }

    /// The server misses these: what can still be read goes again, but for what was sent since.
    pub(super) fn ask(&mut self, missing: &[(u64, u64)], sent_before_ms: i64) -> u64 {
        let mut count = 0;
        for &(first, last) in missing {
            let (first, last) = (first.max(self.stats.kept), last.min(LAST_SEQ).min(self.stats.next.saturating_sub(1)));
            if first > last {
                continue;
            }
            self.out.retain(|seq, sent_ms| !(first..=last).contains(seq) || *sent_ms >= sent_before_ms);
            let before = self.covered.count();
            self.covered.remove(first, last);
            let on_their_way: Vec<u64> = self.out.range(first..=last).map(|(seq, _)| *seq).collect();
            on_their_way.into_iter().for_each(|seq| self.covered.add(seq, seq));
            count += before - self.covered.count();
        }
        count
    }
}
