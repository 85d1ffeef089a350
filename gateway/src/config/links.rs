//! What a link runs over, from its mapping. Opens nothing.

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::read::{path, split_endpoint};
use super::{Identity, LINK_TIMEOUT, MAX_CONNECTIONS, SERIAL_TIMEOUT, Security, Transport, bacnet, inputs};
use crate::link::serial::SerialLine;
use crate::link_log::Level;
use crate::profile::Parity;
use crate::yaml::{Fields, Node, Problems};

/// Ways, of which a link has exactly one.
const WAYS: &[&str] = &["tcp", "tls", "rtu_over_tcp", "serial", "bacnet"];
/// Keys that only TLS has.
const TLS_KEYS: &[&str] = &["ca", "certificate", "key", "server_name"];
const KEYS: &[&str] = &[
    "tcp",
    "tls",
    "ca",
    "certificate",
    "key",
    "server_name",
    "rtu_over_tcp",
    "serial",
    "baud",
    "parity",
    "stop_bits",
    "rs485",
    "echo",
    "bacnet",
    "broadcast",
    "foreign",
    "retries",
    "timeout",
    "connections",
    "log",
];
/// Keys that only a serial line has.
const SERIAL_KEYS: &[&str] = &["baud", "parity", "stop_bits", "rs485", "echo"];

const ENDPOINT: &str = "host:port, such as 10.0.0.5:502";
const SLOWEST_BAUD: i128 = 300;
const FASTEST_BAUD: i128 = 1_000_000;

/// Reads the mapping of one link; gives its transport, the number of its connections and what is told of it.
pub(super) fn transport(node: &Node, what: &str, link: &str, problems: &mut Problems<'_>) -> Option<(Transport, usize, Level)> {
    if inputs::is_input(node) {
        return inputs::read(node, what, link, problems);
    }
    let before = problems.count();
    let fields = Fields::read(node, what, KEYS, problems)?;
    let found: Vec<&str> = WAYS.iter().copied().filter(|way| fields.optional(way).is_some()).collect();
    if let [first, second, ..] = found.as_slice() {
        problems.add(node.at, format!("{what}: found `{first}` and `{second}`, expected one of {}", WAYS.join(", ")));
        return None;
    }
    for field in TLS_KEYS.iter().filter_map(|key| fields.optional(key)).filter(|_| found.first() != Some(&"tls")) {
        field.problem("found without `tls`, expected only with it", problems);
    }
    for field in bacnet::LINK_KEYS.iter().filter_map(|key| fields.optional(key)).filter(|_| found.first() != Some(&"bacnet")) {
        field.problem("found without `bacnet`, expected only with it", problems);
    }
    let transport = match found.first() {
        Some(&"bacnet") => {
            let timeout = timeout(&fields, bacnet::TIMEOUT, problems);
            bacnet::link(&fields, timeout, problems)
        }
        Some(&"serial") => serial(&fields, problems),
        way => {
            for field in SERIAL_KEYS.iter().filter_map(|key| fields.optional(key)) {
                field.problem("found without `serial`, expected only on a serial line", problems);
            }
            over_network(&fields, way.copied().unwrap_or("tcp"), problems)
        }
    };
    let connections = match fields.optional("connections") {
        Some(field) if !matches!(found.first(), Some(&("tcp" | "tls"))) => {
            field.problem("found without `tcp` or `tls`, expected only with one of them: a line has one master", problems);
            None
        }
        Some(field) => field.integer(1, MAX_CONNECTIONS as i128, "a number of connections", problems),
        None => Some(1),
    };
    let log = match fields.optional("log") {
        Some(field) => field.choice(Level::NAMES, problems),
        None => Some(Level::Off),
    };
    let (connections, log) = (usize::try_from(connections?).ok()?, log?);
    transport.filter(|_| problems.count() == before).map(|transport| (transport, connections, log))
}

fn over_network(fields: &Fields<'_>, way: &'static str, problems: &mut Problems<'_>) -> Option<Transport> {
    let field = fields.required(way, ENDPOINT, problems)?;
    let endpoint = field.text(ENDPOINT, problems)?;
    if split_endpoint(endpoint, true).is_none() {
        field.wrong(ENDPOINT, problems);
    }
    let endpoint = endpoint.to_owned();
    Some(match way {
        "tls" => {
            let security = security(fields, problems);
            Transport::ModbusTls { endpoint, timeout: timeout(fields, LINK_TIMEOUT, problems)?, security: security? }
        }
        "rtu_over_tcp" => Transport::RtuOverTcp { endpoint, timeout: timeout(fields, SERIAL_TIMEOUT, problems)? },
        _ => Transport::ModbusTcp { endpoint, timeout: timeout(fields, LINK_TIMEOUT, problems)? },
    })
}

fn security(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Security> {
    let mut file = |key, expected| fields.required(key, expected, problems).and_then(|field| path(&field, problems));
    let ca = file("ca", "the file of the authority that signed the device's certificate");
    let certificate = file("certificate", "the file of the certificate that the device is shown");
    let key = file("key", "the file of the certificate's key");
    let server_name = match fields.optional("server_name") {
        Some(field) => {
            let expected = "the name in the device's certificate";
            let name = field.text(expected, problems)?;
            if ServerName::try_from(name).is_err() {
                field.wrong(expected, problems);
            }
            Some(name.to_owned())
        }
        None => None,
    };
    Some(Security { ca: ca?, identity: Identity { certificate: certificate?, key: key? }, server_name })
}

fn serial(fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Transport> {
    let file = fields.optional("serial").and_then(|field| path(&field, problems));
    let bauds = "the speed of the line in bits per second";
    let baud = fields.required("baud", bauds, problems).and_then(|field| field.integer(SLOWEST_BAUD, FASTEST_BAUD, bauds, problems));
    let parities = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
    let parity = fields.required("parity", "none, even or odd, as the devices of the line are set", problems);
    let parity = parity.and_then(|field| field.choice(&parities, problems));
    let stop_bits = match fields.optional("stop_bits") {
        Some(field) => field.integer(1, 2, "a number of stop bits", problems),
        None => Some(1),
    };
    let mut yes = |key| match fields.optional(key) {
        Some(field) => field.choice(&[("true", true), ("false", false)], problems),
        None => Some(false),
    };
    let (rs485, echo) = (yes("rs485"), yes("echo"));
    let timeout = timeout(fields, SERIAL_TIMEOUT, problems);
    let (baud, stop_bits) = (u32::try_from(baud?).ok()?, u8::try_from(stop_bits?).ok()?);
    let line = SerialLine { path: file?, baud, parity: parity?, stop_bits, rs485: rs485?, echo: echo? };
    Some(Transport::ModbusRtu { line, timeout: timeout? })
}

fn timeout(fields: &Fields<'_>, default: Duration, problems: &mut Problems<'_>) -> Option<Duration> {
    match fields.optional("timeout") {
        Some(field) => field.duration(Duration::from_millis(50), Duration::from_secs(60), problems),
        None => Some(default),
    }
}
