//! Finds BACnet devices, or reads of them in an EDE file: what they are, which profile fits, and a configuration for them. Pure; shell is
//! `scan::bacnet::drive`. Asks nothing but reads, so it changes no device.

mod draft;
pub(crate) mod drive;
mod ede;
mod rank;
pub(crate) mod report;

pub(crate) use ede::{MAX_EDE_BYTES, StateTexts, read as read_ede, state_texts as read_state_texts};

use crate::driver::bacnet::Peer;
use crate::driver::bacnet::browse::{ACTIVE_TEXT, Browsed, DESCRIPTION, INACTIVE_TEXT, MODEL_NAME, STATE_TEXT, VENDOR_NAME};
use crate::driver::bacnet::names::{DEVICE, OBJECT_NAME, PRESENT_VALUE, UNITS};
use crate::driver::bacnet::services::IAm;
use crate::driver::bacnet::tags::{ObjectId, Value};

/// Where devices were looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// For people.
    pub(crate) target: String,
    /// The link of a configuration.
    pub(crate) link: String,
}

/// One device, as it tells of itself or as a list tells of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) instance: u32,
    /// Where it is, for people.
    pub(crate) address: Option<String>,
    pub(crate) name: String,
    pub(crate) vendor_id: Option<u32>,
    pub(crate) vendor: String,
    pub(crate) model: String,
    pub(crate) objects: Vec<ToldObject>,
}

/// One of its objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToldObject {
    pub(crate) id: ObjectId,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Number of its engineering unit.
    pub(crate) units: Option<u32>,
    /// Texts of its states: inactive and active, or from 1 on.
    pub(crate) states: Vec<String>,
    /// As it was when it was asked, for people.
    pub(crate) value: String,
    /// Lowest and highest value that may be written, where that is said.
    pub(crate) limits: Option<(f64, f64)>,
    /// Whether it may be written, where that is said.
    pub(crate) is_settable: bool,
}

impl ToldObject {
    pub(crate) fn new(id: ObjectId) -> Self {
        let (name, description, value) = (String::new(), String::new(), String::new());
        Self { id, name, description, units: None, states: Vec::new(), value, limits: None, is_settable: false }
    }
}

/// What a device that answered says of itself.
fn told(peer: &Peer, i_am: &IAm, browsed: &Browsed) -> Told {
    let own = ObjectId::new(DEVICE, i_am.device);
    let station = peer.station.as_ref().map(|station| {
        let mac: String = station.mac.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(", network {}, MAC {mac}", station.network)
    });
    Told {
        instance: i_am.device,
        address: Some(format!("{}{}", peer.address, station.unwrap_or_default())),
        name: browsed.text(own, OBJECT_NAME),
        vendor_id: Some(i_am.vendor.into()),
        vendor: browsed.text(own, VENDOR_NAME),
        model: browsed.text(own, MODEL_NAME),
        objects: browsed.objects.keys().filter(|id| **id != own).map(|id| object(*id, browsed)).collect(),
    }
}

fn object(id: ObjectId, browsed: &Browsed) -> ToldObject {
    let units = match browsed.value(id, UNITS) {
        Some(Value::Enumerated(number)) => Some(*number),
        _ => None,
    };
    let texts = browsed.objects.get(&id).and_then(|properties| properties.get(&STATE_TEXT)).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| if let Value::Text(text) = value { text.clone() } else { String::new() };
    let mut states: Vec<String> = texts.iter().map(text).collect();
    if let (Some(Value::Text(inactive)), Some(Value::Text(active))) = (browsed.value(id, INACTIVE_TEXT), browsed.value(id, ACTIVE_TEXT)) {
        states = vec![inactive.clone(), active.clone()];
    }
    let value = browsed.value(id, PRESENT_VALUE).map(shown).unwrap_or_default();
    let (name, description) = (browsed.text(id, OBJECT_NAME), browsed.text(id, DESCRIPTION));
    ToldObject { name, description, units, states, value, ..ToldObject::new(id) }
}

/// A value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Enumerated(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}
