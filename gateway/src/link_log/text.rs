//! What the log of a link says. Pure: from what went over it to lines.

use pattoo_wire::Sample;
use tokio_modbus::prelude::Request as Pdu;

use crate::config::Config;
use crate::driver::modbus::ear::{Told, Way};
use crate::driver::modbus::session::{Answer, Failure};
use crate::reading::Transaction;

/// Longest text of a value, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// `main-meter voltage = 230.1 V good`.
pub(super) fn values(config: &Config, transaction: &Transaction) -> Vec<String> {
    let Some(device) = config.devices.get(transaction.device.0) else { return Vec::new() };
    let line = |reading: &crate::reading::Reading| {
        let point = device.profile.points.get(reading.point.0)?;
        let row = reading.row.as_ref().map(|row| format!("[{}]", row.identity)).unwrap_or_default();
        let (name, quality) = (format!("{} {}{row}", device.name, point.name), reading.sample.quality());
        let why = reading.sample.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        Some(match sample(&reading.sample) {
            Some(value) => format!("{name} = {value}{}{} {quality}{why}", if point.unit.is_empty() { "" } else { " " }, point.unit),
            None => format!("{name} {quality}{why}"),
        })
    };
    transaction.readings.iter().filter_map(line).map(clean).collect()
}

fn sample(sample: &Sample) -> Option<String> {
    Some(sample.value()?.to_string().chars().take(MAX_VALUE_CHARS).collect())
}

/// `unit 1: read holding 10, 2 words -> 0001 0002 in 12.3 ms`.
pub(super) fn frame(told: &Told<'_>) -> String {
    let ms = told.took.as_secs_f64() * 1000.0;
    clean(format!("unit {}: {} -> {} in {ms:.1} ms", told.unit, question(told.question), answer(told.result)))
}

fn question(question: &Pdu<'_>) -> String {
    match question {
        Pdu::ReadCoils(address, count) => format!("read coil {address}, {count} bits"),
        Pdu::ReadDiscreteInputs(address, count) => format!("read discrete {address}, {count} bits"),
        Pdu::ReadHoldingRegisters(address, count) => format!("read holding {address}, {count} words"),
        Pdu::ReadInputRegisters(address, count) => format!("read input {address}, {count} words"),
        Pdu::WriteSingleCoil(address, bit) => format!("write coil {address}: {}", u8::from(*bit)),
        Pdu::WriteSingleRegister(address, word) => format!("write holding {address}: {word:04x}"),
        Pdu::WriteMultipleCoils(address, bits) => {
            format!("write coils {address}: {}", bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect::<String>())
        }
        Pdu::WriteMultipleRegisters(address, words) => format!("write holdings {address}: {}", hex_words(words)),
        Pdu::MaskWriteRegister(address, and, or) => format!("mask holding {address}: and {and:04x} or {or:04x}"),
        other => format!("{other:?}"),
    }
}

fn answer(result: &Result<Answer, Failure>) -> String {
    match result {
        Ok(Answer::Words(words)) => hex_words(words),
        Ok(Answer::Done) => "done".to_owned(),
        Ok(Answer::Refused(code)) => format!("exception {code:02}"),
        Ok(Answer::Identity(told)) => format!("{told:?}"),
        Ok(Answer::ServerId(bytes)) => hex(bytes),
        Err(failure) => failure.reason().to_string(),
    }
}

/// `sent 01 03 00 0a 00 02 e4 09`; what is too long is cut, and says so.
pub(super) fn bytes(way: Way, bytes: &[u8], most: usize) -> String {
    let name = match way {
        Way::Sent => "sent",
        Way::Heard => "heard",
    };
    let (shown, rest) = bytes.split_at(most.min(bytes.len()));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("{name} {}{more}", hex(shown))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn hex_words(words: &[u16]) -> String {
    words.iter().map(|word| format!("{word:04x}")).collect::<Vec<_>>().join(" ")
}

/// Text of a device must not forge lines of a log.
fn clean(line: String) -> String {
    line.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_frame_is_told_in_one_line() {
        let took = Duration::from_micros(12_340);
        for (question, result, expected) in [
            (Pdu::ReadHoldingRegisters(10, 2), Ok(Answer::Words(vec![1, 0xFDE8])), "read holding 10, 2 words -> 0001 fde8 in 12.3 ms"),
            (Pdu::ReadCoils(5, 3), Ok(Answer::Words(vec![1, 0, 1])), "read coil 5, 3 bits -> 0001 0000 0001 in 12.3 ms"),
            (Pdu::ReadInputRegisters(10, 2), Ok(Answer::Refused(2)), "read input 10, 2 words -> exception 02 in 12.3 ms"),
            (Pdu::ReadDiscreteInputs(1, 1), Err(Failure::Timeout), "read discrete 1, 1 bits -> timeout in 12.3 ms"),
            (Pdu::WriteSingleCoil(5, true), Ok(Answer::Done), "write coil 5: 1 -> done in 12.3 ms"),
            (Pdu::WriteSingleRegister(5, 255), Ok(Answer::Done), "write holding 5: 00ff -> done in 12.3 ms"),
            (Pdu::WriteMultipleCoils(5, Cow::Owned(vec![true, false])), Ok(Answer::Done), "write coils 5: 10 -> done in 12.3 ms"),
            (Pdu::WriteMultipleRegisters(5, Cow::Owned(vec![1, 2])), Ok(Answer::Done), "write holdings 5: 0001 0002 -> done in 12.3 ms"),
            (Pdu::MaskWriteRegister(5, 1, 2), Ok(Answer::Done), "mask holding 5: and 0001 or 0002 -> done in 12.3 ms"),
            (Pdu::ReportServerId, Ok(Answer::ServerId(vec![1, 0x41])), "ReportServerId -> 01 41 in 12.3 ms"),
        ] {
            assert_eq!(frame(&Told { unit: 7, question: &question, result: &result, took }), format!("unit 7: {expected}"));
        }
    }

    #[test]
    fn bytes_are_told_in_hexadecimal_up_to_a_limit() {
        assert_eq!(bytes(Way::Sent, &[1, 0xAB], 2), "sent 01 ab");
        assert_eq!(bytes(Way::Heard, &[1, 2, 3, 4], 2), "heard 01 02 and 2 more");
    }
}
