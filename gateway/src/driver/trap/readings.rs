//! What a notification means to a device: which of its points have a reading now, and which are to be read. Pure.

use std::sync::Arc;

use pattoo_wire::{Decimal, Labels, Reason, Sample, Value as Meant};

use super::notice::Notice;
use crate::profile::snmp::{Factor, Value};
use crate::profile::{Profile, Read, TrapRead};
use crate::reading::{PointIndex, Reading, Row};

/// Longest name of a row, in bytes: a series' name has no more room.
const MAX_IDENTITY_BYTES: usize = 128;

/// The readings that it makes, and the points that it hastens, of a device with this profile.
pub(super) fn readings(profile: &Profile, notice: &Notice) -> (Vec<Reading>, Vec<PointIndex>) {
    let traps = profile.points.iter().enumerate().filter_map(|(index, point)| match &point.read {
        Read::Trap(read) => Some((PointIndex(index), read, point.range)),
        _ => None,
    });
    let mut taken: Vec<_> = traps.clone().filter(|(_, read, _)| read.takes(&notice.trap)).collect();
    if taken.is_empty() {
        taken.extend(traps.filter(|(_, read, _)| read.is_any()));
    }
    let mut hastened: Vec<PointIndex> = taken.iter().flat_map(|(_, read, _)| read.hastens.iter().copied()).collect();
    hastened.sort_unstable();
    hastened.dedup();
    let readings =
        taken.into_iter().map(|(point, read, range)| Reading { point, row: row(read, notice), sample: sample(read, range, notice) });
    (readings.collect(), hastened)
}

fn sample(read: &TrapRead, range: Option<(f64, f64)>, notice: &Notice) -> Sample {
    let number = read.traps.iter().find(|(trap, _)| *trap == notice.trap).and_then(|(_, number)| *number);
    if let Some(mantissa) = number {
        return Sample::Good(Meant::Decimal(Decimal { mantissa, exponent: 0 }));
    }
    let Some((object, how)) = &read.value else { return Sample::Good(Meant::Text(notice.text())) };
    match notice.under(object) {
        Some((_, value)) => how.decode(value, Factor::default(), range),
        None => Sample::Bad(Reason::Unavailable),
    }
}

/// The first of its objects that the notification brings: by its text where it is one, else by its place in the table.
fn row(read: &TrapRead, notice: &Notice) -> Option<Arc<Row>> {
    let identity = read.rows.iter().find_map(|column| {
        let (index, value) = notice.under(column)?;
        let text = match value {
            Value::Octets(_) => value.plain().filter(|text| !text.is_empty() && text.len() <= MAX_IDENTITY_BYTES),
            _ => Some(crate::profile::snmp::dotted(index)).filter(|index| !index.is_empty()),
        };
        text.map(|text| text.replace(['[', ']'], "_"))
    })?;
    Some(Arc::new(Row::new(identity, Labels::new())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::snmp::Oid;

    const POINTS: &str = "
  - { name: if_oper_status, read: { oid: 1.3.6.1.2.1.2.2.1.8.1, type: integer } }
  - { name: sys_uptime, read: { oid: 1.3.6.1.2.1.1.3.0, type: timeticks } }
  - name: link
    read: { trap: { 1.3.6.1.6.3.1.1.5.3: 2, 1.3.6.1.6.3.1.1.5.4: 1 }, row: [1.3.6.1.2.1.31.1.1.1.1, 1.3.6.1.2.1.2.2.1.1] }
    states: { 1: up, 2: down }
    hastens: [if_oper_status]
  - { name: reason, read: { trap: [1.3.6.1.6.3.1.1.5.3], value: 1.3.6.1.4.1.9.2.2.1.1.20, row: 1.3.6.1.2.1.2.2.1.1 }, hastens: [sys_uptime, if_oper_status] }
  - { name: level, read: { trap: 1.3.6.1.4.1.99.0.1, value: 1.3.6.1.4.1.99.1.0, type: integer, scale: 0.1 }, range: [0, 100] }
  - { name: other, read: { trap: any } }
";

    fn notice(trap: &str, varbinds: &[(&str, Value)]) -> Notice {
        let oid = |text: &str| text.parse::<Oid>().unwrap();
        let varbinds = varbinds.iter().map(|(name, value)| (oid(name), value.clone())).collect();
        Notice { trap: oid(trap), inform: false, agent: None, varbinds }
    }

    #[test]
    fn a_notification_becomes_readings_of_the_points_that_name_it() {
        let text = format!("schema: 1\nid: m\nmanufacturer: x\nmodel: x\npoints:{POINTS}");
        let profile = Profile::read("m.yaml".as_ref(), text.as_bytes()).unwrap();
        let (name, index) =
            (("1.3.6.1.2.1.31.1.1.1.1.7", Value::Octets(b"ge-0/0/[7]".to_vec())), ("1.3.6.1.2.1.2.2.1.1.7", Value::Integer(7)));
        let because = ("1.3.6.1.4.1.9.2.2.1.1.20.7", Value::Octets(b"admin down".to_vec()));
        let level = |number| ("1.3.6.1.4.1.99.1.0", Value::Integer(number));
        let (down, up) = ("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4");
        for (trap, varbinds, readings, hastened) in [
            (down, vec![name, index.clone(), because.clone()], "link[ge-0/0/_7_] = 2, reason[7] = admin down", "0 1"),
            (down, vec![index.clone()], "link[7] = 2, reason[7]: unavailable", "0 1"),
            (down, vec![], "link = 2, reason: unavailable", "0 1"),
            (up, vec![index, because], "link[7] = 1", "0"),
            ("1.3.6.1.4.1.99.0.1", vec![level(455)], "level = 45.5", ""),
            ("1.3.6.1.4.1.99.0.1", vec![level(1455)], "level: out of range", ""),
            ("1.3.6.1.4.1.99.0.1", vec![("1.3.6.1.4.1.99.1.0", Value::Ip([1, 2, 3, 4]))], "level: malformed reply", ""),
            ("1.3.6.1.4.1.99.0.2", vec![level(1)], "other = 1.3.6.1.4.1.99.0.2 1.3.6.1.4.1.99.1.0=1", ""),
        ] {
            let (found, hastens) = super::readings(&profile, &notice(trap, &varbinds));
            let text = |reading: &Reading| {
                let name = &profile.points[reading.point.0].name;
                let row = reading.row.as_ref().map(|row| format!("[{}]", row.identity)).unwrap_or_default();
                match &reading.sample {
                    Sample::Bad(reason) => format!("{name}{row}: {reason}"),
                    sample => format!("{name}{row} = {}", sample.value().unwrap()),
                }
            };
            let found: Vec<_> = found.iter().map(text).collect();
            let hastens: Vec<_> = hastens.iter().map(|point| point.0.to_string()).collect();
            assert_eq!((found.join(", ").as_str(), hastens.join(" ").as_str()), (readings, hastened), "{trap} {varbinds:?}");
        }
    }
}
