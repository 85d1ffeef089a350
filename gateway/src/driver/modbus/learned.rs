//! What polls have taught about one device: what it refuses, and what it is silent to. Does not talk to it.
//!
//! A point that was refused is asked for alone once more. Refused again, it is left alone for a while, and each time that goes on that while
//! doubles, from two minutes to a day: new firmware, or a module that was still starting, is found without a request in each poll.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::lessons::{Lesson, Lessons};
use crate::plan::{self, LinkCost, Request};
use crate::profile::{ModbusLimits, ModbusRead, Table};
use crate::reading::PointIndex;

/// How long something is left alone when it was refused for the first time, and at most.
const FIRST_AGAIN: Duration = Duration::from_secs(60);
const LAST_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Lessons about one device.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Points that it refuses.
    refused: BTreeMap<PointIndex, Refusal>,
    /// Addresses that a request may not reach from below: somewhere between the point before and the one that begins there lies a register
    /// that the device does not give, or the request is too long for it.
    edges: BTreeMap<(Table, u16), Refusal>,
    /// It refused everything, maybe because it was starting up: until then nobody looks which part of a request it is.
    refuses_all_until_ms: Option<i64>,
    /// Points of requests that were not answered, and which silence that was: asked last, so that they cost the others nothing.
    silent: BTreeMap<PointIndex, u64>,
    silences: u64,
    /// Its latest poll brought no answer of its own.
    dead: bool,
    /// Something was learned or forgotten that nobody has been told.
    news: bool,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: u8,
    tries: u8,
    /// Then it is tried again, by the driver's clock.
    until_ms: i64,
}

/// What a poll found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The device refuses this point by itself.
    Point(PointIndex, u8),
    /// It gives what is on both sides of this address, and refuses both together. `over_gap`: unused registers lie between them.
    Edge { table: Table, at: u16, over_gap: bool, code: u8 },
}

/// Which edges a part of a request has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edges {
    over_gaps: bool,
    between_neighbours: bool,
}

impl Edges {
    pub(super) fn of(found: &[Found]) -> Self {
        let any = |wanted: bool| found.iter().any(|found| matches!(found, Found::Edge { over_gap, .. } if *over_gap == wanted));
        Self { over_gaps: any(true), between_neighbours: any(false) }
    }

    /// Whether what two refused halves have within them makes it likely that there is an edge between them as well, which saves the polls that
    /// would find out: a device that does not give some unused registers gives none, and what is too long in both halves is so together.
    pub(super) fn make_likely([left, right]: [Self; 2], over_gap: bool) -> bool {
        if over_gap { left.over_gaps || right.over_gaps } else { left.between_neighbours && right.between_neighbours }
    }
}

/// How to read some points.
#[derive(Debug)]
pub(super) struct Plan {
    /// Requests, the first of which is the probe of a dead device.
    pub(super) requests: Vec<Request>,
    /// Points that are not asked for, and the exception that they were refused with.
    pub(super) refused: Vec<(PointIndex, u8)>,
}

impl Learned {
    /// Whether its latest poll brought no answer of its own: then one request is enough to see that it still is so.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// A poll brought an answer or did not.
    pub(super) fn polled(&mut self, answered: bool) {
        self.dead = !answered;
    }

    /// How to read these points now. For a dead device the first request is its probe: the cheapest one that it was never silent to, or the
    /// one that it was silent to the longest ago, so that one register that it chokes on does not keep it dead. One point is asked for even
    /// where all are refused: whether the device lives must be seen.
    pub(super) fn plan(&self, points: &[(PointIndex, &ModbusRead)], limits: &ModbusLimits, cost: &LinkCost, now_ms: i64) -> Plan {
        let is_refused = |point: &PointIndex| self.refused.get(point).filter(|refusal| now_ms < refusal.until_ms);
        let (mut refused, mut asked): (Vec<_>, Vec<_>) = points.iter().partition(|(point, _)| is_refused(point).is_some());
        if asked.is_empty() {
            asked.extend(refused.pop());
        }
        let is_doubtful = |point: &PointIndex| self.refused.get(point).is_some_and(|refusal| refusal.tries == 1);
        let (doubtful, asked): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(point, _)| is_doubtful(point));
        // What is read over what is refused would be refused as well.
        let mut edges: BTreeSet<_> = refused.iter().chain(&doubtful).map(|(_, read)| (read.table, read.first())).collect();
        edges.extend(self.edges.iter().filter(|(_, edge)| now_ms < edge.until_ms).map(|(at, _)| *at));
        let mut groups: BTreeMap<(Table, usize), Vec<_>> = BTreeMap::new();
        for (point, read) in asked {
            let edges_before = edges.range((read.table, 0)..=(read.table, read.first())).count();
            groups.entry((read.table, edges_before)).or_default().push((point, read));
        }
        let alone = doubtful.iter().map(std::slice::from_ref);
        let mut requests: Vec<_> =
            groups.values().map(Vec::as_slice).chain(alone).flat_map(|group| plan::plan(group, limits, cost)).collect();
        let silence = |request: &Request| request.points.iter().filter_map(|point| self.silent.get(point)).max().copied();
        requests.sort_by_key(|r| (silence(r).is_some(), r.table, r.address, r.count));
        if self.dead {
            let price = |r: &Request| (silence(r), cost.of(r.table, u32::from(r.count), limits), r.count);
            let probe = (0..requests.len()).min_by_key(|index| requests.get(*index).map(price));
            requests.get_mut(..=probe.unwrap_or(0)).unwrap_or_default().rotate_right(1);
        }
        let refused = refused.iter().filter_map(|(point, _)| Some((*point, self.refused.get(point)?.code))).collect();
        Plan { requests, refused }
    }

    /// Whether it is worth while to look which part of a request it refuses.
    pub(super) fn may_look_closer(&self, now_ms: i64) -> bool {
        self.refuses_all_until_ms.is_none_or(|until_ms| until_ms <= now_ms)
    }

    /// The end of a poll: what it found counts only if the device gave something. One that refuses everything may just be starting up.
    pub(super) fn learn(&mut self, found: &[Found], gave_something: bool, now_ms: i64) {
        if !gave_something {
            if !found.is_empty() {
                self.refuses_all_until_ms = Some(now_ms.saturating_add_unsigned(millis(FIRST_AGAIN)));
            }
            return;
        }
        self.refuses_all_until_ms = None;
        for found in found {
            match *found {
                Found::Point(point, code) => {
                    let before = self.refused.get(&point);
                    let after = Refusal::after(before, code, now_ms);
                    // The first time may be chance.
                    let until_ms = if before.is_none() { now_ms } else { after.until_ms };
                    self.refused.insert(point, Refusal { until_ms, ..after })
                }
                Found::Edge { table, at, code, .. } => {
                    let at = (table, at);
                    self.edges.insert(at, Refusal::after(self.edges.get(&at), code, now_ms))
                }
            };
            self.news = true;
        }
    }

    /// The device gave what was asked for: whatever said that it would not is forgotten.
    pub(super) fn answered(&mut self, request: &Request) {
        let before = self.refused.len() + self.edges.len();
        if before == 0 {
            return;
        }
        request.points.iter().for_each(|point| {
            self.refused.remove(point);
        });
        let (first, last) = (request.address, request.address.saturating_add(request.count.saturating_sub(1)));
        self.edges.retain(|(table, at), _| *table != request.table || *at <= first || *at > last);
        self.news |= self.refused.len() + self.edges.len() < before;
    }

    /// The device was or was not silent when asked for these points.
    pub(super) fn silent(&mut self, points: &[PointIndex], silent: bool) {
        if silent {
            self.silences += 1;
            self.silent.extend(points.iter().map(|point| (*point, self.silences)));
        } else if !self.silent.is_empty() {
            self.silent.retain(|point, _| !points.contains(point));
        }
    }

    /// What is to be kept, if that is another than was told.
    pub(super) fn news(&mut self, now_ms: i64) -> Option<Lessons> {
        std::mem::take(&mut self.news).then(|| Lessons {
            refused: self.refused.iter().map(|(point, refusal)| (point.0, refusal.told(now_ms))).collect(),
            edges: self.edges.iter().map(|((table, at), refusal)| (*table, *at, refusal.told(now_ms))).collect(),
        })
    }

    /// What was kept of an earlier run.
    pub(super) fn recall(&mut self, lessons: &Lessons, now_ms: i64) {
        self.refused = lessons.refused.iter().map(|(point, lesson)| (PointIndex(*point), Refusal::of(*lesson, now_ms))).collect();
        self.edges = lessons.edges.iter().map(|(table, at, lesson)| ((*table, *at), Refusal::of(*lesson, now_ms))).collect();
    }
}

impl Refusal {
    /// It was refused, for the first time or once more.
    fn after(before: Option<&Self>, code: u8, now_ms: i64) -> Self {
        let tries = before.map_or(1, |before| before.tries.saturating_add(1));
        let wait = FIRST_AGAIN.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LAST_AGAIN);
        Self { code, tries, until_ms: now_ms.saturating_add_unsigned(millis(wait)) }
    }

    fn told(&self, now_ms: i64) -> Lesson {
        Lesson { code: self.code, tries: self.tries, left_ms: u64::try_from(self.until_ms.saturating_sub(now_ms)).unwrap_or(0) }
    }

    fn of(lesson: Lesson, now_ms: i64) -> Self {
        let left_ms = lesson.left_ms.min(millis(LAST_AGAIN));
        Self { code: lesson.code, tries: lesson.tries, until_ms: now_ms.saturating_add_unsigned(left_ms) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Encoding;

    const MINUTE_MS: i64 = 60_000;

    fn reads(addresses: &[u16]) -> Vec<(PointIndex, ModbusRead)> {
        let read = |(i, address): (usize, &u16)| (PointIndex(i), ModbusRead::new(Table::Input, *address, Encoding::U16));
        addresses.iter().enumerate().map(read).collect()
    }

    fn edge(table: Table, at: u16) -> Found {
        Found::Edge { table, at, over_gap: true, code: 2 }
    }

    /// Address and count of each request, and the points that are not asked for.
    fn planned(learned: &Learned, reads: &[(PointIndex, ModbusRead)], now_ms: i64) -> (Vec<(u16, u16)>, Vec<usize>) {
        let points: Vec<_> = reads.iter().map(|(point, read)| (*point, read)).collect();
        let limits = ModbusLimits { max_gap: 5, ..ModbusLimits::default() };
        let plan = learned.plan(&points, &limits, &LinkCost::default(), now_ms);
        (plan.requests.iter().map(|r| (r.address, r.count)).collect(), plan.refused.iter().map(|(point, _)| point.0).collect())
    }

    #[test]
    fn what_is_refused_is_left_alone_and_tried_again_ever_more_rarely() {
        let (reads, mut learned) = (reads(&[0, 1, 2, 3]), Learned::default());
        let (mut now_ms, mut waits) = (1000, Vec::new());
        learned.learn(&[Found::Point(PointIndex(2), 2)], true, now_ms);
        assert_eq!(planned(&learned, &reads, now_ms), (vec![(0, 2), (2, 1), (3, 1)], vec![]), "asked for alone");
        for _ in 0..13 {
            learned.learn(&[Found::Point(PointIndex(2), 2)], true, now_ms);
            assert_eq!(planned(&learned, &reads, now_ms), (vec![(0, 2), (3, 1)], vec![2]), "no request reaches over it");
            let learned_at_ms = now_ms;
            while !planned(&learned, &reads, now_ms).1.is_empty() {
                now_ms += MINUTE_MS;
            }
            waits.push((now_ms - learned_at_ms) / MINUTE_MS);
            assert_eq!(planned(&learned, &reads, now_ms), (vec![(0, 4)], vec![]));
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440]);
        // It is there at last.
        learned.answered(&Request { table: Table::Input, address: 0, count: 4, points: (0..4).map(PointIndex).collect() });
        assert_eq!(learned.news(now_ms), Some(Lessons::default()));
        assert_eq!(learned.news(now_ms), None);
    }

    #[test]
    fn no_request_reaches_over_an_edge_until_it_is_tried_again() {
        let (reads, mut learned) = (reads(&[0, 1, 4, 5]), Learned::default());
        assert_eq!(planned(&learned, &reads, 0).0, [(0, 6)]);
        learned.learn(&[edge(Table::Input, 4), edge(Table::Holding, 1)], true, 0);
        assert_eq!(planned(&learned, &reads, 0).0, [(0, 2), (4, 2)]);
        // What is read on both sides of it says nothing of it.
        learned.answered(&Request { table: Table::Input, address: 4, count: 2, points: vec![] });
        learned.answered(&Request { table: Table::Input, address: 0, count: 4, points: vec![] });
        assert_eq!(planned(&learned, &reads, MINUTE_MS - 1).0, [(0, 2), (4, 2)]);
        assert_eq!(planned(&learned, &reads, MINUTE_MS).0, [(0, 6)]);
        learned.answered(&Request { table: Table::Input, address: 0, count: 6, points: vec![] });
        assert_eq!(learned.news(0).unwrap().edges.len(), 1, "that of the other table");
    }

    #[test]
    fn one_point_is_asked_for_even_where_all_are_refused() {
        let (reads, mut learned) = (reads(&[7, 8]), Learned::default());
        for _ in 0..2 {
            learned.learn(&[Found::Point(PointIndex(0), 2), Found::Point(PointIndex(1), 3)], true, 0);
        }
        assert_eq!(planned(&learned, &reads, 0), (vec![(8, 1)], vec![0]));
    }

    #[test]
    fn a_device_that_gave_nothing_teaches_nothing_but_to_look_later() {
        let mut learned = Learned::default();
        learned.learn(&[Found::Point(PointIndex(0), 2)], false, 0);
        assert_eq!((learned.news(0), learned.may_look_closer(0), learned.may_look_closer(MINUTE_MS)), (None, false, true));
        learned.learn(&[], true, 0);
        assert!(learned.may_look_closer(0));
    }

    #[test]
    fn what_is_kept_is_recalled_with_the_time_that_is_left_whatever_the_clock_shows() {
        let (reads, mut learned) = (reads(&[0, 1, 4, 5]), Learned::default());
        learned.learn(&[Found::Point(PointIndex(1), 2)], true, 4000);
        learned.learn(&[edge(Table::Input, 4), Found::Point(PointIndex(1), 2)], true, 5000);
        let told = learned.news(5000 + MINUTE_MS / 2).unwrap();
        let mut again = Learned::default();
        again.recall(&told, 70);
        assert_eq!(planned(&again, &reads, 70 + MINUTE_MS / 2 - 1), (vec![(0, 1), (4, 2)], vec![1]));
        // The edge was found once, the point twice.
        assert_eq!(planned(&again, &reads, 70 + MINUTE_MS * 3 / 2 - 1), (vec![(0, 1), (4, 2)], vec![1]));
        assert_eq!(planned(&again, &reads, 70 + MINUTE_MS * 3 / 2), (vec![(0, 6)], vec![]));
        assert_eq!(again.news(70), None, "nothing new");
        // A file that somebody wrote by hand.
        let forever = Lessons { refused: [(1, Lesson { code: 2, tries: 255, left_ms: u64::MAX })].into(), edges: vec![] };
        again.recall(&forever, 0);
        assert_eq!(planned(&again, &reads, 1440 * MINUTE_MS).1, Vec::<usize>::new());
        again.learn(&[Found::Point(PointIndex(1), 2)], true, 0);
        assert_eq!(planned(&again, &reads, 1440 * MINUTE_MS).1, Vec::<usize>::new());
    }
}
