//! Power is cut at any moment of a buffer's life, on a disk that forgets what was not synced: every promise holds.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pattoo_tests::disk;
use pattoo_tests::disk::cut::{Left, Moment, Recording, judged, some};
use pattoo_tests::disk::judge::{Book, Verdict};
use pattoo_tests::disk::life::Life;
use pattoo_tests::disk::rules::{EIO, ON_SYNC, Rule, Rules};

/// Moments that a usual run judges. With `PATTOO_TEST_ROUNDS` it judges every moment of so many lives.
const MOMENTS: usize = 40;
/// Random images of each moment, beside the one where nothing survives.
const RANDOM_IMAGES: usize = 2;
/// Number of the first batch of a life that begins after a power cut.
const SECOND_LIFE: u64 = 300;

fn life(seed: u64, steps: u32, first_attempt: u64) -> Life {
    // Small enough for batches to be dropped now and then.
    let (max_bytes, max_age_ms) = if seed.is_multiple_of(2) { (900 << 10, 1_000_000) } else { (4 << 20, 40_000) };
    Life { folder: "buffer".into(), seed, steps, first_attempt, max_bytes, max_age_ms, ballast_bytes: 16 << 10, alone: false }
}

fn record(life: &Life, place: &std::path::Path, rules: Option<&Rules>) -> Result<Recording> {
    let life = Life { folder: place.join(&life.folder), ..life.clone() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_buffer_life"));
    Recording::of(command.arg(serde_json::to_string(&life)?), place, rules)
}

/// What was found in all images.
#[derive(Debug, Default)]
struct Sum {
    moments: usize,
    verdict: Verdict,
}

/// Cuts the power of one recording at these moments; `before` are the lines of earlier lives in the same place.
fn cut(recording: &Recording, moments: &[Moment], life: &Life, before: &str, rng: &mut fastrand::Rng, sum: &mut Sum) -> Result<()> {
    let place = disk::scratch()?;
    let life = Life { folder: place.path().join("image/buffer"), ..life.clone() };
    sum.moments += moments.len();
    recording.at(moments, |moment, image, lines| {
        let mut book = Book::default();
        book.read(before)?;
        book.read(lines)?;
        let random = (0..RANDOM_IMAGES).map(|_| Left::Some(rng.u64(..)));
        for left in [Left::Nothing].into_iter().chain(random) {
            let verdict = judged(image, left, &place.path().join("image"), || book.judge(&life, false));
            sum.verdict.add(verdict.with_context(|| format!("power cut at {moment:?} of {life:?}"))?);
        }
        Ok(())
    })
}

#[test]
fn what_was_promised_survives_a_power_cut_at_any_moment() -> Result<()> {
    let seed = disk::seed("power_cut")?;
    let (rounds, wanted) = disk::rounds()?.map_or((1, MOMENTS), |rounds| (rounds, usize::MAX));
    let start = Instant::now();
    let (mut sum, mut operations) = (Sum::default(), 0);
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let life = life(rng.u64(..), 90, 0);
        let place = disk::scratch()?;
        let recording = record(&life, place.path(), None)?;
        operations += recording.operations();
        let moments = some(recording.moments(), wanted, &mut rng);
        cut(&recording, &moments, &life, "", &mut rng, &mut sum).with_context(|| format!("round {round} of seed {seed}"))?;
    }
    eprintln!("{rounds} lives of {operations} operations on the disk: {sum:?} in {:?}", start.elapsed());
    ensure!(sum.verdict.batches > 0 && sum.moments > 1, "nothing was tested");
    Ok(())
}

#[test]
fn a_power_cut_while_starting_after_a_power_cut_costs_nothing_either() -> Result<()> {
    let seed = disk::seed("power_cut_twice")?;
    let rounds = disk::rounds()?.unwrap_or(3);
    let mut sum = Sum::default();
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let first = life(rng.u64(..), 30, 0);
        let place = disk::scratch()?;
        std::fs::create_dir_all(place.path().join("first"))?;
        let recording = record(&first, &place.path().join("first"), None)?;
        let moments = recording.moments();
        let moment = moments[rng.usize(..moments.len())];
        let (mut before, second) = (String::new(), place.path().join("second"));
        recording.at(&[moment], |_, image, lines| {
            before = lines.to_owned();
            judged(image, Left::Some(rng.u64(..)), &second, || Ok(()))
        })?;
        let again = Life { seed: rng.u64(..), steps: 5, first_attempt: SECOND_LIFE, ..first };
        let recording = record(&again, &second, None)?;
        let moments = some(recording.moments(), 20, &mut rng);
        cut(&recording, &moments, &again, &before, &mut rng, &mut sum).with_context(|| format!("round {round} of seed {seed}"))?;
    }
    eprintln!("{sum:?}");
    Ok(())
}

/// A sync that failed says nothing of what a later one makes durable: the system may have given up what it could not write.
#[test]
fn what_a_failed_sync_may_have_lost_is_not_promised() -> Result<()> {
    let seed = disk::seed("failed_sync")?;
    let rounds = disk::rounds()?.unwrap_or(3);
    let (mut sum, mut hits) = (Sum::default(), 0);
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let life = life(rng.u64(..), 40, 0);
        let place = disk::scratch()?;
        let (below, rules) = (place.path().join("below"), Rules::new(&place.path().join("rules"))?);
        std::fs::create_dir(&below)?;
        let rule = Rule { kinds: ON_SYNC, error: EIO, skip: rng.u64(5..120), fail: rng.u64(1..4) };
        rules.set(0, Some(rule))?;
        let recording = record(&life, &below, Some(&rules))?;
        hits += rules.hits(0)?;
        let moments = some(recording.moments(), 10, &mut rng);
        cut(&recording, &moments, &life, "", &mut rng, &mut sum).with_context(|| format!("round {round} of seed {seed}, {rule:?}"))?;
    }
    eprintln!("{rounds} lives with {hits} failed syncs: {sum:?}");
    ensure!(hits > 0, "no sync failed");
    Ok(())
}
