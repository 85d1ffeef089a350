//! Between the uplink and the links: gives commands to the [`Desk`], keeps its records, orders its writes, and sends its answers. A shell
//! file: clocks, channels and log.

use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{CommandResult, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::orders::{Answer, Order, WriteOrder};
use super::turns::Desks;
use crate::audit::Audit;
use crate::clock;
use crate::command::desk::{Act, Begin, Desk, End, Now, SAFE_VALUE};
use crate::command::safe::Safes;
use crate::command::{Record, Written};
use crate::config::Config;
use crate::timebase::State;
use crate::uplink::mqtt::Counter;

/// How often it is looked whether a safe value is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Answers of links that wait.
pub(super) const MAX_ANSWERS: usize = 64;

/// Takes the commands of a gateway.
pub(super) struct Clerk {
    config: Arc<Config>,
    desk: Desk,
    safes: Safes,
    /// Away while it is written to, on another thread.
    audit: Option<Audit>,
    /// Whether it was said that it cannot be opened.
    told: bool,
    /// Where to order for each device.
    links: Arc<Desks>,
    time: watch::Receiver<State>,
    counter: Counter,
}

impl Clerk {
    /// Opens the audit record. Without it nothing is written but safe values.
    pub(super) fn new(config: Arc<Config>, links: Arc<Desks>, time: watch::Receiver<State>, counter: Counter) -> Self {
        let (desk, safes) = (Desk::new(Arc::clone(&config)), Safes::of(&config.commands));
        let mut clerk = Self { config, desk, safes, audit: None, told: false, links, time, counter };
        clerk.open();
        clerk
    }

    /// Opens the audit record, if it is not open, and remembers what it holds.
    fn open(&mut self) {
        if self.audit.is_some() {
            return;
        }
        match Audit::open(&self.config.commands.audit) {
            Ok((audit, held)) => {
                if held.damaged > 0 {
                    warn!(lines = held.damaged, path = %self.config.commands.audit.display(), "the audit record has lines that cannot be read");
                }
                (self.audit, self.told) = (Some(audit), false);
                for end in self.desk.restore(held.records, self.now()) {
                    self.keep_now(&end.record);
                    self.send(end.result);
                }
            }
            Err(error) => {
                // Each look tries again.
                if !std::mem::replace(&mut self.told, true) {
                    error!(%error, "commands are refused until it can be kept");
                }
            }
        }
    }

    /// Until nobody sends commands any more, which is at the stop of the uplink, or told to stop.
    pub(super) async fn run(mut self, mut answers: mpsc::Receiver<Answer>, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(answer) = answers.recv() => self.ended(answer).await,
                message = self.counter.commands.recv() => match message {
                    Some(message) => self.receive(&message).await,
                    None => return,
                },
                _ = looks.tick() => self.look().await,
                () = stopped(&mut stop) => break,
            }
        }
        // What the links still write has an end; they are gone after it.
        while let Some(answer) = answers.recv().await {
            self.ended(answer).await;
        }
    }

    fn now(&self) -> Now {
        let boot_ms = clock::boot_ms();
        Now { boot_ms, utc_ms: self.time.borrow().utc_ms(boot_ms), system_ms: clock::now_ms() }
    }

    async fn receive(&mut self, message: &[u8]) {
        match self.desk.receive(message, self.now()) {
            Act::Answer(result) => {
                info!(target: "audit", id = result.id, device = result.device, point = result.point, outcome = %result.outcome, detail = result.detail, "not written");
                self.send(result);
            }
            Act::Begin(begin) => self.begin(*begin, false).await,
            Act::Wait => {}
        }
    }

    /// Keeps the record, then orders the write. A safe value is ordered also where the record cannot be kept.
    async fn begin(&mut self, begin: Begin, safe: bool) {
        let Begin { ticket, record, device, write, until_ms } = begin;
        // The place is taken first, so that what is recorded as begun is begun.
        let place = self.links.of(device).cloned().and_then(|link| link.try_reserve_owned().ok());
        let Some(place) = place else {
            return self.not_begun(ticket, Outcome::Busy, "too many writes wait for this link");
        };
        if let Record::Begun { command, .. } = &record {
            let expected = command.expected.as_ref().map(ToString::to_string);
            info!(target: "audit", id = command.id, by = command.by, device = command.device, point = command.point, value = %command.value, expected, "begun");
        }
        if let Err(why) = self.keep(record).await
            && !safe
        {
            return self.not_begun(ticket, Outcome::NotRecorded, &why);
        }
        place.send(Box::new(Order::Write(WriteOrder { ticket, device, write, until_ms })));
    }

    fn not_begun(&mut self, ticket: u64, outcome: Outcome, why: &str) {
        if let Some(result) = self.desk.not_begun(ticket, outcome, why, self.now()) {
            info!(target: "audit", id = result.id, device = result.device, point = result.point, %outcome, detail = why, "not written");
            self.send(result);
        }
    }

    async fn ended(&mut self, Answer { ticket, written }: Answer) {
        let Some(End { result, record, safe }) = self.desk.ended(ticket, &written, self.now()) else { return };
        let (old, value) = (result.old.as_ref().map(ToString::to_string), result.value.as_ref().map(ToString::to_string));
        info!(target: "audit", id = result.id, device = result.device, point = result.point, outcome = %result.outcome, old, value, detail = result.detail, "ended");
        // It has been said in the log; the beginning is on record, so that it is not done again.
        let _ = self.keep(record).await;
        if let Some(index) = safe {
            self.safe_ended(index, &written);
        }
        self.send(result);
    }

    fn safe_ended(&mut self, index: usize, written: &Written) {
        let good = written.outcome == Outcome::Done;
        self.safes.ended(index, clock::boot_ms(), *self.counter.reached.borrow(), good);
        if !good {
            error!(outcome = %written.outcome, detail = written.detail, "a safe value could not be written; tried again while the server is out of reach");
        }
    }

    /// Writes the safe values that are due.
    async fn look(&mut self) {
        self.open();
        let (now, reached_ms) = (self.now(), *self.counter.reached.borrow());
        for due in self.safes.due(now.boot_ms, reached_ms) {
            let index = due.index;
            warn!(out_of_reach_ms = now.boot_ms - reached_ms, "the server is out of reach: a point gets its {SAFE_VALUE}");
            let begin = self.desk.safe(due, now);
            let ticket = begin.ticket;
            self.begin(begin, true).await;
            if self.desk.place(ticket).is_none() {
                // Its link had no room; the next look tries again after a while.
                self.safes.ended(index, now.boot_ms, reached_ms, false);
            }
        }
    }

    /// Puts a record on stable storage, on a thread that may wait for the disk.
    async fn keep(&mut self, record: Record) -> Result<(), String> {
        self.open();
        let Some(mut audit) = self.audit.take() else { return Err("the audit record cannot be opened".to_owned()) };
        let kept = tokio::task::spawn_blocking(move || {
            let kept = audit.append(&record);
            (audit, kept)
        });
        match kept.await {
            Ok((audit, Ok(()))) => {
                self.audit = Some(audit);
                Ok(())
            }
            // It is opened again for the next record.
            Ok((_, Err(error))) => {
                error!(%error, "a write cannot be recorded");
                Err(error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn keep_now(&mut self, record: &Record) {
        if let Some(Err(error)) = self.audit.as_mut().map(|audit| audit.append(record)) {
            error!(%error, "a write cannot be recorded");
        }
    }

    /// Hands the result to the uplink, which keeps it until the broker has it.
    fn send(&self, result: CommandResult) {
        // Texts and numbers only: cannot fail.
        let message = serde_json::to_vec(&result).unwrap_or_default();
        if self.counter.results.try_send(message).is_err() {
            warn!(id = result.id, outcome = %result.outcome, "the answer to a command has no place and is dropped; the same command is answered again");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone has the same meaning as one that says so.
    let _ = stop.wait_for(|stop| *stop).await;
}
