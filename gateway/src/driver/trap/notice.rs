//! What a notification says: which one it is, and the values that it brings. Pure. A trap of v1 becomes what it is in v2 (RFC 3584, 3.1).

use std::net::{IpAddr, Ipv4Addr};

use snmp2::{AsnReader, Value as Wire};

use super::ber::SEQUENCE;
use super::message::{INFORM, Pdu, TRAP, TRAP_V1};
use crate::profile::snmp::{Oid, Value};

/// Most values of one notification; what is behind them is left out.
const MAX_VARBINDS: usize = 256;
/// Longest text that is made of a notification, in bytes.
const MAX_TEXT_BYTES: usize = 512;

const SYS_UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
const TRAP_OID: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0];
/// `snmpTrapAddress`, with which a proxy says where a trap of v1 came from.
const TRAP_ADDRESS: &[u32] = &[1, 3, 6, 1, 6, 3, 18, 1, 3, 0];
/// `snmpTraps`: under it are the generic traps of v1.
const GENERIC: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 5];
/// The generic trap that says: see the enterprise.
const ENTERPRISE_SPECIFIC: i64 = 6;

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// Which notification.
    pub(super) trap: Oid,
    /// It wants to be acknowledged.
    pub(super) inform: bool,
    /// Where it says that it comes from: the agent of a v1 trap, or what a proxy names.
    pub(super) agent: Option<IpAddr>,
    /// What it brings, without its time and its own name.
    pub(super) varbinds: Vec<(Oid, Value)>,
}

impl Notice {
    /// Nothing where this PDU is no notification, or no whole one.
    pub(super) fn read(pdu: Pdu<'_>) -> Option<Self> {
        let mut parts = AsnReader::from_bytes(pdu.content);
        match pdu.tag {
            TRAP_V1 => Self::v1(&mut parts),
            TRAP | INFORM => {
                for _ in ["request id", "error status", "error index"] {
                    parts.read_asn_integer().ok()?;
                }
                Self::v2(varbinds(&mut parts)?, pdu.tag == INFORM)
            }
            _ => None,
        }
    }

    fn v1(parts: &mut AsnReader<'_>) -> Option<Self> {
        let enterprise = Oid::from_ber(parts.read_asn_objectidentifier().ok()?.as_bytes())?;
        let agent = Ipv4Addr::from(parts.read_snmp_ipaddress().ok()?);
        let (generic, specific) = (parts.read_asn_integer().ok()?, parts.read_asn_integer().ok()?);
        parts.read_snmp_timeticks().ok()?;
        let trap = match generic {
            ENTERPRISE_SPECIFIC => enterprise.with(&[0, u32::try_from(specific).ok()?])?,
            0..ENTERPRISE_SPECIFIC => Oid::new(GENERIC)?.with(&[u32::try_from(generic).ok()? + 1])?,
            _ => return None,
        };
        let agent = Some(IpAddr::V4(agent)).filter(|agent| !agent.is_unspecified());
        Some(Self { trap, inform: false, agent, varbinds: varbinds(parts)? })
    }

    fn v2(mut varbinds: Vec<(Oid, Value)>, inform: bool) -> Option<Self> {
        let of = |object: &[u32]| varbinds.iter().find(|(name, _)| name.parts() == object).map(|(_, value)| value);
        let Some(Value::Oid(trap)) = of(TRAP_OID).cloned() else { return None };
        let agent = match of(TRAP_ADDRESS) {
            Some(Value::Ip(agent)) => Some(IpAddr::from(*agent)),
            _ => None,
        };
        varbinds.retain(|(name, _)| ![SYS_UPTIME, TRAP_OID, TRAP_ADDRESS].contains(&name.parts()));
        Some(Self { trap, inform, agent, varbinds })
    }

    /// The first value under this object, and what stands behind it in its name: the row of a column.
    pub(super) fn under(&self, object: &Oid) -> Option<(&[u32], &Value)> {
        self.varbinds.iter().find_map(|(name, value)| Some((name.below(object)?, value)))
    }

    /// All of it in one line.
    pub(super) fn text(&self) -> String {
        let varbinds = self.varbinds.iter().map(|(name, value)| format!(" {name}={}", value.plain().unwrap_or_default()));
        let mut text = self.trap.to_string() + &varbinds.collect::<String>();
        if text.len() > MAX_TEXT_BYTES {
            let end = (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
        }
        text
    }
}

fn varbinds(parts: &mut AsnReader<'_>) -> Option<Vec<(Oid, Value)>> {
    let mut list = AsnReader::from_bytes(parts.read_raw(SEQUENCE).ok()?);
    let mut varbinds = Vec::new();
    while list.bytes_left() > 0 && varbinds.len() < MAX_VARBINDS {
        let mut pair = AsnReader::from_bytes(list.read_raw(SEQUENCE).ok()?);
        let name = Oid::from_ber(pair.read_asn_objectidentifier().ok()?.as_bytes())?;
        varbinds.push((name, value(&mut pair)));
    }
    Some(varbinds)
}

/// What is not understood costs only itself.
fn value(parts: &mut AsnReader<'_>) -> Value {
    match parts.next() {
        Some(Wire::Integer(number)) => Value::Integer(number),
        Some(Wire::OctetString(bytes)) => Value::Octets(bytes.to_vec()),
        Some(Wire::ObjectIdentifier(oid)) => Oid::from_ber(oid.as_bytes()).map_or(Value::Other, Value::Oid),
        Some(Wire::IpAddress(bytes)) => Value::Ip(bytes),
        Some(Wire::Counter32(number)) => Value::Counter32(number),
        Some(Wire::Unsigned32(number)) => Value::Gauge(number),
        Some(Wire::Timeticks(number)) => Value::Ticks(number),
        Some(Wire::Counter64(number)) => Value::Counter64(number),
        Some(Wire::Opaque(bytes)) => Value::Opaque(bytes.to_vec()),
        Some(Wire::Null) => Value::Null,
        _ => Value::Other,
    }
}
