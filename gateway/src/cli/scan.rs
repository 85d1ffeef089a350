//! `scan`: its arguments, its progress on standard error, its result on standard output.

mod bacnet;
mod snmp;

use std::fmt::Display;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::sync::watch;

use crate::config::Profiles;
use crate::profile::Parity;
use crate::scan::drive::{self, Progress};
use crate::scan::{BAUDS, BUDGET, PARITIES, Target, Wanted, settings};

/// How often progress is shown: where somebody watches, and where it goes to a file.
const SHOW_EVERY: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Longest time that a scan may take, and longest wait for an answer.
const MAX_BUDGET: Duration = Duration::from_secs(24 * 3600);
const MAX_ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum ScanCommand {
    /// Modbus devices; sends nothing but reads, and answers with what it has found when it is interrupted
    Modbus(ModbusArgs),
    /// SNMP agents; sends nothing but reads, and answers with what it has found when it is interrupted
    Snmp(snmp::SnmpArgs),
    /// BACnet/IP devices, or those of an EDE file; sends nothing but Who-Is and reads
    Bacnet(bacnet::BacnetArgs),
}

#[derive(Debug, Args)]
pub(super) struct ModbusArgs {
    #[command(flatten)]
    place: Place,
    /// Speeds to try on a serial port, separated by commas
    #[arg(long, value_delimiter = ',', requires = "serial", default_values_t = BAUDS)]
    baud: Vec<u32>,
    /// Parities to try on a serial port: none, even, odd, separated by commas
    #[arg(long, value_delimiter = ',', requires = "serial", value_parser = super::parity, default_value = "none,even,odd")]
    parity: Vec<Parity>,
    /// Unit ids, such as 1-247 or 1,5,10-20
    #[arg(long, default_value = "1-247", value_parser = units)]
    units: Units,
    /// How long the scan may take, such as 60s or 10m
    #[arg(long, default_value_t = BUDGET.into())]
    budget: humantime::Duration,
    /// How long a device may take before its answer begins: usually 120ms on a serial port, 1s through a network
    #[arg(long)]
    timeout: Option<humantime::Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// A Modbus TCP device or gateway, host:port
    #[arg(long)]
    tcp: Option<String>,
    /// A serial server, host:port
    #[arg(long)]
    rtu_over_tcp: Option<String>,
    /// A serial port
    #[arg(long)]
    serial: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Units(Vec<u8>);

fn units(text: &str) -> Result<Units, String> {
    let wrong = || format!("found {text:?}, expected unit ids from 0 to 255, such as 1-247 or 1,5,10-20");
    let mut units = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let one = |text: &str| text.trim().parse::<u8>().map_err(|_| wrong());
        let (first, last) = (one(first)?, one(last)?);
        if first > last {
            return Err(wrong());
        }
        units.extend(first..=last);
    }
    units.sort_unstable();
    units.dedup();
    Ok(Units(units))
}

fn wanted(args: &ModbusArgs) -> Result<Wanted> {
    let target = match &args.place {
        Place { tcp: Some(endpoint), .. } => Target::Tcp(endpoint.clone()),
        Place { rtu_over_tcp: Some(endpoint), .. } => Target::RtuOverTcp(endpoint.clone()),
        Place { serial: Some(path), .. } => Target::Serial(path.clone()),
        _ => bail!("expected one of --tcp, --rtu-over-tcp and --serial"),
    };
    if let Some(baud) = args.baud.iter().find(|baud| !(300..=1_000_000).contains(*baud)) {
        bail!("found --baud {baud}, expected bits per second from 300 to 1000000");
    }
    let budget = Duration::from(args.budget);
    if !(Duration::from_secs(1)..=MAX_BUDGET).contains(&budget) {
        bail!("found --budget {}, expected a time from 1s to 24h", args.budget);
    }
    let turnaround = args.timeout.map(Duration::from);
    if turnaround.is_some_and(|time| time < Duration::from_millis(10) || time > MAX_ANSWER) {
        bail!("expected a --timeout from 10ms to 60s");
    }
    let settings = match target {
        Target::Serial(_) => settings(&args.baud, &args.parity),
        _ => settings(&BAUDS[..1], &PARITIES[..1]),
    };
    Ok(Wanted { target, settings, units: args.units.0.clone(), budget, turnaround })
}

pub(super) async fn scan(command: &ScanCommand, profiles: &Profiles, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let mut shown = Shown::new();
    let mut told = stop.clone();
    let stopped = async move {
        let _ = told.wait_for(|stop| *stop).await;
    };
    match command {
        ScanCommand::Modbus(args) => {
            let wanted = wanted(args)?;
            let progress = |p: &Progress| shown.show(p.elapsed, &p.asking, p.found);
            let tell = |lines: Vec<String>| lines.iter().for_each(|line| eprintln!("{line}"));
            let report = drive::scan(&wanted, profiles, tell, progress, stopped).await;
            shown.end();
            print(&report?, args.json)
        }
        ScanCommand::Snmp(args) => snmp::scan(args, profiles, stop).await,
        ScanCommand::Bacnet(args) => {
            let report = args.report(profiles, |p| shown.show(p.elapsed, &p.asking, p.found), stopped).await;
            shown.end();
            print(&report?, args.json)
        }
    }
}

fn print<R: Serialize + Display>(report: &R, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Progress as it is shown.
struct Shown {
    watched: bool,
    last: Option<Duration>,
}

impl Shown {
    fn new() -> Self {
        Self { watched: std::io::stderr().is_terminal(), last: None }
    }

    fn show(&mut self, elapsed: Duration, asking: &str, found: usize) {
        let every = if self.watched { SHOW_EVERY } else { LOG_EVERY };
        if self.last.is_some_and(|at| elapsed < at + every) {
            return;
        }
        self.last = Some(elapsed);
        let text = format!("{:>5.0} s  {asking}, found {found}", elapsed.as_secs_f64());
        if self.watched {
            eprint!("\r\x1b[K{text}")
        } else {
            eprintln!("{text}")
        }
        // What cannot be shown is only progress.
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.watched {
            eprint!("\r\x1b[K");
        }
    }
}
