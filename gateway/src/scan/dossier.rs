//! What is known of one device that was found, and what to ask it next. Pure.
//!
//! In this order: the `SunSpec` marker and what its common model says, identification (function 43/14), the registers that profiles are
//! recognised by, and the server id (function 17) where nothing else gave a name: its answer is at each vendor's taste, and what the
//! library makes of it may cost the connection.

use std::collections::BTreeMap;

use tokio_modbus::prelude::{ReadCode, Request as Pdu};

use super::Setting;
use crate::config::Profiles;
use crate::driver::modbus::session::{Answer, Failure, question};
use crate::plan::Request;
use crate::profile::{BASES, Check, MARKER, Table};

/// Id, length, and the texts of the common model: maker and model of 16 registers each, options and version of 8, serial number of 16.
const COMMON_WORDS: u16 = 66;
const COMMON_ID: u16 = 1;
/// Most questions for identification: a stream that never ends must.
const MAX_IDENTITY_PARTS: u32 = 8;
/// Failures in a row after which a device is asked no more.
const MAX_SILENT: u32 = 4;
/// Longest text of a device that is kept, in characters.
const MAX_TEXT_CHARS: usize = 60;

/// How a device showed itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Value,
    /// By this exception.
    Refused(u8),
}

/// What a `SunSpec` device says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SunSpec {
    pub(super) base: u16,
    pub(super) vendor: String,
    pub(super) model: String,
}

/// A place that was read: table, first register, number of registers.
pub(super) type Place = (Table, u16, u16);

/// One device.
#[derive(Debug, Clone)]
pub(super) struct Dossier {
    pub(super) unit: u8,
    pub(super) setting: Setting,
    pub(super) first: Answered,
    pub(super) sunspec: Option<SunSpec>,
    /// Object id -> text, of function 43/14.
    pub(super) identity: BTreeMap<u8, String>,
    /// Of function 17.
    pub(super) server_id: Option<Vec<u8>>,
    /// What was read, or nothing where it was refused.
    pub(super) read: BTreeMap<Place, Option<Vec<u16>>>,
    /// What function 43/14 is to be asked next, if anything.
    next_identity: Option<(ReadCode, u8)>,
    identity_parts: u32,
    asked_server_id: bool,
    silent: u32,
}

impl Dossier {
    pub(super) fn new(unit: u8, setting: Setting, first: Answered) -> Self {
        Self {
            unit,
            setting,
            first,
            sunspec: None,
            identity: BTreeMap::new(),
            server_id: None,
            read: BTreeMap::new(),
            next_identity: Some((ReadCode::Basic, 0)),
            identity_parts: 0,
            asked_server_id: false,
            silent: 0,
        }
    }

    /// Vendor and product as the device itself names them.
    pub(super) fn names(&self) -> Option<(String, String)> {
        if let Some(sunspec) = self.sunspec.as_ref().filter(|sunspec| !sunspec.vendor.is_empty()) {
            return Some((sunspec.vendor.clone(), sunspec.model.clone()));
        }
        let text = |id: u8| self.identity.get(&id).cloned().unwrap_or_default();
        // Product code, product name and model name: vendors differ in which of them says what.
        let product = [text(1), text(4), text(5)].iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" ");
        if !self.identity.is_empty() {
            return Some((text(0), product));
        }
        let told = clean(self.server_id.as_deref()?);
        told.chars().any(char::is_alphabetic).then(|| (told.clone(), told))
    }

    /// Whether the device stopped answering.
    pub(super) fn is_silent(&self) -> bool {
        self.silent >= MAX_SILENT
    }

    pub(super) fn next(&self, profiles: &Profiles) -> Option<Pdu<'static>> {
        if self.is_silent() {
            return None;
        }
        self.next_sunspec()
            .or_else(|| self.next_identity.map(|(code, object)| Pdu::ReadDeviceIdentification(code, object)))
            .or_else(|| self.next_check(profiles))
            .or_else(|| (self.names().is_none() && !self.asked_server_id).then_some(Pdu::ReportServerId))
    }

    fn next_sunspec(&self) -> Option<Pdu<'static>> {
        if self.sunspec.is_some() {
            return None;
        }
        for base in BASES {
            match self.read.get(&(Table::Holding, base, 2)) {
                None => return Some(ask((Table::Holding, base, 2))),
                Some(Some(words)) if *words == MARKER => return Some(ask((Table::Holding, base + 2, COMMON_WORDS))),
                Some(_) => {}
            }
        }
        None
    }

    /// The first place of the first profile that is neither known nor ruled out. A `SunSpec` device says itself what it is.
    fn next_check(&self, profiles: &Profiles) -> Option<Pdu<'static>> {
        if self.sunspec.is_some() {
            return None;
        }
        let signatures = profiles.values().filter_map(|profile| profile.signature.as_ref());
        signatures
            .filter_map(|signature| {
                let open = signature.registers.iter().find(|check| self.holds(check) != Some(true))?;
                self.holds(open).is_none().then(|| ask(place(open)))
            })
            .next()
    }

    /// Whether this holds; none where it has not been asked.
    pub(super) fn holds(&self, check: &Check) -> Option<bool> {
        Some(self.read.get(&place(check))?.as_ref().is_some_and(|words| check.holds(words)))
    }

    pub(super) fn heard(&mut self, question: &Pdu<'_>, result: &Result<Answer, Failure>) {
        self.silent = if result.is_err() { self.silent + 1 } else { 0 };
        match (question, result) {
            (Pdu::ReadDeviceIdentification(code, object), answer) => self.identified(*code, *object, answer),
            (Pdu::ReportServerId, answer) => {
                self.asked_server_id = true;
                if let Ok(Answer::ServerId(bytes)) = answer {
                    self.server_id = Some(bytes.clone());
                }
            }
            (question, answer) => {
                let Some(place) = asked(question) else { return };
                let words = match answer {
                    Ok(Answer::Words(words)) => Some(words.clone()),
                    _ => None,
                };
                self.common(place, words.as_deref());
                self.read.insert(place, words);
            }
        }
    }

    /// The common model, or that there is none behind the marker.
    fn common(&mut self, (table, address, count): Place, words: Option<&[u16]>) {
        let base = address.wrapping_sub(2);
        if table != Table::Holding || count != COMMON_WORDS || !BASES.contains(&base) {
            return;
        }
        let texts = words.filter(|words| words.first() == Some(&COMMON_ID));
        let text = |from: usize| texts.and_then(|words| words.get(from..from + 16)).map(|words| clean(&bytes(words))).unwrap_or_default();
        self.sunspec = Some(SunSpec { base, vendor: text(2), model: text(18) });
    }

    fn identified(&mut self, code: ReadCode, object: u8, answer: &Result<Answer, Failure>) {
        self.identity_parts += 1;
        self.next_identity = None;
        let Ok(Answer::Identity(told)) = answer else { return };
        for object in &told.device_id_objects {
            let text = clean(&object.value);
            if !text.is_empty() {
                self.identity.insert(object.id, text);
            }
        }
        if self.identity_parts < MAX_IDENTITY_PARTS {
            self.next_identity = match (told.more_follows, code) {
                (true, _) if told.next_object_id > object => Some((code, told.next_object_id)),
                // What is beyond the basic three may be refused.
                (false, ReadCode::Basic) => Some((ReadCode::Regular, 0)),
                _ => None,
            };
        }
    }
}

pub(super) fn place(check: &Check) -> Place {
    let first = check.read.first();
    (check.read.table, first, check.read.last() - first + 1)
}

fn ask((table, address, count): Place) -> Pdu<'static> {
    question::read(&Request { table, address, count, points: Vec::new() })
}

fn asked(question: &Pdu<'_>) -> Option<Place> {
    match question {
        Pdu::ReadCoils(address, count) => Some((Table::Coil, *address, *count)),
        Pdu::ReadDiscreteInputs(address, count) => Some((Table::Discrete, *address, *count)),
        Pdu::ReadHoldingRegisters(address, count) => Some((Table::Holding, *address, *count)),
        Pdu::ReadInputRegisters(address, count) => Some((Table::Input, *address, *count)),
        _ => None,
    }
}

fn bytes(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Text of a device, fit for a terminal and for a comment in YAML: printable ASCII, up to the first NUL.
fn clean(bytes: &[u8]) -> String {
    let text = bytes.iter().take_while(|byte| **byte != 0).take(MAX_TEXT_CHARS);
    text.map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' }).collect::<String>().trim().to_owned()
}
