//! `scan bacnet`: its arguments.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::config::{Bacnet, Foreign, Profiles};
use crate::scan::BUDGET;
use crate::scan::bacnet::drive::{self, Progress, WAIT, Wanted};
use crate::scan::bacnet::report::Report;
use crate::scan::bacnet::{MAX_EDE_BYTES, StateTexts, Way, read_ede, read_state_texts};

/// Highest instance of a device.
const MAX_INSTANCE: u32 = 4_194_302;
/// How long the registration with a BBMD is good.
const TTL: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub(in crate::cli) struct BacnetArgs {
    /// Address and port of this machine to ask from; port 0 for any, which needs devices that answer to whoever asked
    #[arg(long, default_value = "0.0.0.0:47808")]
    local: SocketAddr,
    /// Where questions to everybody go, such as 10.0.0.255:47808; of one device, its own address
    #[arg(long, default_value = "255.255.255.255:47808")]
    broadcast: SocketAddr,
    /// Ask by way of the BBMD at this address, as a foreign device
    #[arg(long)]
    bbmd: Option<SocketAddr>,
    /// Instances of devices, such as 3000-3999
    #[arg(long, default_value = "0-4194302", value_parser = range)]
    range: (u32, u32),
    /// How long the answers to one question to everybody are waited for
    #[arg(long, default_value_t = WAIT.into())]
    wait: humantime::Duration,
    /// How long a device may take to answer
    #[arg(long, default_value = "3s")]
    timeout: humantime::Duration,
    /// How long the scan may take, such as 60s or 10m
    #[arg(long, default_value_t = BUDGET.into())]
    budget: humantime::Duration,
    /// Ask nobody: read the objects of this EDE file
    #[arg(long, conflicts_with_all = ["bbmd", "range", "wait", "timeout", "budget"])]
    ede: Option<PathBuf>,
    /// The file of state texts that belongs to it
    #[arg(long, requires = "ede")]
    state_texts: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn range(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("found {text:?}, expected instances from 0 to {MAX_INSTANCE}, such as 3000-3999");
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let one = |text: &str| text.trim().parse().ok().filter(|number| *number <= MAX_INSTANCE).ok_or_else(wrong);
    let (low, high) = (one(low)?, one(high)?);
    if low <= high { Ok((low, high)) } else { Err(wrong()) }
}

impl BacnetArgs {
    fn wanted(&self) -> Result<Wanted> {
        let within = |name: &str, time: humantime::Duration, least: Duration, most: Duration| {
            let time = Duration::from(time);
            if (least..=most).contains(&time) {
                Ok(time)
            } else {
                bail!(
                    "found --{name} {}, expected {} to {}",
                    humantime::format_duration(time),
                    humantime::format_duration(least),
                    humantime::format_duration(most)
                )
            }
        };
        let second = Duration::from_secs(1);
        let mut link = Bacnet::at(self.local);
        link.broadcast = self.broadcast;
        link.foreign = self.bbmd.map(|bbmd| Foreign { bbmd, ttl: TTL });
        link.timeout = within("timeout", self.timeout, Duration::from_millis(50), 60 * second)?;
        let wait = within("wait", self.wait, Duration::from_millis(50), 60 * second)?;
        let budget = within("budget", self.budget, second, super::MAX_BUDGET)?;
        Ok(Wanted { link, range: self.range, wait, budget })
    }

    fn way(&self, target: String) -> Way {
        let bbmd = self.bbmd.map(|bbmd| bbmd.to_string());
        let broadcast = (self.broadcast != crate::config::bacnet::BROADCAST).then(|| self.broadcast.to_string());
        let ttl = humantime::format_duration(TTL).to_string();
        let link = Way::link(&self.local.to_string(), broadcast.as_deref(), bbmd.as_deref().map(|bbmd| (bbmd, ttl.as_str())));
        Way { target, link }
    }

    /// Scans, or reads the file.
    pub(super) async fn report(
        &self,
        profiles: &Profiles,
        progress: impl FnMut(&Progress),
        stopped: impl Future<Output = ()>,
    ) -> Result<Report> {
        if let Some(file) = &self.ede {
            let texts = match &self.state_texts {
                Some(file) => read(file, read_state_texts)?,
                None => StateTexts::new(),
            };
            let devices = read(file, |file, content| read_ede(file, content, &texts))?;
            return Ok(drive::from_ede(&self.way(file.display().to_string()), &devices, profiles));
        }
        let wanted = self.wanted()?;
        let target = match wanted.link.foreign {
            Some(foreign) => format!("BACnet by way of the BBMD at {}", foreign.bbmd),
            None => format!("BACnet at {}", wanted.link.broadcast),
        };
        eprintln!("scanning {target}: at most {}", humantime::format_duration(wanted.budget));
        Ok(drive::scan(&wanted, &self.way(target), profiles, progress, stopped).await?)
    }
}

fn read<T>(file: &Path, parse: impl FnOnce(&Path, &[u8]) -> Result<T, Vec<crate::yaml::Problem>>) -> Result<T> {
    let content = crate::profile::read_limited(file, MAX_EDE_BYTES).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    parse(file, &content).map_err(|problems| {
        super::super::print_problems(&problems);
        anyhow::anyhow!("{} cannot be used", file.display())
    })
}
