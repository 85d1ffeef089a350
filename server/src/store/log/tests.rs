//! The log on a disk that loses what it need not keep, at every write; damage; errors of the disk; many callers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;

mod contents;
mod crashes;
mod damage;
mod on_files;

/// What survives a life. Clones share it.
#[derive(Debug, Clone, Default)]
struct Medium(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    segments: BTreeMap<u64, Vec<u8>>,
    aside: BTreeMap<String, Vec<u8>>,
    writes: usize,
    /// The write at which the power goes, or that fails.
    fault_at: Option<(usize, Fault)>,
    dead: bool,
    random: u64,
    /// An append waits while this is so, and says that it does.
    held: bool,
    waits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Power,
    Error,
}

impl Medium {
    fn with<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn arm(&self, after: usize, fault: Fault, seed: u64) {
        self.with(|state| {
            state.fault_at = Some((state.writes + after, fault));
            state.random = seed;
        });
    }

    /// Whether the fault has come; power is back.
    fn power_on(&self) -> bool {
        self.with(|state| {
            state.dead = false;
            state.fault_at.take().is_some_and(|(at, _)| state.writes > at)
        })
    }
}

impl Held {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    /// Makes a change, unless a fault is due: then `torn` makes what may be left of it.
    fn write(&mut self, change: impl FnOnce(&mut Self), torn: impl FnOnce(&mut Self)) -> Result<(), LogError> {
        if self.dead {
            return Err(LogError::Disk("no power".into()));
        }
        self.writes += 1;
        match self.fault_at {
            Some((at, fault)) if self.writes == at + 1 => {
                torn(self);
                self.dead = fault == Fault::Power;
                Err(LogError::Disk("input/output error".into()))
            }
            _ => {
                change(self);
                Ok(())
            }
        }
    }

    /// What may be left of bytes that were not synced: any length, and any block of it may be zero or of something else.
    fn torn(&mut self, bytes: &[u8]) -> Vec<u8> {
        const BLOCK: usize = 16;
        let length = match self.random() % 4 {
            0 => 0,
            1 => bytes.len(),
            _ => self.random() as usize % (bytes.len() + 1),
        };
        let mut left = bytes[..length].to_vec();
        let whole = self.random().is_multiple_of(3);
        for block in left.chunks_mut(BLOCK).filter(|_| !whole) {
            match self.random() % 4 {
                0 => block.fill(0),
                1 => block.fill(0xa5),
                _ => {}
            }
        }
        left
    }
}

impl Disk for Medium {
    fn segments(&mut self) -> Result<Vec<(u64, u64)>, LogError> {
        Ok(self.with(|state| state.segments.iter().map(|(first, bytes)| (*first, bytes.len() as u64)).collect()))
    }

    fn read(&mut self, segment: u64) -> Result<Vec<u8>, LogError> {
        Ok(self.with(|state| state.segments[&segment].clone()))
    }

    fn sync(&mut self, _: u64) -> Result<(), LogError> {
        self.with(|state| state.write(|_| (), |_| ()))
    }

    fn create(&mut self, segment: u64, begins: &[u8]) -> Result<(), LogError> {
        self.with(|state| {
            let torn = |state: &mut Held| {
                let left = state.torn(begins);
                if state.random().is_multiple_of(2) {
                    state.segments.insert(segment, left);
                }
            };
            state.write(|state| drop(state.segments.insert(segment, begins.to_vec())), torn)
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        wait_until(|| {
            self.with(|held| {
                held.waits = held.held;
                !held.held
            })
        });
        self.with(|state| {
            let append = |state: &mut Held, bytes: &[u8]| state.segments.last_entry().unwrap().get_mut().extend_from_slice(bytes);
            state.write(
                |state| append(state, bytes),
                |state| {
                    let left = state.torn(bytes);
                    append(state, &left);
                },
            )
        })
    }

    fn remove(&mut self, segment: u64) -> Result<(), LogError> {
        self.with(|state| {
            let torn = |state: &mut Held| {
                if state.random().is_multiple_of(2) {
                    state.segments.remove(&segment);
                }
            };
            state.write(|state| drop(state.segments.remove(&segment)), torn)
        })
    }

    fn set_aside(&mut self, segment: u64, at: u64, bytes: &[u8]) -> Result<String, LogError> {
        let name = format!("{segment}-{at}");
        self.with(|state| state.write(|state| drop(state.aside.insert(name.clone(), bytes.to_vec())), |_| ()))?;
        Ok(name)
    }
}

/// Waits for a condition, with a bound.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "nothing has come of it");
        std::thread::yield_now();
    }
}

/// Small, so that a life has several.
const FULL_BYTES: u64 = 300;

type Read = Vec<(u64, Vec<u8>)>;

fn open(medium: &Medium) -> Result<(Log<Medium>, Recovered, Read), LogError> {
    let mut read = Read::new();
    let (log, recovered) = Log::open(medium.clone(), FULL_BYTES, &mut |number, content| read.push((number, content.to_vec())))?;
    Ok((log, recovered, read))
}

/// Commits several at once, as if they had come during a write.
fn commit_group(log: &Log<Medium>, contents: &[Vec<u8>]) -> Vec<Result<u64, LogError>> {
    let (last, first) = contents.split_last().unwrap();
    let tickets: Vec<u64> = {
        let mut state = log.lock();
        let tickets = state.next_ticket..state.next_ticket + first.len() as u64;
        state.next_ticket += first.len() as u64;
        state.waiting.extend(tickets.clone().zip(first.iter().cloned()));
        tickets.collect()
    };
    let of_last = log.commit(last.clone());
    let mut state = log.lock();
    tickets.iter().map(|ticket| state.outcomes.remove(ticket).unwrap()).chain([of_last]).collect()
}

#[test]
fn what_was_committed_is_read_in_its_order_life_after_life() {
    let medium = Medium::default();
    let mut committed = Read::new();
    for life in 0..5u8 {
        let (log, recovered, read) = open(&medium).unwrap();
        assert_eq!(read, committed);
        assert_eq!(
            (recovered.records, recovered.last, recovered.damage.len(), recovered.torn_bytes),
            (read.len() as u64, read.len() as u64, 0, 0)
        );
        for n in 0..20u8 {
            let content = vec![life; usize::from(n) * 3];
            committed.push((log.commit(content.clone()).unwrap(), content));
        }
    }
    assert!(medium.with(|state| state.segments.len()) > 5);
}

#[test]
fn released_segments_go_and_numbers_go_on() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    let last = (0..40u8).map(|n| log.commit(vec![n; 50]).unwrap()).last().unwrap();
    log.release(last / 2).unwrap();
    let (_, recovered, read) = open(&medium).unwrap();
    assert_eq!(recovered.last, last);
    assert!(read[0].0 > 1 && read[0].0 <= last / 2 + 1, "all that was not released is there");
    log.release(last).unwrap();
    assert_eq!(medium.with(|held| held.segments.values().map(Vec::len).collect::<Vec<_>>()), [frame::SEGMENT_HEAD_BYTES]);
    drop(log);
    let (log, recovered, read) = open(&medium).unwrap();
    assert_eq!((recovered.last, recovered.segments.len(), recovered.damage.len(), read.len()), (last, 1, 0, 0));
    assert_eq!(log.commit(Vec::new()).unwrap(), last + 1);
}

#[test]
fn what_is_released_of_the_last_segment_goes_with_the_next_release() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    assert_eq!((0..3u8).map(|n| log.commit(vec![n]).unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    log.release(2).unwrap();
    assert_eq!(medium.with(|held| held.segments.keys().copied().collect::<Vec<_>>()), [1]);
    log.commit(vec![3]).unwrap();
    log.release(3).unwrap();
    assert_eq!(medium.with(|held| held.segments.keys().copied().collect::<Vec<_>>()), [4]);
    assert_eq!(open(&medium).unwrap().2, [(4, vec![3])]);
}

#[test]
fn those_that_come_together_go_in_one_write() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    log.commit(vec![0]).unwrap();
    let before = medium.with(|state| state.writes);
    assert_eq!(commit_group(&log, &[vec![1], vec![2], vec![3]]), [Ok(2), Ok(3), Ok(4)]);
    assert_eq!(medium.with(|state| state.writes) - before, 1);
}

#[test]
fn many_callers_get_a_number_each() {
    let medium = Medium::default();
    let (log, ..) = open(&medium).unwrap();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8u8)
            .map(|caller| {
                scope.spawn({
                    let log = &log;
                    move || (0..50u8).map(|n| log.commit(vec![caller, n]).unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    let mut read = open(&medium).unwrap().2;
    // Each caller's own are in its order.
    read.sort_by_key(|(_, content)| content[0]);
    assert!(read.iter().map(|(_, content)| content.clone()).eq((0..8u8).flat_map(|caller| (0..50u8).map(move |n| vec![caller, n]))));
}

#[test]
fn too_much_is_refused_before_it_is_written() {
    let (log, ..) = open(&Medium::default()).unwrap();
    let error = log.commit(vec![0; MAX_RECORD_BYTES + 1]).unwrap_err();
    assert_eq!(error, LogError::TooMuch { bytes: MAX_RECORD_BYTES + 1, limit: MAX_RECORD_BYTES });
    log.commit(vec![1]).unwrap();
}
