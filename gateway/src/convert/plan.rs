//! What the old files ask for together: targets that several groups name are one device, devices that read the same share a profile. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::text::{self, plain, slug};
use super::{CONFIG, NewFile, Old, PROFILES, SECRETS};
use crate::config::Profiles;
use crate::yaml::{Position, Problem, Problems};

/// Longest list of groups in a label, in characters.
const MAX_GROUPS_CHARS: usize = 120;

/// All that is to be written.
pub(super) struct Plan<'k> {
    out: PathBuf,
    pub(super) known: &'k Profiles,
    pub(super) changes: Vec<Problem>,
    targets: Vec<Target>,
    /// By the name of the file, without `.yaml`.
    secrets: BTreeMap<String, String>,
}

/// A target, and what is read of it.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) way: Way,
    pub(super) every_s: u64,
    pub(super) groups: Vec<String>,
    pub(super) reads: Reads,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Modbus {
        unit: u8,
    },
    /// The mapping of `snmp`.
    Snmp(String),
    /// The address of this side, and that of the other.
    Bacnet {
        local: String,
        address: String,
    },
    Host,
}

/// What is read of a target.
pub(super) enum Reads {
    /// What a shipped profile says.
    Shipped(&'static str),
    Points(Vec<Point>),
}

/// A point of a profile that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) kind: Option<&'static str>,
    /// What is in its `read`.
    pub(super) read: String,
    /// The SNMP table that it is a column of.
    pub(super) table: Option<String>,
    pub(super) about: Option<String>,
}

/// A device with its names.
pub(super) struct Named<'t> {
    pub(super) name: String,
    pub(super) profile: String,
    /// Its link and the mapping of that.
    pub(super) link: Option<(String, String)>,
    pub(super) target: &'t Target,
}

impl Target {
    /// What distinguishes it from others of the same host.
    fn kind(&self) -> &'static str {
        match (&self.way, &self.reads) {
            (Way::Modbus { .. }, _) => "modbus",
            (Way::Snmp(_), Reads::Shipped(profile)) => profile,
            (Way::Snmp(_), _) => "snmp",
            (Way::Bacnet { .. }, _) => "bacnet",
            (Way::Host, _) => "host",
        }
    }

    pub(super) fn every(&self) -> impl std::fmt::Display {
        humantime::format_duration(Duration::from_secs(self.every_s))
    }

    /// Its groups, for a label.
    pub(super) fn groups(&self) -> String {
        self.groups.join(", ").chars().take(MAX_GROUPS_CHARS).collect()
    }

    fn points(&self) -> &[Point] {
        if let Reads::Points(points) = &self.reads { points } else { &[] }
    }
}

impl<'k> Plan<'k> {
    pub(super) fn new(out: &Path, known: &'k Profiles) -> Self {
        Self { out: out.to_owned(), known, changes: Vec::new(), targets: Vec::new(), secrets: BTreeMap::new() }
    }

    /// Notes that something is otherwise than before; once.
    pub(super) fn change(&mut self, file: &Path, at: Position, message: String) {
        let change = Problem { file: file.to_owned(), line: at.line, column: at.column, message };
        if !self.changes.iter().any(|other| (&other.file, &other.message) == (&change.file, &change.message)) {
            self.changes.push(change);
        }
    }

    /// Keeps the content of a file of secrets; its path.
    pub(super) fn secret(&mut self, name: &str, text: String) -> PathBuf {
        let name = unique(&slug(name), &self.secrets.keys().cloned().collect());
        let path = self.out.join(SECRETS).join(format!("{name}.yaml"));
        self.secrets.insert(name, text);
        path
    }

    /// Adds a target, or what is new of one that is there.
    pub(super) fn add(&mut self, at: Position, new: Target, problems: &mut Problems<'_>) {
        let kind = new.kind();
        let same = |old: &&mut Target| (&old.host, &old.way, old.kind()) == (&new.host, &new.way, kind);
        let Some(old) = self.targets.iter_mut().find(same) else {
            self.targets.push(new);
            return;
        };
        if old.every_s != new.every_s {
            problems.add(at, format!("{} is polled every {} already, not every {}", new.host, old.every(), new.every()));
        }
        old.groups.extend(new.groups.into_iter().filter(|group| !old.groups.contains(group)).collect::<Vec<_>>());
        let (Reads::Points(old), Reads::Points(new)) = (&mut old.reads, new.reads) else { return };
        for point in new {
            match old.iter().find(|other| other.name == point.name) {
                None => old.push(point),
                Some(other) if other.read == point.read => {}
                Some(other) => problems.add(at, format!("{} is read twice: `{}` stays, not `{}`", point.name, other.read, point.read)),
            }
        }
    }

    /// The files, and a line for each device; nothing where there is no device.
    pub(super) fn files(&self, olds: &[Old], problems: &mut Vec<Problem>) -> (Vec<NewFile>, Vec<String>) {
        let named = self.named();
        if named.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let shipped = named.iter().filter(|device| matches!(device.target.reads, Reads::Shipped(_)));
        let missing: BTreeSet<_> = shipped.map(|device| device.profile.as_str()).filter(|id| !self.known.contains_key(*id)).collect();
        for id in missing {
            problems
                .push(Problem::whole(Path::new(&format!("{id}.yaml")), "this profile is in none of the profile folders: see --profiles"));
        }
        let sources = olds.iter().map(|old| old.file.file_name().unwrap_or_default().to_string_lossy()).collect::<Vec<_>>().join(", ");
        let file = |path: PathBuf, text, secret| NewFile { path, text, secret };
        let mut files = vec![file(CONFIG.into(), text::config(&sources, &named), false)];
        let mut done = BTreeSet::new();
        for Named { profile, target, .. } in named.iter().filter(|device| !device.target.points().is_empty()) {
            if done.insert(profile) {
                let path = Path::new(PROFILES).join(format!("{profile}.yaml"));
                files.push(file(path, text::profile(&sources, profile, &target.groups(), target.points()), false));
            }
        }
        let secret = |(name, text): (&String, &String)| file(Path::new(SECRETS).join(format!("{name}.yaml")), text.clone(), true);
        files.extend(self.secrets.iter().map(secret));
        let line = |Named { name, profile, target, .. }: &Named<'_>| {
            let points = match target.points().len() {
                0 => String::new(),
                1 => "1 point, ".to_owned(),
                count => format!("{count} points, "),
            };
            format!("device {name}: {points}every {}, profile {profile}", target.every())
        };
        (files, named.iter().map(line).collect())
    }

    /// Devices by names that are told apart, and the profiles that they share.
    fn named(&self) -> Vec<Named<'_>> {
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        let (mut taken, mut ids) = (BTreeSet::new(), self.known.keys().cloned().collect::<BTreeSet<_>>());
        let mut named: Vec<Named<'_>> = Vec::new();
        for target in &self.targets {
            let units = self.targets.iter().filter(|other| other.host == target.host && other.kind() == target.kind()).count();
            let mut name = slug(&target.host);
            if let (Way::Modbus { unit }, 2..) = (&target.way, units) {
                name = format!("{name}-unit-{unit}");
            }
            if taken.contains(&name) {
                name = format!("{name}-{}", target.kind());
            }
            let name = unique(&name, &taken);
            taken.insert(name.clone());
            let profile = match &target.reads {
                Reads::Shipped(id) => (*id).to_owned(),
                Reads::Points(points) => {
                    let same =
                        named.iter().find(|other| other.target.kind() == target.kind() && other.target.points() == points.as_slice());
                    same.map_or_else(
                        || {
                            let base = format!(
                                "pattoo-{}-{}",
                                target.kind(),
                                slug(&target.groups.join("-")).to_lowercase().replace(['.', '_'], "-")
                            );
                            let id = unique(&base, &ids);
                            ids.insert(id.clone());
                            id
                        },
                        |other| other.profile.clone(),
                    )
                }
            };
            let link = link(target).map(|(name, mapping)| {
                let others = links.values().cloned().collect();
                (links.entry(mapping.clone()).or_insert_with(|| unique(&name, &others)).clone(), mapping)
            });
            named.push(Named { name, profile, link, target });
        }
        named
    }
}

/// This name, or with a number behind it where it is taken.
fn unique(name: &str, taken: &BTreeSet<String>) -> String {
    /// So long that a number fits behind it.
    const MAX_CHARS: usize = 58;
    let short: String = name.chars().take(MAX_CHARS).collect();
    let numbered = (2..).map(|number| format!("{short}-{number}"));
    std::iter::once(short.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(short)
}

/// The link that a device needs: a name for it, and its mapping; none where it has none.
fn link(target: &Target) -> Option<(String, String)> {
    match &target.way {
        Way::Modbus { .. } => {
            let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
            Some((format!("modbus-{}", slug(&target.host)), format!("tcp: {}", plain(&format!("{host}:502")))))
        }
        Way::Bacnet { local, .. } => Some((format!("bacnet-{}", slug(local)), format!("bacnet: {}", plain(local)))),
        Way::Snmp(_) | Way::Host => None,
    }
}
