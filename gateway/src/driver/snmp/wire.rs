//! What snmp2 parsed -> our own values, and back to what it sends. Sends and receives nothing.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::borrow::Cow;

use snmp2::v3;

use crate::profile::snmp::{Oid, Value};

/// An OID as snmp2 has it.
#[must_use]
pub fn to_wire(oid: &Oid) -> snmp2::Oid<'static> {
    snmp2::Oid::new(Cow::Owned(oid.to_ber()))
}

/// Our own OID; none where it is none that SNMP allows.
#[must_use]
pub fn oid(oid: &snmp2::Oid<'_>) -> Option<Oid> {
    Oid::from_ber(oid.as_bytes())
}

/// Our own value.
#[must_use]
pub fn value(value: &snmp2::Value<'_>) -> Value {
    match value {
        snmp2::Value::Integer(n) => Value::Integer(*n),
        snmp2::Value::OctetString(octets) => Value::Octets(octets.to_vec()),
        snmp2::Value::ObjectIdentifier(found) => oid(found).map_or(Value::Other, Value::Oid),
        snmp2::Value::IpAddress(octets) => Value::Ip(*octets),
        snmp2::Value::Counter32(n) => Value::Counter32(*n),
        snmp2::Value::Unsigned32(n) => Value::Gauge(*n),
        snmp2::Value::Timeticks(n) => Value::Ticks(*n),
        snmp2::Value::Counter64(n) => Value::Counter64(*n),
        snmp2::Value::Opaque(bytes) => Value::Opaque(bytes.to_vec()),
        snmp2::Value::Null => Value::Null,
        snmp2::Value::NoSuchObject => Value::NoSuchObject,
        snmp2::Value::NoSuchInstance => Value::NoSuchInstance,
        snmp2::Value::EndOfMibView => Value::EndOfMib,
        _ => Value::Other,
    }
}

/// How many objects a session finds in a datagram. For those who send it damaged ones. `user` is none for versions 1 and 2c, and of
/// version 3 one who proves nothing: what is signed is not looked into before its signature fits.
#[must_use]
pub fn objects_in(datagram: &[u8], user: Option<(&str, &[u8], i64, i64)>) -> Option<usize> {
    // Version 3 writes into what it reads.
    let datagram = datagram.to_vec();
    // As after it was asked who it is: engine, boots and time.
    let known = |(user, engine, boots, time_s): (&str, &[u8], i64, i64)| {
        let security = v3::Security::new(user.as_bytes(), b"").with_auth(v3::Auth::NoAuthNoPriv);
        Some(security.with_engine_id(engine).ok()?.with_engine_boots_and_time(boots, time_s))
    };
    let mut security = user.and_then(known);
    let pdu = snmp2::Pdu::from_bytes_with_security(&datagram, security.as_mut()).ok()?;
    Some(bindings(pdu.varbinds).len())
}

/// Objects and their values, up to the first one that cannot be understood: what asked for more has to count.
#[must_use]
pub fn bindings(varbinds: snmp2::Varbinds<'_>) -> Vec<(Oid, Value)> {
    varbinds.map_while(|(name, found)| Some((oid(&name)?, value(&found)))).collect()
}
