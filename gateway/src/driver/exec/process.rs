//! A child process in a group of its own: what it prints, says and ends with. Shell.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::{Instant, sleep_until, timeout};

use super::variables;
use crate::config::Program;

/// Bytes that are read at once.
const CHUNK: usize = 8 << 10;
/// How long pipes may stay open after the end of the program: somebody who left its group may hold them.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a killed process may take to be gone. One that hangs in the kernel is left to it.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// What happens to a process.
#[derive(Debug)]
pub(super) enum Event {
    /// It printed something.
    Out(Vec<u8>),
    /// It said something on stderr.
    Err(Vec<u8>),
    /// It has ended, and all that it printed was read.
    End(Ended),
    /// It could not be started.
    NotStarted(io::Error),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended(Option<ExitStatus>);

impl Ended {
    pub(super) fn success(self) -> bool {
        self.0.is_some_and(|status| status.success())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("a status that is not known"),
        }
    }
}

/// A running program. Its group is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    ended: Option<(Ended, Instant)>,
}

impl Process {
    pub(super) fn start(program: &Program, profile: &str, every_ms: Option<&str>) -> io::Result<Self> {
        let (name, arguments) = program.run.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(name);
        command.args(arguments).current_dir(&program.directory).env_clear().envs(variables(program, profile, every_ms));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        Ok(Self { child, group, out, err, ended: None })
    }

    /// What happens next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let (mut out, mut err) = ([0; CHUNK], [0; CHUNK]);
            let until = self.ended.map(|(_, at)| at + DRAIN);
            if let Some((ended, _)) = self.ended
                && (self.out.is_none() && self.err.is_none() || until.is_some_and(|until| Instant::now() >= until))
            {
                return Event::End(ended);
            }
            tokio::select! {
                count = read(&mut self.out, &mut out) => match out.get(..count) {
                    Some([]) | None => self.out = None,
                    Some(bytes) => return Event::Out(bytes.to_vec()),
                },
                count = read(&mut self.err, &mut err) => match err.get(..count) {
                    Some([]) | None => self.err = None,
                    Some(bytes) => return Event::Err(bytes.to_vec()),
                },
                status = self.child.wait(), if self.ended.is_none() => {
                    self.ended = Some((Ended(status.ok()), Instant::now()));
                    self.kill_group();
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        let _ = timeout(GONE_WITHIN, self.child.wait()).await;
    }

    /// All that belong to it. Once only, so that the number is never that of another group: it was this one's a moment ago.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            // Nobody may be left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// So many bytes; none at the end. For ever where there is nothing to read from.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    match pipe {
        Some(pipe) => pipe.read(into).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
