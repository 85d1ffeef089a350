//! Power cuts at every write of a buffer's life, and lives at random, against the law: what was kept is delivered once or on record.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The server's side: what arrived, by number, and gap records by first number and reason.
#[derive(Default)]
struct Server {
    stream: u64,
    batches: BTreeMap<u64, u64>,
    gaps: BTreeMap<(u64, u8), Gap>,
}

impl Server {
    /// Takes a batch; a second one of the same number must be the same.
    fn take<S: Store>(&mut self, buffer: &mut Buffer<S>, seq: u64) {
        // Without power nothing goes out.
        let Ok(Some(stored)) = buffer.get(seq, 0) else { return };
        let message = buffer.schema(stored.schema).unwrap().unwrap();
        let (id, schema) = Schema::decode(&message).unwrap();
        let batch = Body::open(&stored.body).unwrap().decode(id, &schema).unwrap();
        let readings = batch.readings() as u64;
        assert_eq!(*self.batches.entry(seq).or_insert(readings), readings);
        for gap in batch.gaps {
            // Gateways join records.
            let goes = |other: &Gap| other.reason == gap.reason && gap.first_seq < other.first_seq && other.last_seq <= gap.last_seq;
            self.gaps.retain(|_, other| !goes(other));
            let known = self.gaps.entry((gap.first_seq, gap.reason.code())).or_insert_with(|| gap.clone());
            assert_eq!(*known, gap, "a gap record changed after it was delivered");
        }
    }

    /// Readings that arrived or are on record. What was dropped while its acknowledgement was on its way is not missing.
    fn knows(&self) -> u64 {
        let arrived = |gap: &Gap| (gap.first_seq..=gap.last_seq).all(|seq| self.batches.contains_key(&seq));
        // What is left of a batch that was thinned out arrives beside the record.
        let counts = |gap: &&Gap| gap.reason == GapReason::Thinned || !arrived(gap);
        let missing: u64 = self.gaps.values().filter(counts).map(|gap| gap.readings).sum();
        self.batches.values().sum::<u64>() + missing
    }
}

impl Server {
    /// Whether each number arrived or is in a gap record.
    fn has_no_holes(&self) -> bool {
        let says = |gap: &&Gap| gap.reason != GapReason::Thinned;
        let covered = |seq: u64| self.gaps.values().filter(says).any(|gap| gap.first_seq <= seq && seq <= gap.last_seq);
        let last = self.batches.keys().next_back().copied().unwrap_or(0);
        (1..=last).all(|seq| self.batches.contains_key(&seq) || covered(seq))
    }
}

const SMALL: Limits = Limits { max_bytes: 4000, ballast_bytes: 0, ..LIMITS };

/// Of ten readings one stays, where nothing was sent yet.
const THINS: Limits = Limits { thin_to_ms: 20, given_ahead: 2, ..SMALL };

/// One life of a gateway on a medium whose power may be cut: keeps batches, delivers some. Gives how many were kept.
fn live(medium: &Medium, server: &mut Server, limits: Limits, from: i64, batches: i64) -> Result<u64, BufferError> {
    let mut buffer = Buffer::open(Memory::open(medium), limits, 0)?;
    server.stream = buffer.stats().stream;
    let mut kept = 0;
    for i in from..from + batches {
        let dictionary = dictionary(if i % 20 < 10 { "V" } else { "A" });
        if buffer.keep(0, &closed_with(&dictionary, i * 100, 10)).is_err() {
            break;
        }
        kept += 1;
        if i % 8 == 7 {
            let Stats { oldest, next, .. } = buffer.stats();
            server.take(&mut buffer, oldest.midpoint(next));
        }
    }
    Ok(kept)
}

/// Delivers all that is there. How it then stands, and how many readings were added to carry gap records that waited.
fn deliver_all(medium: &Medium, server: &mut Server, limits: Limits) -> (Stats, u64) {
    let mut buffer = Buffer::open(Memory::open(medium), limits, 0).unwrap();
    let mut added = 0;
    while buffer.stats().pending_gaps > 0 || buffer.stats().batches > 0 {
        if buffer.stats().pending_gaps > 0 {
            buffer.keep(0, &closed_with(&dictionary("V"), 0, 1)).unwrap();
            added += 1;
        }
        let Stats { oldest, next, .. } = buffer.stats();
        (oldest..next).for_each(|seq| server.take(&mut buffer, seq));
        buffer.release(next - 1).unwrap();
    }
    (buffer.stats(), added)
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_that_was_kept_and_doubles_nothing() {
    let (mut cuts, mut thinned) = (0, 0);
    let lazies = [(false, false), (true, false), (false, true), (true, true)];
    for (limits, (half, keeps_lazy)) in [SMALL, THINS].into_iter().flat_map(|limits| lazies.map(|lazy| (limits, lazy))) {
        for writes in 0.. {
            let (medium, mut server) = (Medium::default(), Server::default());
            // A buffer that is full already, with gap records on their way.
            assert_eq!(live(&medium, &mut server, limits, 0, 30).unwrap(), 30);
            medium.cut_after(writes, half);
            let kept = live(&medium, &mut server, limits, 30, 25).unwrap_or(0);
            let stream = server.stream;
            if !medium.power_on(keeps_lazy) {
                assert_eq!(kept, 25);
                break;
            }
            cuts += 1;
            let (stats, added) = deliver_all(&medium, &mut server, limits);
            assert_eq!(stats.stream, stream);
            thinned += server.gaps.values().filter(|gap| gap.reason == GapReason::Thinned).count();
            // The batch that the cut met may be there or not; nobody was told that it is.
            let (known, at) = (server.knows() - added, format!("cut after {writes} writes, half {half}, lazy {keeps_lazy}, {limits:?}"));
            assert!(known == (30 + kept) * 10 || known == (31 + kept) * 10, "{at}: {known} of {}", (30 + kept) * 10);
            assert!(server.has_no_holes(), "{at}: {:?}", server.batches);
        }
    }
    assert!(cuts > 600 && thinned > 600, "only {cuts} cuts and {thinned} records of thinning");
}

#[derive(Debug, Clone)]
enum Step {
    Keep { ticks: usize },
    Append { ticks: usize },
    Commit,
    Deliver { share: u8 },
    Release { share: u8, ahead: (u8, u8) },
    Reopen,
    Cut { writes: u64, half: bool, keeps_lazy: bool },
    Fail { late: bool },
    Seal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..40).prop_map(|ticks| Step::Keep { ticks }),
        3 => (1usize..40).prop_map(|ticks| Step::Append { ticks }),
        2 => Just(Step::Commit),
        3 => any::<u8>().prop_map(|share| Step::Deliver { share }),
        3 => (any::<u8>(), any::<(u8, u8)>()).prop_map(|(share, ahead)| Step::Release { share, ahead }),
        1 => Just(Step::Reopen),
        1 => (0u64..20, any::<(bool, bool)>()).prop_map(|(writes, (half, keeps_lazy))| Step::Cut { writes, half, keeps_lazy }),
        1 => any::<bool>().prop_map(|late| Step::Fail { late }),
        1 => Just(Step::Seal),
    ]
}

/// What is true of a life: readings that are surely stored, and those that may be (their commit was cut off).
#[derive(Default)]
struct Told {
    sure: u64,
    maybe: u64,
    appended: u64,
}

fn at(share: u8, oldest: u64, next: u64) -> u64 {
    oldest + (next - oldest) * u64::from(share) / 256
}

/// Releases what the server has: up to its first missing number, and one range ahead of it.
fn release(buffer: &mut Buffer<Memory>, server: &Server, share: u8, ahead: (u8, u8)) {
    let Stats { oldest, next, .. } = buffer.stats();
    let through = (oldest..at(share, oldest, next)).take_while(|seq| server.batches.contains_key(seq)).last();
    let (first, last) = (at(ahead.0, oldest, next), at(ahead.1, oldest, next));
    let has = first <= last && (first..=last).all(|seq| server.batches.contains_key(&seq));
    let ahead = if has { vec![(first, last)] } else { Vec::new() };
    let _ = buffer.release_ranges(through.unwrap_or(oldest - 1), &ahead);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_readings_are_delivered_or_on_record(
        thins in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (medium, mut server, mut told) = (Medium::default(), Server::default(), Told::default());
        let limits = if thins { THINS } else { SMALL };
        let mut buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
        let mut now = 0;
        for step in steps {
            now += 100;
            let Stats { oldest, next, .. } = buffer.stats();
            match step {
                Step::Keep { ticks } => {
                    let kept = buffer.keep(0, &closed_with(&dictionary("V"), now, ticks));
                    let staged = std::mem::take(&mut told.appended);
                    match kept {
                        Ok(_) => told.sure += ticks as u64,
                        Err(_) => told.maybe += ticks as u64,
                    }
                    // What was appended before it is stored with it, unless something failed.
                    let failed = buffer.take_notices().iter().any(|notice| !matches!(notice, Notice::Thinned { .. }));
                    if kept.is_ok() && medium.failures() == 0 && !failed { told.sure += staged } else { told.maybe += staged }
                }
                Step::Append { ticks } => match buffer.append(0, &closed_with(&dictionary("V"), now, ticks)) {
                    Ok(_) => told.appended += ticks as u64,
                    Err(_) => told.maybe += std::mem::take(&mut told.appended),
                },
                Step::Commit => {
                    let appended = std::mem::take(&mut told.appended);
                    match buffer.commit() {
                        Ok(()) => told.sure += appended,
                        Err(_) => told.maybe += appended,
                    }
                }
                Step::Deliver { share } => (oldest..at(share, oldest, next)).for_each(|seq| server.take(&mut buffer, seq)),
                Step::Release { share, ahead } => release(&mut buffer, &server, share, ahead),
                Step::Reopen => {
                    told.maybe += std::mem::take(&mut told.appended);
                    buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
                }
                Step::Cut { writes, half, keeps_lazy } => {
                    told.maybe += std::mem::take(&mut told.appended);
                    medium.cut_after(writes, half);
                    for i in 0..20 {
                        match buffer.keep(0, &closed_with(&dictionary("V"), now + i, 3)) {
                            Ok(_) => told.sure += 3,
                            Err(_) => {
                                told.maybe += 3;
                                break;
                            }
                        }
                    }
                    medium.power_on(keeps_lazy);
                    buffer = Buffer::open(Memory::open(&medium), limits, 0).unwrap();
                }
                Step::Fail { late: false } => medium.fail(StoreError::Io("EIO".into())),
                Step::Fail { late: true } => medium.fail_late(StoreError::Io("EIO".into())),
                Step::Seal => drop(buffer.seal_newest()),
            }
            prop_assert!(buffer.stats().next >= next, "numbers went back");
        }
        told.maybe += told.appended;
        drop(buffer);
        medium.forget_failures();
        let (_, added) = deliver_all(&medium, &mut server, limits);
        let known = server.knows() - added;
        prop_assert!(told.sure <= known && known <= told.sure + told.maybe, "{known} known of {} to {}", told.sure, told.sure + told.maybe);
        prop_assert!(server.has_no_holes(), "a number is missing: {:?}", server.batches);
    }
}
