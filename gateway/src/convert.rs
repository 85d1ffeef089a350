//! The YAML files of Pattoo's old agents -> a configuration of this gateway, the profiles that it needs, and files of secrets. Pure: opens and
//! writes nothing.
//!
//! | old agent | becomes |
//! |---|---|
//! | `pattoo_agent_modbustcpd` | a link for each target, a device for each of its units, a profile for each set of registers |
//! | `pattoo_agent_snmpd` | a device for each target, a profile for each set of OIDs, a file of secrets for each auth group |
//! | `pattoo_agent_snmp_ifmibd` | a device for each target with the profile `if-mib` |
//! | `pattoo_agent_bacnetipd` | a link for the agent's address, a device for each target, a profile for each set of points |
//! | `pattoo_agent_os_*`, `pattoo_agent_linux_*` | a device with the profile `linux-host`, once; other machines that a hub asked are told by name |
//! | `pattoo_agent_opcuad` | nothing: told by name |
//!
//! Both layouts are read: with the section of the agent's name, and without, where the name of the file or what is in it tells the agent. As in
//! the old agents, groups that name the same target add to each other. What cannot be converted costs only itself and is told with its line.
//! What comes out was read by the gateway's own readers: a profile or configuration that they refuse is not given out in silence.

mod bacnet;
mod group;
mod host;
mod modbus;
mod old;
mod plan;
mod snmp;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Profiles, check_text};
use crate::profile::Profile;
use crate::yaml::{self, Problem, Problems};
use old::{Agent, Section};
use plan::Plan;

/// Largest old file, in bytes.
pub(crate) const MAX_OLD_BYTES: usize = 1 << 20;
/// The configuration among the files that are made.
pub(crate) const CONFIG: &str = "gateway.yaml";
/// The folder of the profiles.
pub(crate) const PROFILES: &str = "hw-profiles";
/// The folder of the secrets.
pub(crate) const SECRETS: &str = "secrets";

/// An old file.
pub(crate) struct Old {
    pub(crate) file: PathBuf,
    pub(crate) content: Vec<u8>,
}

/// A file to be written.
pub(crate) struct NewFile {
    /// Below the folder for all of them.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Only its owner may read it.
    pub(crate) secret: bool,
}

/// What became of the old files.
#[derive(Default)]
pub(crate) struct Converted {
    /// None where there is nothing to read.
    pub(crate) files: Vec<NewFile>,
    /// A line for each device.
    pub(crate) devices: Vec<String>,
    /// What is read in another way, or bears another name.
    pub(crate) changes: Vec<Problem>,
    /// What could not be converted.
    pub(crate) problems: Vec<Problem>,
}

/// Converts these files, for a folder `out`; `known` are the profiles that this machine has.
pub(crate) fn convert(olds: &[Old], known: &Profiles, out: &Path) -> Converted {
    let mut plan = Plan::new(out, known);
    let mut problems = Vec::new();
    for Old { file, content } in olds {
        match yaml::parse(file, content, MAX_OLD_BYTES) {
            Ok(node) => {
                let mut own = Problems::of(file);
                for section in old::sections(file, &node, &mut plan, &mut own) {
                    read(&section, file, &mut plan, &mut own);
                }
                problems.extend(own.into_list());
            }
            Err(problem) => problems.push(problem),
        }
    }
    let (files, devices) = plan.files(olds, &mut problems);
    let mut converted = Converted { devices, changes: plan.changes, problems, files };
    converted.problems.extend(refused(&converted.files, known, out));
    converted
}

fn read(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    match section.agent {
        Agent::Modbus => modbus::read(section, file, plan, problems),
        Agent::Snmp | Agent::IfMib => snmp::read(section, file, plan, problems),
        Agent::Bacnet => bacnet::read(section, file, plan, problems),
        Agent::Host | Agent::Spoke => host::read(section, file, plan, problems),
        Agent::Hub => host::read_hub(section, file, plan, problems),
        Agent::OpcUa => group::refuse_opcua(section, problems),
    }
}

/// What the gateway's own readers say against these files.
fn refused(files: &[NewFile], known: &Profiles, out: &Path) -> Vec<Problem> {
    let Some(config) = files.iter().find(|file| file.path == Path::new(CONFIG)) else { return Vec::new() };
    let (mut profiles, mut problems): (BTreeMap<String, Arc<Profile>>, Vec<Problem>) = (known.clone(), Vec::new());
    for file in files.iter().filter(|file| file.path.starts_with(PROFILES)) {
        match Profile::read(&out.join(&file.path), file.text.as_bytes()) {
            Ok(profile) => {
                profiles.insert(profile.id.clone(), Arc::new(profile));
            }
            Err(own) => problems.extend(own),
        }
    }
    let secret = |path: &Path| files.iter().find(|file| out.join(&file.path) == path).map(|file| file.text.as_bytes().to_vec());
    problems.extend(check_text(&out.join(CONFIG), config.text.as_bytes(), profiles, &|path, _| {
        secret(path).ok_or_else(|| Problem::whole(path, "is not among what was made"))
    }));
    problems
}
