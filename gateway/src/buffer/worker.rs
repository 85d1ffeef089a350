//! The thread that owns the buffer, and the handle that others use. A shell file: blocks, asks the clock and logs.
//!
//! Spawns nothing: `run` gives [`serve`] a thread of its own, because every commit waits for the disk.

use pattoo_wire::SchemaId;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Level, debug, enabled, warn};

use super::{Buffer, BufferError, Stats, Store, Stored};
use crate::batch::{Closed, describe};
use crate::clock::boot_ms;
use crate::reading::BootId;
use crate::timebase::EARLIEST_MS;

/// Most requests that wait for the disk. One more makes its sender wait.
const MAX_REQUESTS: usize = 32;

/// Target of the line that says that a batch is on stable storage.
pub const BUFFERED: &str = "pattoo::buffered";

type Reply<T> = oneshot::Sender<Result<T, BufferError>>;

enum Request {
    Append { closed: Vec<Closed>, reply: Reply<Vec<Result<u64, BufferError>>> },
    Get { seq: u64, reply: Reply<Option<Stored>> },
    Release { through_seq: u64, ahead: Vec<(u64, u64)>, reply: Reply<()> },
    Schema { id: SchemaId, reply: Reply<Option<Vec<u8>>> },
    Oldest { reply: Reply<Option<i64>> },
    SetTime { boot: BootId, offset_ms: i64, reply: Reply<()> },
    Ping { reply: Reply<()> },
}

/// The way to the thread that owns the buffer.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    stats: watch::Receiver<Stats>,
}

/// The thread's end of a [`Handle`].
pub struct Receiver {
    requests: mpsc::Receiver<Request>,
    stats: watch::Sender<Stats>,
}

/// A handle for a buffer that stands like this, and the end to give to [`serve`].
#[must_use]
pub fn channel(stats: Stats) -> (Handle, Receiver) {
    let (sender, requests) = mpsc::channel(MAX_REQUESTS);
    let (stats_sender, stats) = watch::channel(stats);
    (Handle { requests: sender, stats }, Receiver { requests, stats: stats_sender })
}

impl Handle {
    /// Stores a batch; its number once it is on stable storage.
    ///
    /// # Errors
    /// The batch is not stored: the disk failed twice.
    pub async fn append(&self, closed: Closed) -> Result<u64, BufferError> {
        self.append_all(vec![closed]).await?.pop().unwrap_or(Err(BufferError::Stopped))
    }

    /// Stores batches with one wait for the disk. What became of each once that is over: its number, if it is on stable storage.
    ///
    /// # Errors
    /// The buffer has stopped.
    pub async fn append_all(&self, closed: Vec<Closed>) -> Result<Vec<Result<u64, BufferError>>, BufferError> {
        self.ask(|reply| Request::Append { closed, reply }).await
    }

    /// The batch with this number; none if it is not held (any more).
    ///
    /// # Errors
    /// The disk failed.
    pub async fn get(&self, seq: u64) -> Result<Option<Stored>, BufferError> {
        self.ask(|reply| Request::Get { seq, reply }).await
    }

    /// Forgets all batches up to this number, and those in the ranges (both ends included) ahead of it.
    ///
    /// # Errors
    /// The disk failed; the batches are then sent again.
    pub async fn release(&self, through_seq: u64, ahead: Vec<(u64, u64)>) -> Result<(), BufferError> {
        self.ask(|reply| Request::Release { through_seq, ahead, reply }).await
    }

    /// The message of a schema that a held batch names.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<Vec<u8>>, BufferError> {
        self.ask(|reply| Request::Schema { id, reply }).await
    }

    /// When the first reading of the oldest batch that waits was taken, UTC; none where none waits, or nobody knows.
    ///
    /// # Errors
    /// The buffer has stopped.
    pub async fn oldest_ms(&self) -> Result<Option<i64>, BufferError> {
        self.ask(|reply| Request::Oldest { reply }).await
    }

    /// Says what must be added to the times of this boot to get UTC: what was held back is given out from now on.
    ///
    /// # Errors
    /// The disk failed; say it again.
    pub async fn set_time(&self, boot: BootId, offset_ms: i64) -> Result<(), BufferError> {
        self.ask(|reply| Request::SetTime { boot, offset_ms, reply }).await
    }

    /// Answers once all that was asked before is done.
    ///
    /// # Errors
    /// The buffer has stopped.
    pub async fn ping(&self) -> Result<(), BufferError> {
        self.ask(|reply| Request::Ping { reply }).await
    }

    /// How the buffer stands after the latest request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.borrow()
    }

    /// Tells of every change of [`Handle::stats`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Stats> {
        self.stats.clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, BufferError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| BufferError::Stopped)?;
        answer.await.map_err(|_| BufferError::Stopped)?
    }
}

/// Serves requests until every handle is gone. Blocks: give it a thread of its own.
pub fn serve<S: Store>(mut buffer: Buffer<S>, mut receiver: Receiver) {
    // A clock that is set later must not make everything too old.
    let mut offset_ms = None;
    while let Some(request) = receiver.requests.blocking_recv() {
        // While the time is not known nothing is too old.
        let now_ms = || offset_ms.map_or(EARLIEST_MS, |offset_ms: i64| boot_ms().saturating_add(offset_ms));
        match request {
            Request::Append { closed, reply } => {
                let answers = buffer.keep_all(now_ms(), &closed);
                for (answer, closed) in answers.iter().zip(&closed) {
                    if let Ok(seq) = answer {
                        report(buffer.stats().stream, *seq, closed);
                    }
                }
                publish(&mut buffer, &receiver.stats);
                answer_to(reply, Ok(answers));
            }
            Request::Get { seq, reply } => {
                let answer = buffer.get(seq, now_ms());
                publish(&mut buffer, &receiver.stats);
                answer_to(reply, answer);
            }
            Request::Release { through_seq, ahead, reply } => {
                let answer = buffer.release_ranges(through_seq, &ahead);
                publish(&mut buffer, &receiver.stats);
                answer_to(reply, answer);
            }
            Request::Schema { id, reply } => answer_to(reply, buffer.schema(id)),
            Request::Oldest { reply } => answer_to(reply, Ok(buffer.oldest_ms())),
            Request::Ping { reply } => answer_to(reply, Ok(())),
            Request::SetTime { boot, offset_ms: told_ms, reply } => {
                let answer = buffer.set_time(boot, told_ms).map_err(BufferError::from);
                publish(&mut buffer, &receiver.stats);
                answer_to(reply, answer);
                offset_ms = offset_ms.or(Some(told_ms));
            }
        }
    }
}

/// Says that a batch is on stable storage; with its readings where a test wants to know them.
fn report(stream: u64, seq: u64, closed: &Closed) {
    let held = closed.held.map(|boot| boot.0);
    if enabled!(target: "pattoo::buffered", Level::TRACE) {
        let content = describe(&closed.batch, &closed.dictionary.schema);
        debug!(target: "pattoo::buffered", stream, seq, readings = closed.readings, held, content, "batch is on stable storage");
    } else {
        debug!(target: "pattoo::buffered", stream, seq, readings = closed.readings, held, "batch is on stable storage");
    }
}

fn publish<S: Store>(buffer: &mut Buffer<S>, stats: &watch::Sender<Stats>) {
    for notice in buffer.take_notices() {
        warn!("{notice}");
    }
    stats.send_if_modified(|before| std::mem::replace(before, buffer.stats()) != buffer.stats());
}

/// Whoever asked may have gone; the work is done all the same.
fn answer_to<T>(reply: Reply<T>, answer: Result<T, BufferError>) {
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use pattoo_wire::{Batch, Block, Device, Kind, Labels, Repr, Sample, Schema, Series, Value};

    use super::*;
    use crate::batch::Dictionary;
    use crate::buffer::Limits;
    use crate::buffer::memory::{Medium, Memory};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn closed() -> Closed {
        let device = Device { name: "d".into(), profile: "p".into(), labels: Labels::new() };
        let (point, unit, labels, states) = ("u".into(), String::new(), Labels::new(), Default::default());
        let series = Series { device: 0, point, unit, kind: Kind::Counter, repr: Repr::Unsigned, labels, states };
        let dictionary = Dictionary::new(Schema { devices: vec![device], series: vec![series] }).unwrap();
        let samples = vec![Sample::Good(Value::Unsigned(u64::MAX))];
        let batch = Batch { blocks: vec![Block { series: vec![0], times_ms: vec![5], samples }], gaps: Vec::new() };
        Closed::new(Arc::new(dictionary), batch).unwrap()
    }

    /// Serves on a thread whose log is caught, appends one batch, and gives its log lines.
    fn logged(filter: &str) -> Vec<serde_json::Value> {
        let (log, limits) = (Log::default(), Limits::from(&crate::config::Buffer::default()));
        let buffer = Buffer::open(Memory::open(&Medium::default()), limits, 0).unwrap();
        let (handle, receiver) = channel(buffer.stats());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(move || writer.clone()).finish();
        let thread = std::thread::spawn(move || tracing::subscriber::with_default(subscriber, || serve(buffer, receiver)));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            assert_eq!(handle.append(closed()).await, Ok(1));
            assert_eq!(handle.get(1).await.unwrap().unwrap().body, closed().body);
            assert_eq!(handle.schema(closed().schema()).await.unwrap(), Some(closed().dictionary.message.clone()));
            assert_eq!((handle.stats().batches, handle.oldest_ms().await), (1, Ok(Some(5))));
            handle.release(1, Vec::new()).await.unwrap();
            assert_eq!((handle.stats().batches, handle.oldest_ms().await), (0, Ok(None)));
        });
        drop(handle);
        thread.join().unwrap();
        let bytes = log.0.lock().unwrap().clone();
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn every_stored_batch_is_one_log_line_that_has_its_readings_only_on_demand() {
        let [line] = logged("pattoo::buffered=debug").try_into().unwrap();
        assert_eq!((&line["target"], &line["fields"]["seq"], &line["fields"]["readings"]), (&BUFFERED.into(), &1.into(), &1.into()));
        assert!(line["fields"]["stream"].is_u64() && line["fields"]["content"].is_null());
        let [line] = logged("pattoo::buffered=trace").try_into().unwrap();
        assert_eq!(line["fields"]["content"], r#"[["d","u",5,18446744073709551615,"good"]]"#);
        assert_eq!(logged("info").len(), 0);
    }

    #[test]
    fn a_handle_says_so_when_the_thread_is_gone() {
        let (handle, receiver) = channel(Stats::default());
        drop(receiver);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(handle.append(closed())), Err(BufferError::Stopped));
    }
}
