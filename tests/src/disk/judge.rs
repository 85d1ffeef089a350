//! Whether a buffer keeps what it promised, after whatever was done to its disk.
//!
//! Knows the promises from the lines of a [`Life`](super::life::Life), and asks the real buffer for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, ensure};
use pattoo_gateway::batch::MAX_CARRIED_GAPS;
use pattoo_gateway::buffer::disk::Disk;
use pattoo_gateway::buffer::{self, Buffer, Notice, Stats};
use pattoo_wire::GapReason;

use super::life::{Content, Gap, Life, Mark, closed, content, now_ms};

/// Number of the batch that is stored after the fault.
const AFTERWARDS: u64 = 1_000_000;

/// What was promised up to some moment.
#[derive(Debug, Clone, Default)]
pub struct Book {
    stream: Option<u64>,
    /// Batches that were ever tried, with their readings.
    tried: BTreeMap<u64, u64>,
    /// Batches that were promised to be kept, by their number in the stream.
    kept: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
    aside: u64,
    /// What the server has.
    server: BTreeMap<u64, Content>,
    released: u64,
    /// What the buffer noticed.
    pub notices: Vec<String>,
    /// Whether it lived to its end.
    pub done: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Batches that were promised and could be read.
    pub batches: u64,
    /// Readings that were promised.
    pub readings: u64,
    /// Those of them that are on record as gaps.
    pub in_gaps: u64,
    /// Batches that were damaged and are on record as such.
    pub damaged: u64,
    /// Buffers that were set aside.
    pub set_aside: u64,
    /// Buffers that were judged.
    pub buffers: u64,
}

impl Verdict {
    /// Counts both together.
    pub fn add(&mut self, other: Self) {
        let Self { batches, readings, in_gaps, damaged, set_aside, buffers } = other;
        self.batches += batches;
        self.readings += readings;
        self.in_gaps += in_gaps;
        self.damaged += damaged;
        self.set_aside += set_aside;
        self.buffers += buffers;
    }
}

impl Book {
    /// Takes in the lines of a life.
    ///
    /// # Errors
    /// A line that is none, or that contradicts an earlier one.
    pub fn read(&mut self, lines: &str) -> Result<()> {
        lines.lines().try_for_each(|line| self.note(serde_json::from_str(line).with_context(|| line.to_owned())?))
    }

    fn note(&mut self, mark: Mark) -> Result<()> {
        match mark {
            Mark::Opened { stream } => {
                let known = *self.stream.get_or_insert(stream);
                ensure!(known == stream || self.kept.is_empty(), "the stream changed from {known} to {stream}");
                self.stream = Some(stream);
            }
            Mark::Keeping { attempt, readings } => {
                self.tried.insert(attempt, readings);
            }
            Mark::Kept { attempt, seq } => {
                let before = self.kept.insert(seq, attempt);
                ensure!(before.is_none(), "number {seq} was given to the batches {before:?} and {attempt}");
            }
            Mark::Refused { attempt, .. } => {
                self.refused.insert(attempt);
            }
            Mark::Delivered(content) => self.arrive(content)?,
            Mark::Releasing(through) => self.released = self.released.max(through),
            Mark::Noticed(notice) => self.notices.push(notice),
            Mark::Failed(_) | Mark::NotOpened(_) => {}
            Mark::Anew(stream) => {
                // What a disk that refused left of a beginning holds no promise, and costs nothing where it is put away.
                self.aside += u64::from(!self.kept.is_empty());
                self.stream = Some(stream);
                self.kept.clear();
                self.server.clear();
                self.released = 0;
            }
            Mark::Done => self.done = true,
        }
        Ok(())
    }

    /// What the server does: a number that comes again must be the same batch.
    fn arrive(&mut self, content: Content) -> Result<()> {
        if let Some(before) = self.server.get(&content.seq) {
            ensure!(*before == content, "batch {} came twice, with other content: {before:?} and {content:?}", content.seq);
        }
        self.server.insert(content.seq, content);
        Ok(())
    }

    /// How many batches it was promised would be kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many batches it was told could not be kept.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Opens the buffer in a folder, takes all it has to the server, and counts.
    ///
    /// # Errors
    /// A promise that was broken. `damage`: bytes of the folder were changed, so that batches may be damaged, if that is on record.
    pub fn judge(&self, life: &Life, damage: bool) -> Result<Verdict> {
        let guarded = catch_unwind(AssertUnwindSafe(|| self.judge_unguarded(life, damage)));
        guarded.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Err(anyhow!("the buffer panicked: {}", text.unwrap_or_default()))
        })
    }

    fn judge_unguarded(&self, life: &Life, damage: bool) -> Result<Verdict> {
        ensure!(damage || self.aside == 0, "the buffer was set aside");
        let mut book = self.clone();
        let at_ms = now_ms(self.tried.keys().next_back().map_or(0, |last| last + 1));
        let (mut buffer, notices) = buffer::open(&life.folder, life.limits(), at_ms).context("open")?;
        let set_aside = notices.iter().find_map(|notice| match notice {
            Notice::SetAside { to, .. } => Some(to.clone()),
            _ => None,
        });
        let stats = buffer.stats();
        if let Some(to) = &set_aside {
            ensure!(damage, "the buffer was set aside: {notices:?}");
            ensure!(to.is_dir(), "{} was set aside and is not there", to.display());
            ensure!(Some(stats.stream) != self.stream && stats.batches == 0, "a buffer that was set aside goes on with its old stream");
            goes_on(life, buffer, &[])?;
            return Ok(Verdict { set_aside: 1, buffers: 1, ..Verdict::default() });
        }
        ensure!(self.kept.is_empty() || Some(stats.stream) == self.stream, "stream {:?} is gone: {notices:?}", self.stream);
        let last_kept = self.kept.keys().next_back().copied().unwrap_or_default();
        ensure!(stats.next > last_kept, "{last_kept} was kept, and the next number is {}: {notices:?}", stats.next);

        for seq in stats.oldest..stats.next {
            let stored = buffer.get(seq, at_ms).with_context(|| format!("get {seq}"))?;
            let stored = stored.with_context(|| format!("batch {seq} of {stats:?} is not there: {notices:?}"))?;
            let schema = buffer.schema(stored.schema).with_context(|| format!("schema of {seq}"))?;
            let mut found = content(&stored, schema.as_deref())?;
            if let Some(before) = book.server.get(&seq).filter(|_| damage && found.attempt.is_none()) {
                // The server has it already; that it is damaged here is of no consequence.
                found = before.clone();
            }
            book.arrive(found)?;
        }
        let waiting: Vec<Gap> = buffer.pending_gaps().iter().map(Gap::from).collect();
        let verdict = book.count(&waiting, &stats, damage).with_context(|| format!("{stats:?} {notices:?}"))?;
        buffer.release(stats.next).context("release")?;
        goes_on(life, buffer, &waiting)?;
        Ok(verdict)
    }

    /// Whether every reading that was promised is at the server, once, or in a gap record.
    fn count(&self, waiting: &[Gap], stats: &Stats, damage: bool) -> Result<Verdict> {
        let gaps = self.gaps(waiting)?;
        self.come_once()?;
        let mut verdict = Verdict { buffers: 1, set_aside: self.aside, ..Verdict::default() };
        let mut missing = 0;
        for seq in 1..stats.next {
            let reasons: Vec<u8> = gaps.iter().filter(|gap| gap.first <= seq && seq <= gap.last).map(|gap| gap.reason).collect();
            let damaged = reasons.contains(&GapReason::Damaged.code());
            ensure!(damage || !damaged, "batch {seq} is damaged");
            verdict.damaged += u64::from(damaged);
            // A gap record that was in a damaged batch is gone. The server sees by the numbers that the batch will not come, and says so.
            let on_record = !reasons.is_empty() || (damage && seq < stats.oldest);
            let arrived = self.server.get(&seq).map(|content| content.readings);
            ensure!(arrived.is_some() || on_record, "number {seq} is neither there nor on record");
            let Some(attempt) = self.kept.get(&seq) else { continue };
            let (arrived, readings) = (arrived.unwrap_or_default(), self.readings_of(*attempt));
            ensure!(arrived <= readings, "batch {seq} had {readings} readings and has {arrived}");
            ensure!(arrived == readings || on_record, "batch {seq} had {readings} readings, has {arrived}, and nothing says so");
            verdict.batches += u64::from(arrived > 0);
            verdict.readings += readings;
            missing += readings - arrived;
        }
        // What was given up while its acknowledgement was on its way has a record of its own, and is not missing.
        let has_all = |gap: &Gap| (gap.first..=gap.last).all(|seq| self.server.contains_key(&seq));
        verdict.in_gaps = gaps.iter().filter(|gap| !has_all(gap)).map(|gap| gap.readings).sum();
        if damage {
            // How many readings were in what is damaged may be unknown; what a record says is never too much.
            for gap in gaps {
                let most: u64 = self.kept.range(gap.first..=gap.last).map(|(_, attempt)| self.readings_of(*attempt)).sum();
                let untold = self.kept.range(gap.first..=gap.last).count() as u64 <= gap.last - gap.first;
                ensure!(gap.readings <= most || untold, "{gap:?} is for {most} readings at most");
            }
        } else {
            // Those of a batch that was refused and is there all the same may have been dropped later.
            let refused: u64 = self.refused.iter().map(|attempt| self.readings_of(*attempt)).sum();
            let right = (missing..=missing + refused).contains(&verdict.in_gaps);
            ensure!(right, "{missing} readings did not arrive, {} are on record: {gaps:?}", verdict.in_gaps);
        }
        Ok(verdict)
    }

    fn readings_of(&self, attempt: u64) -> u64 {
        self.tried.get(&attempt).copied().unwrap_or_default()
    }

    /// All gap records that arrived or wait. The same may come again, never with other content.
    fn gaps<'a>(&'a self, waiting: &'a [Gap]) -> Result<Vec<&'a Gap>> {
        let mut gaps: BTreeMap<(u64, u8), &Gap> = BTreeMap::new();
        for gap in self.server.values().flat_map(|content| &content.gaps).chain(waiting) {
            let before = gaps.insert((gap.first, gap.reason), gap);
            ensure!(before.is_none_or(|before| before == gap), "gap record {gap:?} came before as {before:?}");
        }
        Ok(gaps.into_values().collect())
    }

    /// No readings came under two numbers, and those of each number are the promised ones.
    fn come_once(&self) -> Result<()> {
        let mut attempts = BTreeSet::new();
        for content in self.server.values() {
            let Some(attempt) = content.attempt else { continue };
            ensure!(attempts.insert(attempt), "the readings of batch {attempt} came under two numbers");
            ensure!(self.tried.contains_key(&attempt), "batch {attempt} was never made");
            if let Some(kept) = self.kept.get(&content.seq) {
                ensure!(*kept == attempt, "number {} was promised to batch {kept} and has batch {attempt}", content.seq);
            }
        }
        Ok(())
    }
}

/// A buffer that came through must work: it takes a batch under a new number, with the gap records that waited, and has it after
/// being opened again.
fn goes_on(life: &Life, mut buffer: Buffer<Disk>, waiting: &[Gap]) -> Result<()> {
    let (batch, before, at_ms) = (closed(AFTERWARDS, 3)?, buffer.stats(), now_ms(AFTERWARDS));
    let seq = buffer.keep(at_ms, &batch).context("keep afterwards")?;
    ensure!(seq == before.next, "after {before:?} came number {seq}");
    drop(buffer);
    let (mut buffer, notices) = buffer::open(&life.folder, life.limits(), at_ms).context("open again")?;
    let stats = buffer.stats();
    ensure!((stats.stream, stats.next) == (before.stream, seq + 1), "{before:?} became {stats:?}: {notices:?}");
    let stored = buffer.get(seq, at_ms)?.with_context(|| format!("batch {seq} of {stats:?} is gone"))?;
    let found = content(&stored, buffer.schema(stored.schema)?.as_deref())?;
    ensure!((found.attempt, found.readings) == (Some(AFTERWARDS), 3), "{found:?} was stored as 3 readings of batch {AFTERWARDS}");
    let carried = waiting.len().min(MAX_CARRIED_GAPS);
    ensure!(found.gaps.get(..carried) == waiting.get(..carried), "{waiting:?} waited, {found:?} has them not");
    Ok(())
}
