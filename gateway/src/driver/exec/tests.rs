//! Real programs: shell scripts that do what programs do, and what they should not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pattoo_wire::{Labels, Sample, Value};
use tokio::time::timeout;

use super::*;
use crate::lines::{Source, readings};

const DEVICE: DeviceIndex = DeviceIndex(0);
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn device() -> Device {
    Device { name: "tank".into(), profile: readings(), unit: 0, every: Duration::from_secs(10), labels: Labels::new() }
}

fn exec(script: &str, mode: Mode) -> Exec {
    exec_that_may_be_silent(script, mode, Duration::from_secs(1))
}

fn exec_that_may_be_silent(script: &str, mode: Mode, stale_after: Duration) -> Exec {
    let run = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let mut source = Source::default();
    source.stale_after.insert("tank".into(), stale_after);
    let env = [("COLOUR".to_owned(), "blue".to_owned())].into();
    let program = Program { device: "tank".into(), run, mode, env, directory: PathBuf::from("/"), source };
    Exec::new(program, super::super::boot_clock())
}

fn once(script: &str, timeout: Duration) -> Exec {
    exec(script, Mode::Interval { timeout })
}

async fn poll(exec: &mut Exec) -> Vec<(String, Sample)> {
    let transactions = timeout(PATIENCE, exec.read(DEVICE, &device(), &[])).await.expect("it is bounded");
    named(transactions)
}

fn named(transactions: Vec<Transaction>) -> Vec<(String, Sample)> {
    let all = transactions.into_iter().flat_map(|t| t.readings);
    all.map(|reading| (reading.row.unwrap().point.clone().unwrap(), reading.sample)).collect()
}

fn good(name: &str, number: f64) -> (String, Sample) {
    (name.to_owned(), Sample::Good(Value::F64(number)))
}

fn text<'s>(samples: &'s [(String, Sample)], name: &str) -> &'s str {
    let found = samples.iter().find(|(own, _)| own == name).and_then(|(_, sample)| sample.value());
    if let Some(Value::Text(text)) = found { text } else { panic!("{samples:?}") }
}

/// Whether a process of this id still runs.
fn runs(pid: &str) -> bool {
    // One that has ended and is not yet fetched is no more.
    let state = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    state.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

async fn gone(pid: &str) {
    let wait = async {
        while runs(pid) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{pid} still runs"));
}

/// Zombies among the children of this process: only of those whose ids are given.
fn is_zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_program_that_runs_once_gives_what_it_prints() {
    let mut exec = once("echo '{\"point\":\"level\",\"value\":7}'; printf 'm x=1,y=2'", PATIENCE);
    assert_eq!(poll(&mut exec).await, [good("level", 7.0), good("m.x", 1.0), good("m.y", 2.0)]);
    assert!(exec.waiting(&device()).misses.is_empty());
    let times = exec.read(DEVICE, &device(), &[]).await;
    assert_eq!(times.len(), 1, "the readings of a run have one time");
}

#[tokio::test]
async fn a_program_has_few_variables_no_input_and_no_shell_reads_its_arguments() {
    let mut exec = once(
        "n=$(cat | wc -c); printf 'm e=\"%s\",d=\"%s\",in=%si\\n' \"$(env | cut -d= -f1 | sort | tr '\\n' ' ')\" \"$PATTOO_DEVICE $PATTOO_PROFILE $PATTOO_EVERY_MS $COLOUR\" $n",
        PATIENCE,
    );
    let samples = poll(&mut exec).await;
    assert_eq!(text(&samples, "m.d"), "tank readings 10000 blue");
    let names: Vec<&str> = text(&samples, "m.e").split_whitespace().collect();
    let known =
        ["COLOUR", "HOME", "LANG", "OLDPWD", "PATH", "PATTOO_DEVICE", "PATTOO_EVERY_MS", "PATTOO_PROFILE", "PWD", "SHLVL", "TZ", "_"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(samples.contains(&good("m.in", 0.0)));
    let mut exec = once("", PATIENCE);
    exec.program.run = ["/bin/echo", "m x=1,y=\"$(id);`id`\""].map(str::to_owned).to_vec();
    assert_eq!(text(&poll(&mut exec).await, "m.y"), "$(id);`id`");
}

#[tokio::test]
async fn a_status_that_is_not_0_leaves_doubt_and_what_was_not_told_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("fails");
    let mut exec = once(&format!("echo m x=1; [ -e {0} ] && {{ echo m y=; exit 3; }}; echo m y=2", flag.display()), PATIENCE);
    assert_eq!(poll(&mut exec).await, [good("m.x", 1.0), good("m.y", 2.0)]);
    std::fs::write(&flag, "").unwrap();
    let mut failed = poll(&mut exec).await;
    failed.sort_by(|a, b| a.0.cmp(&b.0));
    let doubt = Sample::Uncertain(Value::F64(1.0), Reason::ProgramFailed);
    assert_eq!(failed, [("m.x".to_owned(), doubt), ("m.y".to_owned(), Sample::Bad(Reason::ProgramFailed))]);
    assert_eq!(exec.waiting(&device()).misses, [("bad line", 1), ("exit status", 1)].into());
    std::fs::remove_file(&flag).unwrap();
    assert_eq!(poll(&mut exec).await, [good("m.x", 1.0), good("m.y", 2.0)]);
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let mut exec = once("sleep 1000 & printf 'm a=\"%s\",b=\"%s\"\\n' $$ $!; wait", Duration::from_millis(500));
    let samples = poll(&mut exec).await;
    let pids: Vec<String> = samples
        .iter()
        .map(|(_, sample)| match sample {
            Sample::Uncertain(Value::Text(pid), Reason::Timeout) => pid.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pids.len(), 2);
    for pid in &pids {
        gone(pid).await;
    }
    assert!(!is_zombie(&pids[0]));
    assert_eq!(exec.waiting(&device()).misses, [("timeout", 1)].into());
    exec.program.run[2] = "sleep 1000".to_owned();
    let silent = poll(&mut exec).await;
    assert!(silent.len() == 2 && silent.iter().all(|(_, sample)| *sample == Sample::Bad(Reason::Timeout)), "{silent:?}");
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_up_its_poll() {
    let started = Instant::now();
    let mut exec = once("sleep 1000 & printf 'm b=\"%s\"\\n' $!", Duration::from_secs(15));
    let samples = poll(&mut exec).await;
    gone(text(&samples, "m.b")).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_program_that_floods_is_stopped() {
    let mut exec = once("while :; do echo m x=1; done", PATIENCE);
    let samples = poll(&mut exec).await;
    assert!(!samples.is_empty() && samples.iter().all(|(_, sample)| *sample == Sample::Uncertain(Value::F64(1.0), Reason::ProgramFailed)));
    assert_eq!(exec.waiting(&device()).misses["too much output"], 1);
    let mut exec = once("head -c 300000 /dev/zero | tr '\\0' x; echo; echo m x=1", PATIENCE);
    assert_eq!(poll(&mut exec).await, [good("m.x", 1.0)], "a line without end costs only itself");
    assert_eq!(exec.waiting(&device()).misses, [("line too long", 1)].into());
    let mut exec = once("head -c 100000 /dev/zero | tr '\\0' '\\n'", PATIENCE);
    poll(&mut exec).await;
    assert_eq!(exec.waiting(&device()).misses, [("too much output", 1)].into(), "lines without anything are lines");
    let mut exec = once("head -c 3000000 /dev/zero | tr '\\0' '\\n' >&2; echo m x=1", PATIENCE);
    assert_eq!(poll(&mut exec).await, [good("m.x", 1.0)], "stderr may be long");
}

#[tokio::test]
async fn garbage_costs_only_its_lines() {
    let mut exec = once("head -c 20000 /dev/urandom; echo; echo '{'; echo m x=1; printf '\\377\\n'; echo m y=2", PATIENCE);
    assert_eq!(poll(&mut exec).await, [good("m.x", 1.0), good("m.y", 2.0)]);
    assert!(exec.waiting(&device()).misses["bad line"] >= 2);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_bad_and_said() {
    let mut exec = once("echo m x=1", PATIENCE);
    poll(&mut exec).await;
    exec.program.run = vec!["/nowhere/at-all".to_owned()];
    assert_eq!(poll(&mut exec).await, [("m.x".to_owned(), Sample::Bad(Reason::ProgramFailed))]);
    assert_eq!(exec.waiting(&device()).misses, [("not started", 1)].into());
    exec.program.run = ["/bin/echo", "m x=1"].map(str::to_owned).to_vec();
    exec.program.directory = PathBuf::from("/nowhere");
    assert_eq!(poll(&mut exec).await, [("m.x".to_owned(), Sample::Bad(Reason::ProgramFailed))]);
}

#[tokio::test]
async fn a_read_that_is_dropped_takes_its_program_along() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let mut exec = once(&format!("sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", file.display()), PATIENCE);
    let pids = loop {
        // Each attempt is dropped in the middle.
        let _ = timeout(Duration::from_millis(300), exec.read(DEVICE, &device(), &[])).await;
        if let Ok(text) = std::fs::read_to_string(&file) {
            break text;
        }
    };
    for pid in pids.split_whitespace() {
        gone(pid).await;
    }
}

/// Hears until this many readings came, in calls that are dropped again and again.
async fn hear(exec: &mut Exec, count: usize) -> Vec<(String, Sample)> {
    let config = config();
    let mut all = Vec::new();
    let wait = async {
        while all.len() < count {
            tokio::select! {
                biased;
                heard = exec.hear(&config) => all.extend(named(heard.transactions)),
                () = sleep(Duration::from_millis(3)) => {}
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("it is bounded");
    all
}

fn config() -> Config {
    let text = "gateway: g\nuplink: { url: mqtt://127.0.0.1 }\ndevices: [{ name: tank, exec: { run: [x], mode: keep } }]\n";
    let (config, problems) = crate::config::read_for_test(text, (*readings()).clone());
    assert_eq!(problems, []);
    config.unwrap()
}

#[tokio::test]
async fn a_program_that_is_kept_is_heard_line_by_line_and_started_again_when_it_ends() {
    let script = "echo m x=1; sleep 0.1; printf 'm x='; sleep 0.1; echo 2; echo oops >&2; printf 'm x=3'";
    let mut exec = exec_that_may_be_silent(script, Mode::Keep, PATIENCE);
    let started = Instant::now();
    assert_eq!(hear(&mut exec, 4).await, [good("m.x", 1.0), good("m.x", 2.0), good("m.x", 3.0), good("m.x", 1.0)]);
    assert!(started.elapsed() >= FIRST_PAUSE, "not at once");
    assert_eq!(exec.waiting(&device()).misses, [("program ended", 1)].into());
    assert!(exec.read(DEVICE, &device(), &[]).await.is_empty());
}

#[tokio::test]
async fn a_program_that_is_kept_and_falls_silent_or_dies_leaves_its_series_bad() {
    let mut exec = exec("echo m x=1; exec sleep 1000", Mode::Keep);
    assert_eq!(hear(&mut exec, 2).await, [good("m.x", 1.0), ("m.x".to_owned(), Sample::Bad(Reason::Stale))]);
    let mut exec = super::tests::exec("[ -e $0 ] && echo m x=1", Mode::Keep);
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("there");
    std::fs::write(&flag, "").unwrap();
    exec.program.run.push(flag.display().to_string());
    assert_eq!(hear(&mut exec, 1).await, [good("m.x", 1.0)]);
    std::fs::remove_file(&flag).unwrap();
    let bad = hear(&mut exec, 1).await;
    assert_eq!(bad.last(), Some(&("m.x".to_owned(), Sample::Bad(Reason::Stale))), "{bad:?}");
}

#[tokio::test]
async fn the_pause_before_a_program_is_started_again_doubles_up_to_a_limit() {
    let mut kept = Kept::default();
    let pauses: Vec<_> = (0..8)
        .map(|_| {
            kept.started = Some(Instant::now());
            kept.ended();
            kept.pause.as_secs()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    tokio::time::pause();
    tokio::time::advance(GOOD_RUN).await;
    kept.ended();
    assert_eq!(kept.pause, FIRST_PAUSE);
}

#[tokio::test]
async fn a_program_that_is_kept_ends_with_its_driver() {
    let mut exec = exec("sleep 1000 & printf 'm a=\"%s\",b=\"%s\"\\n' $$ $!; wait", Mode::Keep);
    let samples = hear(&mut exec, 2).await;
    let pids = [text(&samples, "m.a").to_owned(), text(&samples, "m.b").to_owned()];
    assert!(pids.iter().all(|pid| runs(pid)));
    drop(exec);
    for pid in &pids {
        gone(pid).await;
    }
    let own = pids[0].clone();
    let fetched = async {
        while is_zombie(&own) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, fetched).await.expect("its end was fetched");
}

#[tokio::test]
async fn a_program_that_is_kept_and_floods_is_held_back() {
    let mut exec = exec("yes 'm x=1'", Mode::Keep);
    let config = config();
    let (mut bytes, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_millis(900) {
        let heard = timeout(Duration::from_millis(100), exec.hear(&config)).await;
        bytes += heard.map_or(0, |heard| heard.transactions.iter().map(|t| t.readings.len() * 6).sum());
    }
    assert!((1..=(1 << 20) + 16_384).contains(&bytes), "{bytes}");
}
