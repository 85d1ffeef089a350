//! What the end-to-end tests, benchmarks and the demo share: real programs, fault links, and bounded waiting.
//!
//! Holds no product code. A peer that is missing is a failure that says how to install it, never a skipped test.

pub mod agent;
pub mod api;
pub mod authority;
pub mod bacpypes;
pub mod cc;
pub mod disk;
pub mod faketime;
pub mod fault;
pub mod kills;
pub mod libmodbus;
pub mod line;
pub mod matrix;
pub mod mosquitto;
pub mod mqtt;
pub mod old_agent;
pub mod partial;
pub mod plant;
pub mod program;
pub mod pump_house;
pub mod pymodbus;
pub mod sim;
pub mod site;
pub mod snmpd;
pub mod snmpsim;
pub mod stack;
pub mod store_plant;
pub mod udp_link;
pub mod usage;
pub mod victoria;
pub mod wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` gives something, at most `bound`.
///
/// # Errors
/// The bound is over; says what was waited for.
pub fn wait_for<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() > bound {
            bail!("waited {bound:?} in vain for {what}");
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The profiles of the checkout.
#[must_use]
pub fn profiles() -> PathBuf {
    root().join("hw-profiles")
}

/// The Python that `tests/run` prepared, with the peers in it.
///
/// # Errors
/// It is not there.
pub fn python() -> Result<PathBuf> {
    let path = std::env::var_os("PATTOO_TEST_PYTHON").map_or_else(|| root().join("target/test-tools/venv/bin/python"), PathBuf::from);
    if !path.exists() {
        bail!("{} is missing: run tests/run once, it installs the peers", path.display());
    }
    Ok(path)
}
