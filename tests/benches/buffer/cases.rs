//! The cases: each runs in a process of its own, so that memory, CPU time and bytes written are those of one store and one case.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use pattoo_gateway::batch::Closed;
use pattoo_gateway::buffer::{self, Buffer, disk::Disk};

use super::batches::{BATCHES, batches, limits};
use super::segments::Segments;
use super::usage::{Figures, Start, taken_bytes};

/// Batches of a commit, of a read and of a release, where it is not one.
pub(crate) const GROUP: u64 = 100;

/// How often disk use is looked at, in groups.
const LOOK_EVERY: u64 = 10;

/// Groups that are stored between what is promised and the kill.
const GOES_ON: u64 = 50;

/// What the cases need of a store.
trait Queue: Sized {
    fn open(folder: &Path) -> Result<Self>;
    /// Stores them in one commit; they are on stable storage when it returns.
    fn put(&mut self, batches: &[&Closed]) -> Result<()>;
    fn get(&mut self, number: u64) -> Result<Vec<u8>>;
    fn release(&mut self, through: u64) -> Result<()>;
    /// First and one after the last that waits.
    fn waiting(&self) -> (u64, u64);
}

struct Pattoo {
    buffer: Buffer<Disk>,
    now_ms: i64,
}

impl Queue for Pattoo {
    fn open(folder: &Path) -> Result<Self> {
        // Time stands still: no batch gets too old.
        let now_ms = 1_790_000_000_000;
        let (buffer, notices) = buffer::open(folder, limits()?, now_ms)?;
        ensure!(notices.is_empty(), "{notices:?}");
        Ok(Self { buffer, now_ms })
    }

    fn put(&mut self, batches: &[&Closed]) -> Result<()> {
        if let [closed] = batches {
            self.buffer.keep(self.now_ms, closed)?;
            return Ok(());
        }
        for closed in batches {
            self.buffer.append(self.now_ms, closed)?;
        }
        Ok(self.buffer.commit()?)
    }

    fn get(&mut self, number: u64) -> Result<Vec<u8>> {
        Ok(self.buffer.get(number, self.now_ms)?.with_context(|| format!("batch {number} is not there"))?.body)
    }

    fn release(&mut self, through: u64) -> Result<()> {
        self.buffer.release(through)?;
        let notices = self.buffer.take_notices();
        ensure!(notices.is_empty(), "{notices:?}");
        Ok(())
    }

    fn waiting(&self) -> (u64, u64) {
        let stats = self.buffer.stats();
        (stats.oldest, stats.next)
    }
}

impl Queue for Segments {
    fn open(folder: &Path) -> Result<Self> {
        Self::open(folder)
    }

    fn put(&mut self, batches: &[&Closed]) -> Result<()> {
        self.append(batches.iter().map(|closed| closed.body.as_slice()))
    }

    fn get(&mut self, number: u64) -> Result<Vec<u8>> {
        self.get(number)
    }

    fn release(&mut self, through: u64) -> Result<()> {
        self.release(through)
    }

    fn waiting(&self) -> (u64, u64) {
        (self.oldest, self.next)
    }
}

/// Runs a case and prints its figures as one line of JSON. `words` are its name, the store, the folder and its numbers.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let [case, store, folder, numbers @ ..] = words else { bail!("a case needs a name, a store and a folder") };
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
    let figures = match store.as_str() {
        "pattoo" => Case::<Pattoo>::new(Path::new(folder))?.run(case, &numbers)?,
        "segments" => Case::<Segments>::new(Path::new(folder))?.run(case, &numbers)?,
        other => bail!("no store {other:?}"),
    };
    say(&serde_json::to_string(&figures)?)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

struct Case<'a, Q> {
    folder: &'a Path,
    batches: Vec<Closed>,
    figures: Figures,
    store: std::marker::PhantomData<Q>,
}

impl<'a, Q: Queue> Case<'a, Q> {
    fn new(folder: &'a Path) -> Result<Self> {
        Ok(Self { folder, batches: batches()?, figures: Figures::new(), store: std::marker::PhantomData })
    }

    fn run(mut self, case: &str, numbers: &[u64]) -> Result<Figures> {
        // What memory is before there is a store.
        Start::now()?.stop("bare_", &mut self.figures)?;
        match (case, numbers) {
            ("insert", [batches, group]) => self.insert(*batches, *group)?,
            ("drain", [batches, backlog]) => self.drain(*batches, *backlog)?,
            ("fill", [batches]) => self.fill(*batches)?,
            ("open", []) => self.open()?,
            ("read", [promised]) => self.read(*promised)?,
            _ => bail!("no case {case:?} with {numbers:?}"),
        }
        Ok(self.figures)
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.into(), value);
    }

    /// The batch that has this number.
    fn batch(&self, number: u64) -> Result<&Closed> {
        self.batches.get(number as usize % BATCHES).context("no batches")
    }

    fn put(&self, store: &mut Q, count: u64) -> Result<()> {
        let (_, next) = store.waiting();
        let group: Vec<&Closed> = (next..next + count).map(|number| self.batch(number)).collect::<Result<_>>()?;
        store.put(&group)?;
        ensure!(store.waiting().1 == next + count, "a commit of {count} at {next} came to {:?}", store.waiting());
        Ok(())
    }

    /// Reads the oldest, proves that they are what was stored, and releases them.
    fn take(&self, store: &mut Q, count: u64) -> Result<u64> {
        let (oldest, next) = store.waiting();
        let through = next.min(oldest + count) - 1;
        for number in oldest..=through {
            ensure!(store.get(number)? == self.batch(number)?.body, "batch {number} came back changed");
        }
        store.release(through)?;
        Ok(through + 1 - oldest)
    }

    fn insert(&mut self, batches: u64, group: u64) -> Result<()> {
        let mut store = Q::open(self.folder)?;
        let start = Start::now()?;
        for _ in 0..batches / group {
            self.put(&mut store, group)?;
        }
        start.stop("", &mut self.figures)?;
        self.figure("disk", taken_bytes(self.folder) as f64);
        Ok(())
    }

    /// As many come in as go out, and so many wait, until so many have come in; then the rest goes out.
    fn drain(&mut self, batches: u64, backlog: u64) -> Result<()> {
        let mut store = Q::open(self.folder)?;
        let start = Start::now()?;
        let (mut looks, mut sum, mut peak, mut peak_disk) = (0_u64, 0.0, 0.0_f64, 0.0_f64);
        let payload: f64 = self.batches.iter().map(|closed| closed.body.len() as f64).sum::<f64>() / BATCHES as f64;
        for group in 1..=batches / GROUP {
            self.put(&mut store, GROUP)?;
            let (oldest, next) = store.waiting();
            if next - oldest > backlog {
                if group % LOOK_EVERY == 0 {
                    let disk = taken_bytes(self.folder) as f64;
                    let ratio = disk / (payload * (next - oldest) as f64);
                    (looks, sum, peak, peak_disk) = (looks + 1, sum + ratio, peak.max(ratio), peak_disk.max(disk));
                }
                self.take(&mut store, GROUP)?;
            }
        }
        start.stop("", &mut self.figures)?;
        while store.waiting().0 < store.waiting().1 {
            self.take(&mut store, GROUP)?;
        }
        self.figure("looks", looks as f64);
        self.figure("mean_ratio", sum / looks as f64);
        self.figure("peak_ratio", peak);
        self.figure("peak_disk", peak_disk);
        self.figure("drained_disk", taken_bytes(self.folder) as f64);
        Ok(())
    }

    /// Stores so many; then says so and goes on storing until it is killed, or stops cleanly when its input ends.
    fn fill(&mut self, batches: u64) -> Result<()> {
        let mut store = Q::open(self.folder)?;
        let start = Start::now()?;
        while store.waiting().1 <= batches {
            self.put(&mut store, GROUP)?;
        }
        start.stop("", &mut self.figures)?;
        self.figure("disk", taken_bytes(self.folder) as f64);
        say(&serde_json::to_string(&self.figures)?)?;
        if std::io::stdin().lock().lines().next().is_some() {
            for _ in 0..GOES_ON {
                self.put(&mut store, GROUP)?;
            }
            say("still storing")?;
            loop {
                self.put(&mut store, GROUP)?;
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        let start = Start::now()?;
        let mut store = Q::open(self.folder)?;
        start.stop("", &mut self.figures)?;
        let (oldest, next) = store.waiting();
        ensure!(store.get(oldest)? == self.batch(oldest)?.body, "the oldest batch came back changed");
        self.figure("batches", (next - oldest) as f64);
        Ok(())
    }

    /// Reads all, and counts those of the promised ones that are there.
    fn read(&mut self, promised: u64) -> Result<()> {
        let mut store = Q::open(self.folder)?;
        let start = Start::now()?;
        let (first, mut count) = (store.waiting().0, 0);
        while store.waiting().0 < store.waiting().1 {
            count += self.take(&mut store, GROUP)?;
        }
        start.stop("", &mut self.figures)?;
        self.figure("batches", count as f64);
        // They came without a hole, or this would not be reached.
        self.figure("kept", (first + count - 1).min(promised).saturating_sub(first - 1) as f64);
        self.figure("disk", taken_bytes(self.folder) as f64);
        Ok(())
    }
}
