//! What a scan found, for people, scripts and the configuration. Pure.
//!
//! Its text is YAML: what was found is in comments, links and devices are to be pasted into the configuration of a gateway.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::dossier::{Answered, Dossier};
use super::order::ranges;
use super::rank::{Ranked, rank};
use super::{Scan, Setting, Target, Wanted};

/// Most profiles that are shown of a device.
const MAX_SHOWN: usize = 4;
/// Most settings that a list of what was missed names.
const MAX_SETTINGS: usize = 6;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where.
    pub target: String,
    /// How long it took.
    pub seconds: f64,
    /// Requests that were sent.
    pub requests: u32,
    /// By unit.
    pub devices: Vec<Found>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Links and devices for a configuration.
    pub config: String,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Unit id.
    pub unit: u8,
    /// Speed of the line; none on a network.
    pub baud: Option<u32>,
    /// Parity of the line; none on a network.
    pub parity: Option<&'static str>,
    /// What it said.
    pub evidence: Vec<String>,
    /// Profiles that fit, the best first.
    pub profiles: Vec<Ranked>,
}

impl Setting {
    /// `9600 baud, parity none`.
    pub(super) fn text(self) -> String {
        format!("{} baud, parity {}", self.baud, self.parity.name())
    }
}

impl Scan<'_> {
    /// What is known now.
    pub(super) fn report(&self, elapsed: Duration) -> Report {
        let mut dossiers: Vec<_> = self.found.iter().collect();
        dossiers.sort_by_key(|dossier| dossier.unit);
        let devices: Vec<Found> = dossiers.into_iter().map(|dossier| self.device(dossier)).collect();
        let seconds = (elapsed.as_secs_f64() * 10.0).round() / 10.0;
        let config = config(&self.wanted.target, &devices);
        Report { target: self.wanted.target_name(), seconds, requests: self.asked, notes: self.notes(), config, devices }
    }

    fn device(&self, dossier: &Dossier) -> Found {
        let serial = self.wanted.is_serial();
        let (baud, parity) = (serial.then_some(dossier.setting.baud), serial.then(|| dossier.setting.parity.name()));
        Found { unit: dossier.unit, baud, parity, evidence: evidence(dossier), profiles: rank(dossier, self.profiles) }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = &self.gave_up {
            notes.push(format!("ended early: {why}"));
        }
        if self.all_alike {
            notes.push("the device answers for every unit id: taken for one device".to_owned());
        }
        if !self.doubtful.is_empty() {
            let mut units = self.doubtful.clone();
            units.sort_unstable();
            notes.push(format!(
                "answered by an exception that says neither that they are there nor that they are not: units {}",
                ranges(&units)
            ));
        }
        if !self.garbled.is_empty() {
            let mut units = self.garbled.clone();
            units.sort_unstable();
            notes.push(format!(
                "bytes came that are no answer when these units were asked: {}; a wrong speed, two devices of one unit, or one that takes longer (--timeout)?",
                ranges(&units)
            ));
        }
        if self.wanted.is_serial() && !self.found.is_empty() {
            notes.push("a line has one speed and parity: others were not tried once a device was found".to_owned());
        }
        if !self.all_alike {
            notes.extend(missed("not reached", &self.wanted, &self.order.missed(&self.wanted, Duration::ZERO)));
        }
        notes
    }

    /// Before it begins: how long it takes, and what it will not reach.
    pub(super) fn forecast(&self) -> Vec<String> {
        let longest = self.order.longest(&self.wanted);
        let budget = self.wanted.budget;
        let mut lines = vec![format!(
            "scanning {}: at most {} ({} where nobody answers anything)",
            self.wanted.target_name(),
            brief(budget.min(longest)),
            brief(longest)
        )];
        if longest > budget {
            lines.extend(missed("will not be reached where nobody answers", &self.wanted, &self.order.missed(&self.wanted, budget)));
        }
        lines
    }
}

/// In whole seconds.
fn brief(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs_f64().ceil() as u64)).to_string()
}

fn missed(what: &str, wanted: &Wanted, missed: &[(Setting, Vec<u8>)]) -> Option<String> {
    let one = |(setting, units): &(Setting, Vec<u8>)| match wanted.is_serial() {
        true => format!("units {} at {}", ranges(units), setting.text()),
        false => format!("units {}", ranges(units)),
    };
    let mut parts: Vec<_> = missed.iter().take(MAX_SETTINGS).map(one).collect();
    if missed.len() > MAX_SETTINGS {
        parts.push(format!("{} more settings", missed.len() - MAX_SETTINGS));
    }
    (!parts.is_empty()).then(|| format!("{what}: {} (--budget)", parts.join("; ")))
}

impl Wanted {
    pub(super) fn target_name(&self) -> String {
        match &self.target {
            Target::Tcp(endpoint) => format!("Modbus TCP at {endpoint}"),
            Target::RtuOverTcp(endpoint) => format!("the serial server at {endpoint}"),
            Target::Serial(path) => path.display().to_string(),
        }
    }
}

fn evidence(dossier: &Dossier) -> Vec<String> {
    let mut lines = vec![match dossier.first {
        Answered::Value => "answers a read".to_owned(),
        Answered::Refused(code) => format!("answers with exception {code:02}"),
    }];
    if let Some(sunspec) = &dossier.sunspec {
        lines.push(format!("SunSpec at {}: {} {}", sunspec.base, sunspec.vendor, sunspec.model).trim_end().to_owned());
    }
    const NAMES: [&str; 7] = ["vendor", "product code", "revision", "URL", "product name", "model", "application"];
    let object = |(id, text): (&u8, &String)| match NAMES.get(usize::from(*id)) {
        Some(name) => format!("{name} {text}"),
        None => format!("object {id} {text}"),
    };
    if !dossier.identity.is_empty() {
        lines.push(format!("function 43/14: {}", dossier.identity.iter().map(object).collect::<Vec<_>>().join(", ")));
    }
    if let Some(bytes) = &dossier.server_id {
        lines.push(format!("function 17: {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")));
    }
    if dossier.is_silent() {
        lines.push("then it fell silent, so that not all was asked".to_owned());
    }
    lines
}

/// Links and devices. A line of which no device is known to a profile is left as a comment: a configuration without devices is none.
fn config(target: &Target, devices: &[Found]) -> String {
    let mut text = String::new();
    let known = devices.iter().any(|device| !device.profiles.is_empty());
    let hash = if known { "" } else { "# " };
    let setting = devices.first().and_then(|device| Some((device.baud?, device.parity?)));
    let (name, link) = match target {
        Target::Tcp(endpoint) => ("plc", format!("{{ tcp: {} }}", json!(endpoint))),
        Target::RtuOverTcp(endpoint) => ("serial-server", format!("{{ rtu_over_tcp: {} }}", json!(endpoint))),
        Target::Serial(path) => {
            let (baud, parity) = setting.unwrap_or((9600, "none"));
            ("line1", format!("{{ serial: {}, baud: {baud}, parity: {parity} }}", json!(path.to_string_lossy())))
        }
    };
    if devices.is_empty() {
        return text;
    }
    let _ = writeln!(text, "{hash}links:\n{hash}  {name}: {link}\n{hash}devices:");
    for device in devices {
        let unit = device.unit;
        let line = |profile: &str| format!("- {{ name: {profile}-{unit}, profile: {profile}, link: {name}, unit: {unit} }}");
        match device.profiles.split_first() {
            None => {
                let _ = writeln!(
                    text,
                    "#   unit {unit}: no profile fits\n#   - {{ name: unit-{unit}, profile: ?, link: {name}, unit: {unit} }}"
                );
            }
            Some((best, others)) => {
                let _ = writeln!(text, "  {}", line(&best.profile));
                for other in others.iter().filter(|other| other.score == best.score) {
                    let _ = writeln!(text, "#   or, which cannot be told apart: {}", line(&other.profile));
                }
            }
        }
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, requests, seconds) = (self.devices.len(), self.requests, self.seconds);
        writeln!(
            f,
            "# {}: {count} {} found, {requests} requests in {seconds} s",
            self.target,
            if count == 1 { "device" } else { "devices" }
        )?;
        for device in &self.devices {
            let line = device.baud.zip(device.parity).map(|(baud, parity)| format!(" at {baud} baud, parity {parity}")).unwrap_or_default();
            writeln!(f, "#\n# unit {}{line}", device.unit)?;
            for evidence in &device.evidence {
                writeln!(f, "#   {evidence}")?;
            }
            for ranked in device.profiles.iter().take(MAX_SHOWN) {
                writeln!(f, "#   profile {} (score {}): {}", ranked.profile, ranked.score, ranked.why.join("; "))?;
            }
            if device.profiles.is_empty() {
                writeln!(f, "#   no profile fits")?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(f, "#")?;
        }
        for note in &self.notes {
            writeln!(f, "# note: {note}")?;
        }
        f.write_str(&self.config)
    }
}
