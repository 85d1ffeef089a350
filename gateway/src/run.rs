//! Runs the daemon: the only place that spawns, and the only one that names a backend.
//!
//! One task owns each connection of a link, one joins readings into batches, one thread owns the buffer, one task owns the uplink. Between
//! them are bounded channels: a slow disk holds up polling rather than filling the memory. A new configuration gets new tasks around the
//! same buffer.

mod batcher;
mod clerk;
mod control;
mod keeper;
mod life;
mod lookout;
mod orders;
mod reload;
mod turns;
mod watchdog;
mod window;

use std::path::Path;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tracing::{info, warn};

use self::life::{End, live};
use self::reload::Parts;
use crate::buffer::{self, Limits, worker};
use crate::clock::now_ms;
use crate::config::{Loaded, MAX_LINKS};

pub(crate) use self::lookout::free_bytes;
pub use self::reload::{Reload, Request, Source};
pub use self::turns::poll;

/// Transactions between the links and the batcher.
const MAX_QUEUED_TRANSACTIONS: usize = 256;
/// Enough for the most links, of which one to a program has two pipes and a handle, for clients of a socket, the buffer and the uplink.
const OPEN_FILES: u64 = 3 * MAX_LINKS as u64 + 256;

/// Runs until `stop` turns true, then stops in reverse order of start. Takes over another configuration when `reload` is asked to.
///
/// # Errors
/// The buffer can neither be opened nor begun anew, or the uplink lacks a file.
pub async fn run(loaded: Loaded, mut reload: Reload, ready_file: Option<&Path>, stop: watch::Receiver<bool>) -> Result<()> {
    raise_open_files();
    let mut parts = Parts::of(loaded)?;
    let own = &parts.config.buffer;
    let (buffer, notices) =
        buffer::open(&own.path, Limits::from(own), now_ms()).with_context(|| format!("buffer {}", own.path.display()))?;
    for notice in notices {
        warn!("{notice}");
    }
    let (handle, requests) = worker::channel(buffer.stats());
    let buffer_thread = std::thread::Builder::new().name("buffer".into()).spawn(move || worker::serve(buffer, requests))?;
    while let End::Next(next) = live(parts, &handle, &mut reload, ready_file, stop.clone()).await? {
        parts = *next;
    }
    drop(handle);
    let _ = tokio::task::spawn_blocking(move || buffer_thread.join()).await;
    info!("stopped");
    Ok(())
}

/// Runs something beside everything else, until it ends by itself.
pub fn in_background(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Whether the daemon could start with it. Connects nothing and opens no buffer.
///
/// # Errors
/// The uplink lacks a file, or the devices do not fit one schema.
pub fn can_start(loaded: Loaded) -> Result<()> {
    Parts::of(loaded).map(drop)
}

/// Runs what blocks beside everything else, until it ends by itself.
///
/// # Errors
/// The system gives no thread.
pub fn in_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// As many open files as the system lets this process have: each link takes one, and most systems give 1024 unless asked for more.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || limit.current.is_some_and(|files| files < OPEN_FILES) {
        warn!("this process may have {:?} open files, {OPEN_FILES} let it open all the links that it takes", limit.current);
    }
}

/// Sets the jitter of back-offs, so that gateways that lost the same switch do not come back in step.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}
