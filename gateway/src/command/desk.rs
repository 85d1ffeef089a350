//! Takes commands: judges each, remembers its id, and says what is to be done. Reads no clock, writes no file, touches no device.
//!
//! # What holds
//! - A command is begun at most once: its id is remembered until it expires, and after that it is too old. What the audit record holds of
//!   earlier runs of this program is remembered as well ([`Desk::restore`]).
//! - It is begun only while it is known not to have expired.
//! - Each command that can be read gets an answer, the same one each time.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pattoo_wire::{Command, CommandResult, MAX_COMMAND_BYTES, Outcome, Scalar, Value};
use serde::Deserialize;

use super::safe::SafeWrite;
use super::{Record, Write, Written};
use crate::config::Config;
use crate::reading::{DeviceIndex, PointIndex};

/// Most ids that are remembered. Once so many commands have not expired, further ones are refused.
pub const MAX_REMEMBERED: usize = 1_024;

/// What a safe value is called in records and results, where a command has its sender's text.
pub const SAFE_VALUE: &str = "safe value";

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since this machine started, in ms.
    pub boot_ms: i64,
    /// UTC, ms since 1970; none while it is not known.
    pub utc_ms: Option<i64>,
    /// UTC as the system has it, right or wrong: for records only.
    pub system_ms: i64,
}

impl Now {
    /// The best that is known, for records.
    fn told_ms(self) -> i64 {
        self.utc_ms.unwrap_or(self.system_ms)
    }
}

/// What to do about a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Answer.
    Answer(CommandResult),
    /// Keep the record, then order the write.
    Begin(Box<Begin>),
    /// Nothing: it is being done, and will be answered.
    Wait,
}

/// A write that may be begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    /// Names it when it ends.
    pub ticket: u64,
    /// Must be on stable storage before the device is touched.
    pub record: Record,
    /// Which device.
    pub device: DeviceIndex,
    /// What.
    pub write: Write,
    /// Boot clock from which on it must not be begun, in ms.
    pub until_ms: i64,
}

/// A write that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The answer.
    pub result: CommandResult,
    /// For the audit record.
    pub record: Record,
    /// Which safe value it was, if it was one.
    pub safe: Option<usize>,
}

/// Takes commands.
pub struct Desk {
    config: Arc<Config>,
    devices: HashMap<String, DeviceIndex>,
    remembered: HashMap<String, Remembered>,
    begun: BTreeMap<u64, Begun>,
    next_ticket: u64,
}

struct Remembered {
    command: Command,
    /// None while it is being done.
    result: Option<CommandResult>,
}

struct Begun {
    command: Command,
    device: DeviceIndex,
    point: PointIndex,
    safe: Option<usize>,
}

fn end(command: &Command, written: &Written, now: Now) -> End {
    let (old, value) = (written.old.as_ref().map(scalar), written.value.as_ref().map(scalar));
    let result = CommandResult { old, value, ..about(command, answer(written.outcome, written.detail.clone(), now)) };
    End { record: Record::Ended { time: rfc3339(now.told_ms()), result: result.clone() }, result, safe: None }
}

/// As much of a command as an answer needs, where the rest of it is none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    id: Option<String>,
    device: String,
    point: String,
}

impl Desk {
    /// Takes the commands of this configuration.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let devices = config.devices.iter().enumerate().map(|(index, device)| (device.name.clone(), DeviceIndex(index))).collect();
        Self { config, devices, remembered: HashMap::new(), begun: BTreeMap::new(), next_ticket: 0 }
    }

    /// Remembers what earlier runs have recorded. What they did not end may have been written: gives these as ended.
    pub fn restore(&mut self, records: Vec<Record>, now: Now) -> Vec<End> {
        let mut open: BTreeMap<usize, (Command, bool)> = BTreeMap::new();
        for (number, record) in records.into_iter().enumerate() {
            match record {
                Record::Begun { command, safe, .. } => {
                    open.insert(number, (command, safe));
                }
                Record::Ended { result, .. } => {
                    let same = |(command, _): &(Command, bool)| Some(&command.id) == result.id.as_ref();
                    let Some(number) = open.iter().find(|(_, begun)| same(begun)).map(|(number, _)| *number) else { continue };
                    if let Some((command, false)) = open.remove(&number) {
                        self.remember(command, Some(result));
                    }
                }
            }
        }
        let ended = |(command, safe): (Command, bool)| {
            let written = Written::not(Outcome::Unknown, "the gateway stopped while it was being written");
            let end = end(&command, &written, now);
            if !safe {
                self.remember(command, Some(end.result.clone()));
            }
            end
        };
        open.into_values().map(ended).collect()
    }

    /// What to do about this message.
    pub fn receive(&mut self, message: &[u8], now: Now) -> Act {
        let command = match read(message) {
            Ok(command) => command,
            Err((head, why)) => {
                let result = CommandResult { id: head.id, device: head.device, point: head.point, ..answer(Outcome::Malformed, why, now) };
                return Act::Answer(result);
            }
        };
        if let Some(known) = self.remembered.get(&command.id) {
            return match &known.result {
                _ if known.command != command => {
                    Act::Answer(about(&command, answer(Outcome::IdReused, "another command had this id".into(), now)))
                }
                Some(result) => Act::Answer(result.clone()),
                None => Act::Wait,
            };
        }
        match self.judge(&command, now) {
            Ok((device, write, until_ms)) => {
                self.remember(command.clone(), None);
                Act::Begin(Box::new(self.begin(command, device, write, until_ms, None, now)))
            }
            Err((outcome, why)) => Act::Answer(about(&command, answer(outcome, why, now))),
        }
    }

    /// A safe value that is due: the gateway's own command, which nothing but its configuration has to allow.
    pub fn safe(&mut self, due: SafeWrite, now: Now) -> Begin {
        let names = self.config.devices.get(due.device.0).map(|device| {
            let point = device.profile.points.get(due.point.0).map(|point| point.name.clone());
            (device.name.clone(), point.unwrap_or_default())
        });
        let (device, point) = names.unwrap_or_default();
        let id = format!("safe-{}-{}", now.boot_ms, due.index);
        let command =
            Command { id, device, point, value: scalar(&due.value), expected: None, expires_ms: None, by: Some(SAFE_VALUE.to_owned()) };
        let read_modify_write = self.config.commands.read_modify_write;
        let write = Write { point: due.point, value: due.value, expected: None, read_modify_write };
        self.begin(command, due.device, write, i64::MAX, Some(due.index), now)
    }

    fn begin(&mut self, command: Command, device: DeviceIndex, write: Write, until_ms: i64, safe: Option<usize>, now: Now) -> Begin {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let record = Record::Begun { time: rfc3339(now.told_ms()), command: command.clone(), safe: safe.is_some() };
        self.begun.insert(ticket, Begun { command, device, point: write.point, safe });
        Begin { ticket, record, device, write, until_ms }
    }

    /// A write that was not begun after all, and is forgotten: the same command may come again.
    pub fn not_begun(&mut self, ticket: u64, outcome: Outcome, why: &str, now: Now) -> Option<CommandResult> {
        let begun = self.begun.remove(&ticket)?;
        if begun.safe.is_none() {
            self.remembered.remove(&begun.command.id);
        }
        Some(about(&begun.command, answer(outcome, why.to_owned(), now)))
    }

    /// A write has ended; none for a ticket that is not known.
    pub fn ended(&mut self, ticket: u64, written: &Written, now: Now) -> Option<End> {
        let begun = self.begun.remove(&ticket)?;
        let end = End { safe: begun.safe, ..end(&begun.command, written, now) };
        if let Some(known) = self.remembered.get_mut(&begun.command.id).filter(|_| begun.safe.is_none()) {
            known.result = Some(end.result.clone());
        }
        Some(end)
    }

    /// Where a write that is under way goes.
    #[must_use]
    pub fn place(&self, ticket: u64) -> Option<(DeviceIndex, PointIndex)> {
        self.begun.get(&ticket).map(|begun| (begun.device, begun.point))
    }

    fn remember(&mut self, command: Command, result: Option<CommandResult>) {
        self.remembered.insert(command.id.clone(), Remembered { command, result });
    }

    /// Forgets what has expired, all of it: a command that comes again then is too old.
    fn forget(&mut self, utc_ms: i64) {
        self.remembered.retain(|_, known| known.result.is_none() || known.command.expires_ms.is_some_and(|expires_ms| expires_ms > utc_ms));
    }
}

/// The command, or what can be read of it and why it is none.
fn read(message: &[u8]) -> Result<Command, (Head, String)> {
    if message.len() > MAX_COMMAND_BYTES {
        return Err((Head::default(), format!("found {} bytes, expected at most {MAX_COMMAND_BYTES}", message.len())));
    }
    let command: Command = serde_json::from_slice(message).map_err(|error| {
        let head: Head = serde_json::from_slice(message).unwrap_or_default();
        (short(head), error.to_string())
    })?;
    match judge::texts(&command) {
        Ok(()) => Ok(command),
        Err(why) => Err((short(Head { id: Some(command.id), device: command.device, point: command.point }), why)),
    }
}

/// Not more of a wrong command than of a right one is repeated.
fn short(head: Head) -> Head {
    let keep = |text: &String| judge::is_visible(text);
    Head {
        id: head.id.filter(keep),
        device: Some(head.device).filter(keep).unwrap_or_default(),
        point: Some(head.point).filter(keep).unwrap_or_default(),
    }
}

fn answer(outcome: Outcome, detail: String, now: Now) -> CommandResult {
    let (device, point) = (String::new(), String::new());
    CommandResult { id: None, device, point, outcome, value: None, old: None, detail, time_ms: now.told_ms() }
}

fn about(command: &Command, result: CommandResult) -> CommandResult {
    CommandResult { id: Some(command.id.clone()), device: command.device.clone(), point: command.point.clone(), ..result }
}

/// A value as JSON has it, with all its digits.
fn scalar(value: &Value) -> Scalar {
    let text = value.to_string();
    match value {
        Value::Bool(bit) => Scalar::Bool(*bit),
        Value::Unsigned(n) => i64::try_from(*n).map_or(Scalar::Unsigned(*n), Scalar::Integer),
        Value::Decimal(d) if d.exponent >= 0 => text.parse().map_or(Scalar::Text(text), Scalar::Integer),
        Value::Decimal(_) | Value::F32(_) | Value::F64(_) => text.parse().map_or(Scalar::Text(text), Scalar::Float),
        Value::Text(_) => Scalar::Text(text),
    }
}

fn rfc3339(ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}
