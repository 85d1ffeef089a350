//! `pattoo_agent_bacnetipd`: analog values of devices that are known by their addresses. Pure.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use super::group::{OldPoint, fields, groups, interval_s, points, whole};
use super::old::Section;
use super::plan::{Plan, Point, Reads, Target, Way};
use crate::yaml::{Fields, Problems, Tree};

const PORT: u16 = 47_808;
/// Highest instance of an object.
const MAX_INSTANCE: i128 = 0x3F_FFFE;

pub(super) fn read(section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) {
    let Some(section_fields) = fields(section, &["agent_ip_address"], problems) else { return };
    let every_s = interval_s(&section_fields, problems);
    let local = local(&section_fields, section, file, plan, problems);
    for group in groups("polling_groups", &section_fields, &["points"], problems) {
        let Some(field) = group.fields.required("points", "a list such as - address: 162", problems) else { continue };
        let values: Vec<Point> = points(&field, problems).iter().filter_map(|old| value(old, problems)).collect();
        if values.is_empty() {
            continue;
        }
        plan.change(
            file,
            group.at,
            format!(
                "series {}_analog_value_point_N are the points analog_value_point_N; the name of the object is not among their labels",
                section.program
            ),
        );
        for (host, at) in &group.targets {
            let Some(address) = address(host) else {
                problems.add(*at, format!("found {host}, expected an IPv4 address: devices of BACnet/IP are reached by it"));
                continue;
            };
            let (local, address) = (local.to_string(), address.to_string());
            let (groups, reads) = (vec![group.name.clone()], Reads::Points(values.clone()));
            plan.add(*at, Target { host: (*host).to_owned(), way: Way::Bacnet { local, address }, every_s, groups, reads }, problems);
        }
    }
}

fn address(text: &str) -> Option<SocketAddrV4> {
    text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(|ip| SocketAddrV4::new(ip, PORT)))
}

/// Where this side listens.
fn local(fields: &Fields<'_>, section: &Section<'_>, file: &Path, plan: &mut Plan<'_>, problems: &mut Problems<'_>) -> SocketAddrV4 {
    let all = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
    let Some(field) = fields.optional("agent_ip_address").filter(|field| field.node.tree != Tree::Null) else {
        plan.change(file, section.node.at, format!("agent_ip_address is not there: the gateway uses all addresses of this machine, {all}"));
        return all;
    };
    let expected = "an IPv4 address of this machine; all of its addresses are used";
    // BAC0 takes the length of the prefix behind a slash.
    let text = field.text(expected, problems).map(|text| text.split('/').next().unwrap_or(text));
    match text.and_then(address) {
        Some(own) => own,
        None => {
            field.wrong(expected, problems);
            all
        }
    }
}

fn value(old: &OldPoint<'_>, problems: &mut Problems<'_>) -> Option<Point> {
    let instance = whole(&old.address, 0, MAX_INSTANCE, "the instance of an analog value", problems)?;
    let scale = old.multiplier.as_ref().map(|multiplier| format!(", scale: {multiplier}")).unwrap_or_default();
    let read = format!("object: analog-value, instance: {instance}{scale}");
    Some(Point { name: format!("analog_value_point_{instance}"), kind: None, read, table: None, about: None })
}
