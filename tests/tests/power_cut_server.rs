//! Power is cut at any moment of a server's life, from its very first start, on a disk that forgets what was not synced: what it
//! acknowledged is there, once, and it starts.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pattoo_tests::disk;
use pattoo_tests::disk::cut::{Left, Moment, Recording, judged, some};
use pattoo_tests::disk::server_judge::{ServerBook, ServerVerdict};
use pattoo_tests::disk::server_life::ServerLife;

/// Moments that a usual run judges. With `PATTOO_TEST_ROUNDS` it judges every moment of so many lives.
const MOMENTS: usize = 30;
/// Random images of each moment, beside the one where nothing survives.
const RANDOM_IMAGES: usize = 2;

fn record(life: &ServerLife, place: &std::path::Path) -> Result<Recording> {
    let life = ServerLife { data: place.join(&life.data), ..life.clone() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_store_life"));
    Recording::of(command.arg(serde_json::to_string(&life)?), place, None)
}

/// What was found in all images.
#[derive(Debug, Default)]
struct Sum {
    moments: usize,
    verdict: ServerVerdict,
}

/// Cuts the power of one recording at these moments; `before` are the lines of earlier lives in the same place.
fn cut(recording: &Recording, moments: &[Moment], life: &ServerLife, before: &str, rng: &mut fastrand::Rng, sum: &mut Sum) -> Result<()> {
    let place = disk::scratch()?;
    let image_place = place.path().join("image");
    sum.moments += moments.len();
    recording.at(moments, |moment, image, lines| {
        let mut book = ServerBook::default();
        book.read(before)?;
        book.read(lines)?;
        let random = (0..RANDOM_IMAGES).map(|_| Left::Some(rng.u64(..)));
        for left in [Left::Nothing].into_iter().chain(random) {
            let verdict = judged(image, left, &image_place, || book.judge(&image_place.join(&life.data)));
            sum.verdict.add(verdict.with_context(|| format!("power cut at {moment:?} of {life:?}"))?);
        }
        Ok(())
    })
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() -> Result<()> {
    let seed = disk::seed("power_cut_server")?;
    let (rounds, wanted) = disk::rounds()?.map_or((1, MOMENTS), |rounds| (rounds, usize::MAX));
    let start = Instant::now();
    let (mut sum, mut operations) = (Sum::default(), 0);
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let life = ServerLife { data: "new/data".into(), seed: rng.u64(..), steps: 30, next: 1 };
        let place = disk::scratch()?;
        let recording = record(&life, place.path())?;
        operations += recording.operations();
        let moments = some(recording.moments(), wanted, &mut rng);
        cut(&recording, &moments, &life, "", &mut rng, &mut sum).with_context(|| format!("round {round} of seed {seed}"))?;
    }
    eprintln!("{rounds} lives of {operations} operations on the disk: {sum:?} in {:?}", start.elapsed());
    ensure!(sum.verdict.acked > 0 && sum.moments > 1, "nothing was tested");
    Ok(())
}

#[test]
fn a_power_cut_in_the_very_first_start_leaves_a_server_that_starts() -> Result<()> {
    let seed = disk::seed("first_start")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let life = ServerLife { data: "new/data".into(), seed: rng.u64(..), steps: 1, next: 1 };
    let place = disk::scratch()?;
    let recording = record(&life, place.path())?;
    let (moments, mut sum) = (recording.moments(), Sum::default());
    cut(&recording, &moments, &life, "", &mut rng, &mut sum).with_context(|| format!("seed {seed}"))?;
    eprintln!("{sum:?}");
    Ok(())
}

#[test]
fn a_power_cut_while_the_server_starts_after_a_power_cut_costs_nothing_either() -> Result<()> {
    let seed = disk::seed("power_cut_server_twice")?;
    let mut sum = Sum::default();
    for round in 0..disk::rounds()?.unwrap_or(1) {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let first = ServerLife { data: "new/data".into(), seed: rng.u64(..), steps: 12, next: 1 };
        let place = disk::scratch()?;
        std::fs::create_dir_all(place.path().join("first"))?;
        let recording = record(&first, &place.path().join("first"))?;
        let moments = recording.moments();
        let moment = moments[rng.usize(..moments.len())];
        let (mut before, second) = (String::new(), place.path().join("second"));
        recording.at(&[moment], |_, image, lines| {
            before = lines.to_owned();
            judged(image, Left::Some(rng.u64(..)), &second, || Ok(()))
        })?;
        let again = ServerLife { seed: rng.u64(..), steps: 3, next: 50, ..first };
        let recording = record(&again, &second)?;
        let moments = some(recording.moments(), 20, &mut rng);
        cut(&recording, &moments, &again, &before, &mut rng, &mut sum).with_context(|| format!("round {round} of seed {seed}"))?;
    }
    eprintln!("{sum:?}");
    Ok(())
}

/// The whole server, as it is installed: whoever was told by which authority to know it, still knows it.
/// Of what a start told, by which authority gateways know the server.
fn authority(told: &str) -> Option<&str> {
    told.lines().find_map(|line| line.strip_prefix("authority "))
}

#[test]
fn a_server_whose_power_is_cut_in_its_first_start_is_the_same_afterwards() -> Result<()> {
    let seed = disk::seed("server_start")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let (place, image_place) = (disk::scratch()?, disk::scratch()?);
    let start = |place: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_server_start"));
        command.arg(place.join("new/data"));
        command
    };
    let recording = Recording::of(&mut start(place.path()), place.path(), None)?;
    let (moments, image_place) = (recording.moments(), image_place.path().join("image"));
    let (mut starts, mut same) = (0, 0);
    recording.at(&moments, |moment, image, told| {
        for left in [Left::Nothing, Left::Some(rng.u64(..))] {
            let now = judged(image, left, &image_place, || {
                let output = start(&image_place).output()?;
                ensure!(output.status.success(), "it does not start: {}", String::from_utf8_lossy(&output.stderr));
                let now = String::from_utf8_lossy(&output.stdout).into_owned();
                ensure!(authority(&now).is_some(), "it told no authority: {now}");
                ensure!(authority(told).is_none() || authority(told) == authority(&now), "it was {told} and is {now}");
                Ok(())
            });
            now.with_context(|| format!("power cut at {moment:?}, seed {seed}"))?;
            starts += 1;
            same += u32::from(authority(told).is_some());
        }
        Ok(())
    })?;
    eprintln!("{} moments, {starts} starts, {same} of them after it had told its authority", moments.len());
    ensure!(same > 0, "it told nothing");
    Ok(())
}
