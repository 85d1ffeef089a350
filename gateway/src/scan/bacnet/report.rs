//! What a scan for BACnet devices found, for people, scripts and the configuration. Pure.
//!
//! Its text is YAML: what was found is in comments, links and devices are to be pasted into the configuration of a gateway. A profile that
//! was made from the objects of a device is a document of its own behind that, to be saved under the name in its first line.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::json;

use super::super::rank::Ranked;
use super::draft::{Draft, draft};
use super::rank::rank;
use super::{Told, Way};
use crate::config::Profiles;
use crate::driver::bacnet::names;
use crate::driver::bacnet::units::Unit;

/// Most profiles that are shown of a device.
const MAX_SHOWN: usize = 4;
/// Most objects of a device that its text shows; JSON has all.
const MAX_OBJECTS: usize = 500;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub target: String,
    /// How long it took.
    pub seconds: f64,
    /// By instance.
    pub devices: Vec<Found>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Links and devices for a configuration.
    pub config: String,
    /// Profiles that were made for devices that none fits.
    pub profiles: Vec<Made>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Found {
    /// Its instance.
    pub device: u32,
    /// Where it is: its address, with network and MAC of one behind a router; none where that is not known.
    pub address: Option<String>,
    /// Its object-name.
    pub name: String,
    /// Number of its maker.
    pub vendor_id: Option<u32>,
    /// Its maker.
    pub vendor: String,
    /// Its model-name.
    pub model: String,
    /// Its objects.
    pub objects: Vec<FoundObject>,
    /// Profiles that fit, the best first.
    pub profiles: Vec<Ranked>,
    /// The profile that was made for it.
    pub made: Option<String>,
}

/// One object of a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FoundObject {
    /// Its type.
    pub object: String,
    /// Its number.
    pub instance: u32,
    /// Its object-name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its present value when it was asked.
    pub value: String,
    /// Its unit.
    pub unit: String,
    /// Texts of its states.
    pub states: Vec<String>,
}

/// A profile made from the objects of a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Made {
    /// Its id; its file has the same name.
    pub id: String,
    /// The content of its file.
    pub text: String,
}

/// Judges what was told, and says it all.
pub(crate) fn report(way: &Way, seconds: f64, devices: &[Told], profiles: &Profiles, mut notes: Vec<String>) -> Report {
    let mut taken: BTreeSet<String> = profiles.keys().cloned().collect();
    let (mut found, mut made) = (Vec::new(), Vec::new());
    for told in devices {
        let ranked = rank(told, profiles);
        let draft = if ranked.is_empty() { draft(told, &taken) } else { None };
        if let Some(Draft { id, text, notes: own }) = draft.clone() {
            taken.insert(id.clone());
            made.push(Made { id, text });
            notes.extend(own);
        }
        found.push(one(told, ranked, draft.map(|draft| draft.id)));
    }
    let mut seen = BTreeSet::new();
    for device in &found {
        if !seen.insert(device.device) {
            notes.push(format!("more than one device has the instance {}: give one of them another", device.device));
        }
    }
    let seconds = (seconds * 10.0).round() / 10.0;
    Report { target: way.target.clone(), seconds, config: config(way, &found), devices: found, notes, profiles: made }
}

fn one(told: &Told, profiles: Vec<Ranked>, made: Option<String>) -> Found {
    let object = |object: &super::ToldObject| FoundObject {
        object: names::object_type(object.id.kind),
        instance: object.id.instance,
        name: object.name.clone(),
        description: object.description.clone(),
        value: object.value.clone(),
        unit: match object.units.map(Unit::from_number) {
            Some(Unit::Known(unit)) => unit.to_owned(),
            _ => String::new(),
        },
        states: object.states.clone(),
    };
    Found {
        device: told.instance,
        address: told.address.clone(),
        name: told.name.clone(),
        vendor_id: told.vendor_id,
        vendor: told.vendor.clone(),
        model: told.model.clone(),
        objects: told.objects.iter().map(object).collect(),
        profiles,
        made,
    }
}

/// Links and devices. One that no profile is for is a comment: a configuration without devices is none.
fn config(way: &Way, devices: &[Found]) -> String {
    let mut text = String::new();
    if devices.is_empty() {
        return text;
    }
    let known = devices.iter().any(|device| best(device).is_some());
    let hash = if known { "" } else { "# " };
    let _ = writeln!(text, "{hash}links:\n{hash}  bms: {}\n{hash}devices:", way.link);
    let mut seen = BTreeSet::new();
    for device in devices {
        let instance = device.device;
        let line =
            |profile: &str| format!("- {{ name: {profile}-{instance}, profile: {profile}, link: bms, bacnet: {{ device: {instance} }} }}");
        let again = !seen.insert(instance);
        match best(device) {
            None => {
                let _ = writeln!(text, "#   device {instance}: no profile fits, and it has nothing to make one from");
            }
            Some(profile) if again => {
                let _ = writeln!(text, "#   another device of that instance: {}", line(profile));
            }
            Some(profile) => {
                let _ = writeln!(text, "  {}", line(profile));
                let best = device.profiles.first().map(|ranked| ranked.score);
                for other in device.profiles.iter().skip(1).filter(|other| Some(other.score) == best) {
                    let _ = writeln!(text, "#   or, which cannot be told apart: {}", line(&other.profile));
                }
            }
        }
    }
    text
}

fn best(device: &Found) -> Option<&str> {
    device.profiles.first().map(|ranked| ranked.profile.as_str()).or(device.made.as_deref())
}

impl Way {
    /// A link as a configuration has it.
    pub(crate) fn link(local: &str, broadcast: Option<&str>, foreign: Option<(&str, &str)>) -> String {
        let mut keys = vec![format!("bacnet: {}", json!(local))];
        keys.extend(broadcast.map(|to| format!("broadcast: {}", json!(to))));
        keys.extend(foreign.map(|(bbmd, ttl)| format!("foreign: {{ bbmd: {}, ttl: {ttl} }}", json!(bbmd))));
        format!("{{ {} }}", keys.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.devices.len();
        writeln!(f, "# {}: {count} {} in {} s", self.target, if count == 1 { "device" } else { "devices" }, self.seconds)?;
        for device in &self.devices {
            fmt_device(device, f)?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "#")?;
        }
        for note in &self.notes {
            writeln!(f, "# note: {}", plain(note))?;
        }
        f.write_str(&self.config)?;
        self.profiles.iter().try_for_each(|made| write!(f, "--- # save as {}.yaml in the folder of profiles\n{}", made.id, made.text))
    }
}

fn fmt_device(device: &Found, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let at = device.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    writeln!(f, "#\n# device {}{at}: {}", device.device, plain(&device.name))?;
    let vendor = device.vendor_id.map(|id| format!(" (vendor {id})")).unwrap_or_default();
    writeln!(f, "#   {} {}{vendor}, {} objects", plain(&device.vendor), plain(&device.model), device.objects.len())?;
    for object in device.objects.iter().take(MAX_OBJECTS) {
        let mut line = format!("{} {}  {}", object.object, object.instance, object.name);
        for part in [&format!("{} {}", object.value, object.unit), &object.states.join("/"), &object.description] {
            if !part.trim().is_empty() {
                line = format!("{line}  {}", part.trim());
            }
        }
        writeln!(f, "#     {}", plain(&line))?;
    }
    if device.objects.len() > MAX_OBJECTS {
        writeln!(f, "#     … and {} more (--json)", device.objects.len() - MAX_OBJECTS)?;
    }
    for ranked in device.profiles.iter().take(MAX_SHOWN) {
        writeln!(f, "#   profile {} (score {}): {}", ranked.profile, ranked.score, plain(&ranked.why.join("; ")))?;
    }
    if let Some(made) = &device.made {
        writeln!(f, "#   no profile fits: {made} is made from its objects, see below")?;
    }
    Ok(())
}

/// One line: what devices say goes into comments.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
