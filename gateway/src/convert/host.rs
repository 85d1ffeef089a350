//! The agents of this machine itself: one, whichever of them it was. Those of other machines want a gateway there. Pure.

use std::path::Path;

use super::group::interval_s;
use super::old::Section;
use super::plan::{Plan, Reads, Target, Way};
use crate::yaml::{Fields, Problems, Tree};

/// The profile of a Linux machine.
const PROFILE: &str = "linux-host";
/// What its device is called.
const NAME: &str = "this-machine";

pub(super) fn read(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let keys = ["polling_interval", "ip_listen_address", "ip_bind_port"];
    let every_s = match &section.node.tree {
        // An agent with nothing to say polls by its defaults.
        Tree::Null => 300,
        _ => match Fields::read(section.node, section.program, &keys, problems) {
            Some(fields) => interval_s(&fields, problems),
            None => return,
        },
    };
    this_machine(section, every_s, file, plan, problems);
}

fn this_machine(section: &Section<'_>, every_s: u64, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let message = format!("series {}_… are the points of the profile {PROFILE}, by names of their own", section.program);
    plan.change(file, section.node.at, message);
    let (way, groups, reads) = (Way::Host, Vec::new(), Reads::Shipped(PROFILE));
    plan.add(section.node.at, Target { host: NAME.to_owned(), way, every_s, groups, reads }, problems);
}

/// A hub asked agents of other machines, and maybe that of its own.
pub(super) fn read_hub(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let Some(fields) = Fields::read(section.node, section.program, &["polling_interval", "ip_targets", "ip_devices"], problems) else {
        return;
    };
    let every_s = interval_s(&fields, problems);
    for field in ["ip_targets", "ip_devices"].iter().filter_map(|key| fields.optional(key)) {
        for node in field.list("a list of - ip_address: …", problems).unwrap_or_default() {
            let keys = ["ip_address", "ip_bind_port"];
            let spoke = Fields::read(node, field.what.trim_end_matches(": "), &keys, problems);
            let Some(spoke) = spoke.and_then(|spoke| spoke.optional("ip_address")) else { continue };
            if matches!(&spoke.node.tree, Tree::Scalar(host) if ["127.0.0.1", "::1", "localhost"].contains(&host.as_str())) {
                this_machine(section, every_s, file, plan, problems);
                continue;
            }
            let host = spoke.node.describe();
            problems.add(
                node.at,
                format!("{}: {host} is another machine: install a gateway there, with the profile {PROFILE}", section.program),
            );
        }
    }
}
