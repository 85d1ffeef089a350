//! `scan snmp`: its arguments, its progress on standard error, its result on standard output.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::{LOG_EVERY, MAX_ANSWER, MAX_BUDGET, SHOW_EVERY};
use crate::config::{Profiles, snmp};
use crate::profile::read_limited;
use crate::scan::drive::Progress;
use crate::scan::snmp::{BUDGET, MAX_PARALLEL, MAX_WAYS, PARALLEL, TIMEOUT, Wanted, drive, hosts};

#[derive(Debug, Args)]
pub(in crate::cli) struct SnmpArgs {
    /// Addresses or names: 10.0.0.9, 10.0.0.1-10.0.0.20, 10.0.0.0/24, switch.example
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Communities to try, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "public", conflicts_with = "user")]
    community: Vec<String>,
    /// Version of SNMP with a community
    #[arg(long, value_parser = ["1", "2c"], default_value = "2c", conflicts_with = "user")]
    snmp_version: String,
    /// User of version 3
    #[arg(long)]
    user: Option<String>,
    /// How the user proves who it is: md5, sha1, sha224, sha256, sha384, sha512
    #[arg(long, requires = "user")]
    auth: Option<String>,
    /// How what is said is encrypted: des, aes128, aes192, aes256
    #[arg(long = "priv", requires = "auth")]
    privacy: Option<String>,
    /// How a key that is too short is made longer: blumenthal, reeder
    #[arg(long, requires = "privacy")]
    key_extension: Option<String>,
    /// File with the passwords of the user: { auth: ..., priv: ... }
    #[arg(long, requires = "user")]
    secrets: Option<PathBuf>,
    /// Port of the agents
    #[arg(long, default_value_t = 161)]
    port: u16,
    /// Agents that are asked at the same time
    #[arg(long, default_value_t = PARALLEL)]
    parallel: usize,
    /// How long the scan may take, such as 60s or 10m
    #[arg(long, default_value_t = BUDGET.into())]
    budget: humantime::Duration,
    /// How long an answer is waited for
    #[arg(long, default_value_t = TIMEOUT.into())]
    timeout: humantime::Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What stands beside `host` in the `snmp:` of a device.
fn ways(args: &SnmpArgs) -> Vec<String> {
    let Some(user) = &args.user else {
        let version = if args.snmp_version == "1" { "version: 1, " } else { "" };
        return args.community.iter().map(|community| format!("{version}community: {}", json!(community))).collect();
    };
    let mut way = format!("version: 3, user: {}", json!(user));
    let secrets = args.secrets.as_ref().map(|file| file.display().to_string());
    let keys = [("auth", &args.auth), ("priv", &args.privacy), ("key_extension", &args.key_extension), ("secrets", &secrets)];
    for (key, value) in keys {
        value.iter().for_each(|value| way += &format!(", {key}: {}", json!(value)));
    }
    vec![way]
}

fn wanted(args: &SnmpArgs) -> Result<Wanted> {
    let (budget, timeout) = (Duration::from(args.budget), Duration::from(args.timeout));
    if !(Duration::from_secs(1)..=MAX_BUDGET).contains(&budget) {
        bail!("found --budget {}, expected a time from 1s to 24h", args.budget);
    }
    if !(Duration::from_millis(50)..=MAX_ANSWER).contains(&timeout) {
        bail!("found --timeout {}, expected a time from 50ms to 60s", args.timeout);
    }
    if !(1..=MAX_PARALLEL).contains(&args.parallel) {
        bail!("found --parallel {}, expected 1 to {MAX_PARALLEL}", args.parallel);
    }
    let ways = ways(args);
    if ways.len() > MAX_WAYS {
        bail!("found {} communities, expected at most {MAX_WAYS}", ways.len());
    }
    let port = args.port;
    let with_port = |host: String| match port {
        161 => host,
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    };
    let hosts = hosts(&args.hosts).map_err(anyhow::Error::msg)?.into_iter().map(with_port).collect();
    Ok(Wanted { hosts, ways, budget, timeout, parallel: args.parallel })
}

/// The agent of a way at an address.
fn agent(host: &str, way: &str) -> Result<snmp::Agent, String> {
    let text = format!("{{ host: {}, {way} }}", json!(host));
    let read = snmp::read_agent(&text, &|file, most| read_limited(file, most));
    read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

pub(super) async fn scan(args: &SnmpArgs, profiles: &Profiles, mut stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let wanted = wanted(args)?;
    // What is wrong with a way is wrong with it everywhere.
    for way in &wanted.ways {
        agent("127.0.0.1", way).map_err(anyhow::Error::msg)?;
    }
    let watched = std::io::stderr().is_terminal();
    let mut shown: Option<Duration> = None;
    let progress = |progress: &Progress| {
        let every = if watched { SHOW_EVERY } else { LOG_EVERY };
        if shown.is_some_and(|at| progress.elapsed < at + every) {
            return;
        }
        shown = Some(progress.elapsed);
        let text = format!("{:>5.0} s  {}, found {}", progress.elapsed.as_secs_f64(), progress.asking, progress.found);
        if watched {
            eprint!("\r\x1b[K{text}")
        } else {
            eprintln!("{text}")
        }
        // What cannot be shown is only progress.
        let _ = std::io::stderr().flush();
    };
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let count = wanted.hosts.len();
    eprintln!("asking {count} addresses, {} at a time, for at most {}", wanted.parallel.min(count), args.budget);
    let report = drive::scan(&wanted, profiles, |host, way| agent(host, way).ok(), progress, stopped).await;
    if watched {
        eprint!("\r\x1b[K");
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
