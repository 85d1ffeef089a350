//! Law 1 against real programs: every reading that the gateway logged as buffered is in the store, once, in order.
//!
//! The device is pymodbus, the programs are the real binaries, killed with SIGKILL; the moments come from a seed that is
//! printed and can be given again as PATTOO_TEST_SEED.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pattoo_tests::program::Program;
use pattoo_tests::pymodbus::PymodbusDevice;
use pattoo_tests::stack::{Readings, Stack, buffered, wait_stored};
use pattoo_tests::wait_for;

const GATEWAY_KILLS: usize = 20;
const LINK_CUTS: usize = 20;
/// Beside the one that keeps the server away.
const SERVER_KILLS: usize = 10;
const SERVER_DOWN: Duration = Duration::from_secs(60);
/// How long a loaded machine may take to catch up in the end.
const CATCH_UP: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Link,
    Gateway,
    Server,
}

#[test]
fn nothing_buffered_is_lost_or_doubled_through_kills_and_cuts() -> Result<()> {
    let seed = std::env::var("PATTOO_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: PATTOO_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut stack = Stack::new()?;
    let meter = start_meter(&stack)?;
    stack.start_server()?;
    let config = stack.configure_gateway(
        "plant7",
        &format!(
            "links: {{ line: {{ tcp: '127.0.0.1:{}', timeout: 1s }} }}
devices:
  - {{ name: main-meter, profile: eastron-sdm630, link: line, unit: 1, every: 500ms }}
  - {{ name: this-host, profile: linux-host, every: 500ms }}
",
            meter.port
        ),
    )?;
    let mut log = Vec::new();
    stack.start_gateway(&config)?;

    // In quiet times the link to the broker is cut at random moments.
    for _ in 0..LINK_CUTS / 2 {
        pause(&mut random, 100..1500);
        stack.relay.cut()?;
    }
    // The server is away for a minute. The gateway reads on, and is killed now and then.
    stack.kill_server()?;
    let away = Instant::now();
    for _ in 0..GATEWAY_KILLS / 2 {
        pause(&mut random, 0..4000);
        log.extend(stack.gateway.take().context("it runs")?.kill());
        stack.start_gateway(&config)?;
    }
    let before = buffered(&log)?.len();
    wait_out(SERVER_DOWN.saturating_sub(away.elapsed()));
    let backlog = buffered(&[log.clone(), stack.gateway.as_ref().context("it runs")?.output()].concat())?.len();
    ensure!(backlog > before && backlog > 1000, "the gateway buffered only {before} -> {backlog} readings while the server was away");
    stack.start_server()?;
    // While the backlog drains, everything fails in random order.
    let mut faults =
        [vec![Fault::Gateway; GATEWAY_KILLS / 2], vec![Fault::Link; LINK_CUTS / 2], vec![Fault::Server; SERVER_KILLS]].concat();
    random.shuffle(&mut faults);
    for fault in faults {
        pause(&mut random, 30..1500);
        match fault {
            Fault::Link => stack.relay.cut()?,
            Fault::Gateway => {
                log.extend(stack.gateway.take().context("it runs")?.kill());
                stack.start_gateway(&config)?;
            }
            Fault::Server => {
                stack.kill_server()?;
                stack.relay.cut()?;
                stack.start_server()?;
            }
        }
    }

    // Everything logged so far must arrive while the gateway goes on; then both stop cleanly and everything is compared.
    let so_far = buffered(&[log.clone(), stack.gateway.as_ref().context("it runs")?.output()].concat())?;
    let api = stack.api()?;
    wait_stored(api, "plant7", &so_far, CATCH_UP).with_context(|| {
        let tail = |program: &Option<Program>| program.as_ref().map(|p| p.tail()).unwrap_or_default();
        format!("{}\n{}", tail(&stack.gateway), tail(&stack.server))
    })?;
    let mut gateway = stack.gateway.take().context("it runs")?;
    ensure!(gateway.stop()?.success(), "the gateway did not stop cleanly");
    log.extend(gateway.output());
    // What it buffered while stopping waits for its next start.
    stack.start_gateway(&config)?;
    let logged = buffered(&log)?;
    wait_stored(api, "plant7", &logged, CATCH_UP)?;
    ensure_all_came(&logged)?;
    eprintln!("{} readings buffered, all of them in the store once, in order per series", logged.len());
    Ok(())
}

/// The comparison above would also hold for nothing at all.
fn ensure_all_came(logged: &Readings) -> Result<()> {
    let points: std::collections::BTreeSet<_> = logged.keys().map(|(device, point, _)| (device, point)).collect();
    ensure!(points.iter().filter(|(device, _)| *device == "main-meter").count() >= 40, "only these points came: {points:?}");
    ensure!(points.iter().any(|(device, _)| *device == "this-host"), "nothing came from the host");
    Ok(())
}

fn start_meter(stack: &Stack) -> Result<PymodbusDevice> {
    let words = stack.folder().join("words.json");
    std::fs::write(&words, meter_words())?;
    PymodbusDevice::start(&words)
}

/// Registers 0 to 0x17F of unit 1 as floats that tell their own address.
fn meter_words() -> String {
    let words = (0..0x180u16).map(|address| {
        let bits = (f32::from(address & !1) + 0.125).to_bits();
        let word = if address % 2 == 0 { bits >> 16 } else { bits & 0xffff };
        format!("\"{address}\": {word}")
    });
    format!("{{\"1\": {{\"input\": {{{}}}}}}}", words.collect::<Vec<_>>().join(", "))
}

/// Lets real programs run on for a random while: the faults' own schedule, not a wait for a condition.
fn pause(random: &mut fastrand::Rng, range_ms: std::ops::Range<u64>) {
    wait_out(Duration::from_millis(random.u64(range_ms)));
}

fn wait_out(span: Duration) {
    let _ = wait_for::<()>("the span to be over", span, || None);
}
