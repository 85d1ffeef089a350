//! Modbus over TCP or a serial line: reads and writes the devices of one link. Shell. Knows nothing of when to read, nor where readings go.
//!
//! A device that fails gives bad readings and nothing worse: an exception costs the points of its request, and where several
//! points were read together and the device refused the address, each half of them is asked for by itself, and so on, so that one illegal
//! register never costs another. After a timeout the rest of the poll is not tried: a dead device costs one timeout. One that was dead in
//! its latest poll is asked its cheapest request, and the others only once that is answered.

pub(crate) mod ear;
mod learned;
pub(crate) mod session;
mod sunspec;
mod write;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use pattoo_wire::{Reason, Sample};

use self::ear::Ear;
use self::learned::{Edges, Found, Learned};
use self::session::{Answer, Exchange, Failure, Session, question};
use self::sunspec::Sun;
use super::{Clock, Driver, Hurry};
use crate::command::{Write, Written};
use crate::config::{Device, Transport};
use crate::health::Waiting;
use crate::lessons::Lessons;
use crate::plan::{self, LinkCost, Request};
use crate::profile::{ModbusRead, Read};
use crate::reading::{DeviceIndex, PointIndex, Reading, Row, Transaction};

/// Exceptions that a smaller request may avoid.
const ILLEGAL_ADDRESS: u8 = 0x02;
const ILLEGAL_VALUE: u8 = 0x03;

/// Exceptions by which a TCP gateway tells that the device behind it did not answer.
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
const GATEWAY_TARGET_SILENT: u8 = 0x0B;

/// The devices of one link, one request at a time.
pub struct Modbus {
    session: Session,
    cost: LinkCost,
    learned: HashMap<DeviceIndex, Learned>,
    suns: HashMap<DeviceIndex, Sun>,
    hurry: Option<Hurry>,
    /// Points that the last read did not come to.
    left: Vec<PointIndex>,
}

impl Modbus {
    /// A driver for a link. Does no I/O; the first read connects.
    #[must_use]
    pub fn new(transport: &Transport, clock: Clock) -> Self {
        Self {
            session: Session::new(transport, clock),
            cost: LinkCost::on(transport),
            learned: HashMap::new(),
            suns: HashMap::new(),
            hurry: None,
            left: Vec::new(),
        }
    }

    /// The same with an ear at its link, from the next connection on.
    pub(crate) fn heard_by(self, ear: Arc<dyn Ear>) -> Self {
        Self { session: self.session.heard_by(ear), ..self }
    }

    /// The same, but it plans as if requests cost this much: what is recorded on one kind of link is replayed on another.
    pub(crate) fn with_cost(self, cost: LinkCost) -> Self {
        Self { cost, ..self }
    }

    async fn poll(&mut self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<Transaction> {
        self.left.clear();
        let mut poll = Poll::new(index, device);
        let readable: Vec<_> = points.iter().filter_map(|point| poll.read_of(*point).map(|read| (*point, read))).collect();
        let others: Vec<_> = points.iter().filter(|point| poll.read_of(**point).is_none()).copied().collect();
        if !others.is_empty() {
            poll.bad(self.session.now_ms(), &others, Reason::Unavailable);
        }
        let now_ms = self.session.now_ms();
        let learned = self.learned.entry(index).or_default();
        poll.probing = learned.is_dead();
        let plan = learned.plan(&readable, &device.profile.modbus, &self.cost, now_ms);
        for request in plan.requests {
            // What is not asked any more costs no time, and without a reading nothing would get on.
            let may_end = poll.given_up.is_none() && !poll.transactions.is_empty();
            if !self.left.is_empty() || may_end && self.hurry.as_ref().is_some_and(|hurry| hurry()) {
                self.left.extend(&request.points);
                continue;
            }
            if let Heard::Refused(at_ms, code) = self.exchange(&mut poll, &request).await {
                self.refused(&mut poll, &request, at_ms, code).await;
            }
        }
        for (point, code) in plan.refused {
            poll.bad(now_ms, &[point], Reason::Exception(code));
        }
        if !readable.is_empty() {
            let learned = self.learned.entry(index).or_default();
            learned.polled(poll.answered);
            learned.learn(&poll.found, poll.gave_something, now_ms);
        }
        poll.transactions
    }

    /// Asks and notes the readings, but for an exception, which it gives back.
    async fn exchange(&mut self, poll: &mut Poll<'_>, request: &Request) -> Heard {
        if let Some(reason) = poll.given_up {
            poll.bad(self.session.now_ms(), &request.points, reason);
            return Heard::Nothing;
        }
        let limits = &poll.device.profile.modbus;
        let start = Instant::now();
        let Exchange { at_ms, result } = self.session.ask(poll.device.unit, &question::read(request), limits.min_gap).await;
        let learned = self.learned.entry(poll.index).or_default();
        learned.silent(&request.points, result == Err(Failure::Timeout));
        poll.heard(&result);
        match result {
            Ok(Answer::Words(words)) => {
                learned.answered(request);
                poll.good(at_ms, request, &words);
                return Heard::Words;
            }
            Ok(Answer::Refused(code)) => return Heard::Refused(at_ms, code),
            // Not the answer to a read; the session lets none of these through.
            Ok(Answer::Done | Answer::Identity(_) | Answer::ServerId(_)) => poll.bad(at_ms, &request.points, Reason::Malformed),
            Err(failure) => {
                poll.failed(failure, start.elapsed(), self.session.timeout());
                poll.bad(at_ms, &request.points, failure.reason());
            }
        }
        Heard::Nothing
    }

    /// The device answered with an exception: smaller requests may do better, or it is all that it has to say.
    async fn refused(&mut self, poll: &mut Poll<'_>, request: &Request, at_ms: i64, code: u8) {
        let illegal = matches!(code, ILLEGAL_ADDRESS | ILLEGAL_VALUE);
        if illegal && request.points.len() > 1 && self.learned.entry(poll.index).or_default().may_look_closer(at_ms) {
            return self.halve(poll, request, code).await;
        }
        if matches!(code, GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_SILENT) {
            poll.given_up = Some(Reason::Exception(code));
        }
        poll.bad(at_ms, &request.points, Reason::Exception(code));
        if let ([point], true) = (request.points.as_slice(), illegal) {
            poll.found.push(Found::Point(*point, code));
        }
    }

    /// Asks for each half of what was refused, and on until what is refused is one point: of many points that is found with a few requests.
    fn halve<'p>(&'p mut self, poll: &'p mut Poll<'_>, request: &'p Request, code: u8) -> Pin<Box<dyn Future<Output = ()> + Send + 'p>> {
        Box::pin(async move {
            let reads: Vec<_> = request.points.iter().filter_map(|p| poll.read_of(*p).map(|read| (*p, read))).collect();
            let (left, right) = reads.split_at(reads.len() / 2);
            let (mut both_given, mut edges) = (true, [Edges::default(); 2]);
            for (half, edges) in [left, right].into_iter().zip(&mut edges) {
                let before = poll.found.len();
                for part in plan::plan(half, &poll.device.profile.modbus, &self.cost) {
                    match self.exchange(poll, &part).await {
                        Heard::Words => {}
                        Heard::Nothing => both_given = false,
                        Heard::Refused(at_ms, code) => {
                            both_given = false;
                            self.refused(poll, &part, at_ms, code).await;
                        }
                    }
                }
                *edges = Edges::of(poll.found.get(before..).unwrap_or_default());
            }
            let (Some((_, before)), Some((_, behind))) = (left.last(), right.first()) else { return };
            let over_gap = behind.first() > before.last().saturating_add(1);
            // Neither half explains it: what lies between them does.
            if both_given || Edges::make_likely(edges, over_gap) {
                poll.found.push(Found::Edge { table: request.table, at: behind.first(), over_gap, code });
            }
        })
    }
}

/// What came of a request.
enum Heard {
    Words,
    /// When, and the exception.
    Refused(i64, u8),
    /// No answer, or none of use; it is noted.
    Nothing,
}

impl Driver for Modbus {
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>> {
        Box::pin(async move {
            if device.profile.is_sunspec() {
                self.poll_sunspec(index, device, points).await
            } else {
                self.poll(index, device, points).await
            }
        })
    }

    fn series(&self, index: DeviceIndex, device: &Device, points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        if device.profile.is_sunspec() { self.known_series(index, device, points) } else { super::plain(points) }
    }

    fn hurry_when(&mut self, hurry: Hurry) {
        self.hurry = Some(hurry);
    }

    fn left(&mut self) -> Vec<PointIndex> {
        std::mem::take(&mut self.left)
    }

    fn write<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        write: &'a Write,
    ) -> Pin<Box<dyn Future<Output = Written> + Send + 'a>> {
        Box::pin(self.write_point(index, device, write))
    }

    fn waiting(&self, device: &Device) -> Waiting {
        self.session.waiting(device.unit)
    }

    fn recall(&mut self, index: DeviceIndex, lessons: &Lessons) {
        let now_ms = self.session.now_ms();
        self.learned.entry(index).or_default().recall(lessons, now_ms);
    }

    fn learned(&mut self, index: DeviceIndex) -> Option<Lessons> {
        let now_ms = self.session.now_ms();
        self.learned.get_mut(&index)?.news(now_ms)
    }
}

/// One poll of one device as far as it has come.
struct Poll<'a> {
    index: DeviceIndex,
    device: &'a Device,
    /// Time spent on requests that gave nothing.
    lost: Duration,
    /// The device was dead and has not answered yet.
    probing: bool,
    /// It gave an answer of its own.
    answered: bool,
    /// It gave registers.
    gave_something: bool,
    /// What it refused.
    found: Vec<Found>,
    /// Why the rest of the poll is not tried.
    given_up: Option<Reason>,
    transactions: Vec<Transaction>,
}

impl<'a> Poll<'a> {
    fn new(index: DeviceIndex, device: &'a Device) -> Self {
        let (found, transactions, lost) = (Vec::new(), Vec::new(), Duration::ZERO);
        Self { index, device, lost, probing: false, answered: false, gave_something: false, found, given_up: None, transactions }
    }

    fn read_of(&self, point: PointIndex) -> Option<&'a ModbusRead> {
        match &self.device.profile.points.get(point.0)?.read {
            Read::Modbus(read) => Some(read),
            Read::SunSpec(_) | Read::Host(_) | Read::Snmp(_) | Read::Trap(_) | Read::Bacnet(_) | Read::Line(_) => None,
        }
    }

    /// Damaged as it may be, a reply of the right device shows that it lives; a TCP gateway's word that it does not is none.
    fn heard(&mut self, result: &Result<Answer, Failure>) {
        match result {
            Ok(Answer::Refused(GATEWAY_PATH_UNAVAILABLE | GATEWAY_TARGET_SILENT)) => {}
            Ok(_) | Err(Failure::BadCrc) => (self.answered, self.probing) = (true, false),
            Err(_) => {}
        }
    }

    /// The rest is not tried where nobody answers, nor by a device that was dead and says nothing of use, nor once failures of any kind have cost as much as one timeout: the other
    /// devices of the link wait meanwhile.
    fn failed(&mut self, failure: Failure, took: Duration, timeout: Duration) {
        self.lost += took;
        if self.probing || matches!(failure, Failure::Timeout | Failure::Unreachable) || self.lost >= timeout {
            self.given_up = Some(failure.reason());
        }
    }

    fn good(&mut self, at_ms: i64, request: &Request, words: &[u16]) {
        self.gave_something = true;
        let readings = request.points.iter().map(|point| reading(*point, self.sample(request, *point, words))).collect();
        self.transactions.push(Transaction { device: self.index, at_ms, readings });
    }

    fn bad(&mut self, at_ms: i64, points: &[PointIndex], reason: Reason) {
        let readings = points.iter().map(|point| reading(*point, Sample::Bad(reason))).collect();
        self.transactions.push(Transaction { device: self.index, at_ms, readings });
    }

    fn sample(&self, request: &Request, point: PointIndex, words: &[u16]) -> Sample {
        let own = self.read_of(point).and_then(|read| {
            let words = read.in_reply(request.address, words)?;
            Some(read.decode(words, self.device.profile.points.get(point.0)?.range))
        });
        own.unwrap_or(Sample::Bad(Reason::Malformed))
    }
}

fn reading(point: PointIndex, sample: Sample) -> Reading {
    Reading { point, row: None, sample }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
