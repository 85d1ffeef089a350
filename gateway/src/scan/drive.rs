//! Asks what a scan wants to know, over the session that the driver uses. Shell; sends nothing but reads.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::{Ask, Report, Scan, Setting, Step, Wanted, Why};
use crate::config::Profiles;
use crate::driver::modbus::session::{Failure, Session};
use crate::driver::wall_clock;

/// Why there is nothing to report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    /// No connection, no port.
    #[error("cannot open {0}: is it there, and does nobody else use it?")]
    Unreachable(String),
}

/// How far a scan has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Since it began.
    pub elapsed: Duration,
    /// What is asked now.
    pub asking: String,
    /// Devices found so far.
    pub found: usize,
}

/// Scans until all is known, the time is up, or `stop` is done. `tell` is given what to expect beforehand, line by line, and `progress` each
/// question.
///
/// # Errors
/// The link cannot be opened.
pub async fn scan(
    wanted: &Wanted,
    profiles: &Profiles,
    tell: impl FnOnce(Vec<String>),
    mut progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, ScanError> {
    let mut scan = Scan::new(wanted.clone(), profiles);
    tell(scan.forecast());
    let start = Instant::now();
    let mut open: Option<(Setting, Session)> = None;
    tokio::pin!(stop);
    while let Step::Ask(ask) = scan.next(start.elapsed()) {
        progress(&Progress { elapsed: start.elapsed(), asking: asking(wanted, &ask), found: scan.found.len() });
        let mut session = match open.take() {
            Some((setting, session)) if setting == ask.setting => session,
            // The port is closed before it is opened with other settings.
            other => {
                drop(other);
                Session::new(&wanted.transport(ask.setting), wall_clock())
            }
        };
        session.set_timeout(ask.timeout);
        let exchange = tokio::select! {
            exchange = timeout_at(start + wanted.budget, session.ask(ask.unit, &ask.question, Duration::ZERO)) => exchange,
            () = &mut stop => break,
        };
        let Ok(exchange) = exchange else { break };
        if exchange.result == Err(Failure::Unreachable) && scan.asked == 0 {
            return Err(ScanError::Unreachable(wanted.target_name()));
        }
        scan.heard(&ask, &exchange.result);
        open = Some((ask.setting, session));
    }
    Ok(scan.report(start.elapsed()))
}

fn asking(wanted: &Wanted, ask: &Ask) -> String {
    let line = if wanted.is_serial() { format!("{}, ", ask.setting.text()) } else { String::new() };
    match ask.why {
        Why::Probe(_) => format!("{line}unit {}", ask.unit),
        Why::Evidence(_) => format!("{line}unit {}: what is it?", ask.unit),
    }
}
