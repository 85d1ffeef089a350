//! What a device may be asked, and what counts as an answer to it. Pure: asks nobody.
//!
//! A question is tokio-modbus' own request, so that whatever its codec speaks can be asked. Its answer is taken only if it is exactly
//! the one that the question calls for: as many registers as asked, the echo of what was written.

use tokio_modbus::prelude::{ReadDeviceIdentificationResponse as Identification, Request as Pdu, Response};

use super::{Answer, Failure};
use crate::plan::Request;
use crate::profile::Table;

/// Bytes of a serial reply beside its data: unit, function, count, CRC.
const REPLY_BYTES: usize = 5;
/// Bytes of a serial question that reads: unit, function, address, count, CRC.
const QUESTION_BYTES: usize = 8;
/// Longest serial frame.
const MAX_FRAME_BYTES: usize = 256;
/// Bytes of a serial exception: unit, function, code, CRC.
const EXCEPTION_BYTES: usize = 5;
/// Bytes of a serial echo: unit, function, address, value or count, CRC. That of function 22 has a second mask.
const ECHO_BYTES: usize = 8;
const MASK_ECHO_BYTES: usize = 10;
/// Bytes of a serial identification (function 43/14) beside its objects: unit, function, type, code, conformity, more, next, count, CRC.
const IDENTIFICATION_BYTES: usize = 10;

/// The question of a planned request.
pub(crate) fn read(request: &Request) -> Pdu<'static> {
    let (address, count) = (request.address, request.count);
    match request.table {
        Table::Coil => Pdu::ReadCoils(address, count),
        Table::Discrete => Pdu::ReadDiscreteInputs(address, count),
        Table::Holding => Pdu::ReadHoldingRegisters(address, count),
        Table::Input => Pdu::ReadInputRegisters(address, count),
    }
}

/// Whether asking changes the device, so that asking twice is not the same as asking once.
pub(super) fn changes_the_device(question: &Pdu<'_>) -> bool {
    !matches!(
        question,
        Pdu::ReadCoils(..)
            | Pdu::ReadDiscreteInputs(..)
            | Pdu::ReadHoldingRegisters(..)
            | Pdu::ReadInputRegisters(..)
            | Pdu::ReadDeviceIdentification(..)
            | Pdu::ReportServerId
    )
}

/// Whether it asks for registers or bits and nothing else.
pub(super) fn is_read(question: &Pdu<'_>) -> bool {
    matches!(question, Pdu::ReadCoils(..) | Pdu::ReadDiscreteInputs(..) | Pdu::ReadHoldingRegisters(..) | Pdu::ReadInputRegisters(..))
}

/// Bytes on a serial line of a question that reads, and of its answer.
pub(super) fn line_bytes(question: &Pdu<'_>) -> u32 {
    (QUESTION_BYTES + whole_len(question).unwrap_or(MAX_FRAME_BYTES)) as u32
}

/// Exactly what was asked for, or the reply is not taken.
pub(super) fn answer(question: &Pdu<'_>, response: Response) -> Result<Answer, Failure> {
    let echo = |same: bool| if same { Ok(Answer::Done) } else { Err(Failure::Malformed) };
    match (question, response) {
        (Pdu::ReadHoldingRegisters(_, count), Response::ReadHoldingRegisters(words))
        | (Pdu::ReadInputRegisters(_, count), Response::ReadInputRegisters(words))
            if words.len() == usize::from(*count) =>
        {
            Ok(Answer::Words(words))
        }
        // Bits come in whole bytes, the last one filled up.
        (Pdu::ReadCoils(_, count), Response::ReadCoils(bits)) | (Pdu::ReadDiscreteInputs(_, count), Response::ReadDiscreteInputs(bits))
            if bits.len() == usize::from(*count).div_ceil(8) * 8 =>
        {
            Ok(Answer::Words(bits.into_iter().take(usize::from(*count)).map(u16::from).collect()))
        }
        (Pdu::WriteSingleCoil(at, value), Response::WriteSingleCoil(where_, what)) => echo((*at, *value) == (where_, what)),
        (Pdu::WriteSingleRegister(at, value), Response::WriteSingleRegister(where_, what)) => echo((*at, *value) == (where_, what)),
        (Pdu::WriteMultipleCoils(at, bits), Response::WriteMultipleCoils(where_, count)) => {
            echo(*at == where_ && bits.len() == usize::from(count))
        }
        (Pdu::WriteMultipleRegisters(at, words), Response::WriteMultipleRegisters(where_, count)) => {
            echo(*at == where_ && words.len() == usize::from(count))
        }
        (Pdu::MaskWriteRegister(at, and, or), Response::MaskWriteRegister(where_, and_, or_)) => {
            echo((*at, *and, *or) == (where_, and_, or_))
        }
        (Pdu::ReadDeviceIdentification(code, _), Response::ReadDeviceIdentification(told)) if told.read_code == *code => {
            Ok(Answer::Identity(told))
        }
        (Pdu::ReportServerId, Response::ReportServerId(id, _, more)) => Ok(Answer::ServerId([vec![id], more].concat())),
        _ => Err(Failure::Malformed),
    }
}

/// Bytes of the serial frame that carried this answer; 0 for one whose length its content does not tell.
pub(super) fn frame_len(question: &Pdu<'_>, answer: &Answer) -> usize {
    match answer {
        Answer::Refused(_) => EXCEPTION_BYTES,
        Answer::Words(_) | Answer::Done => whole_len(question).unwrap_or(0),
        Answer::Identity(told) => identification_len(told),
        // Server id and run status, which this answer does not keep, take a byte each.
        Answer::ServerId(bytes) => REPLY_BYTES + bytes.len() + 1,
    }
}

fn identification_len(told: &Identification) -> usize {
    IDENTIFICATION_BYTES + told.device_id_objects.iter().map(|object| 2 + object.value.len()).sum::<usize>()
}

/// Bytes of the serial frame that answers in full, where the question tells.
fn whole_len(question: &Pdu<'_>) -> Option<usize> {
    match question {
        Pdu::ReadCoils(_, count) | Pdu::ReadDiscreteInputs(_, count) => Some(REPLY_BYTES + usize::from(count.div_ceil(8))),
        Pdu::ReadHoldingRegisters(_, count) | Pdu::ReadInputRegisters(_, count) => Some(REPLY_BYTES + usize::from(*count) * 2),
        Pdu::WriteSingleCoil(..) | Pdu::WriteSingleRegister(..) | Pdu::WriteMultipleCoils(..) | Pdu::WriteMultipleRegisters(..) => {
            Some(ECHO_BYTES)
        }
        Pdu::MaskWriteRegister(..) => Some(MASK_ECHO_BYTES),
        _ => None,
    }
}

/// What the bytes of a serial line are that are no reply to this question: a whole reply of the right device can only have a bad checksum.
pub(super) fn heard_instead(heard: &[u8], unit: u8, question: &Pdu<'_>) -> Failure {
    let (Some(&from), Some(&code)) = (heard.first(), heard.get(1)) else { return Failure::Malformed };
    let whole = if code & 0x80 == 0 { whole_len(question) } else { Some(EXCEPTION_BYTES) };
    let is_own = from == unit && code & 0x7f == question.function_code().value();
    if is_own && whole == Some(heard.len()) { Failure::BadCrc } else { Failure::Malformed }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode};

    use super::*;

    fn identity(code: ReadCode, value: &[u8]) -> Identification {
        Identification {
            read_code: code,
            conformity_level: ConformityLevel::BasicIdentificationStreamOnly,
            more_follows: true,
            next_object_id: 3,
            device_id_objects: vec![DeviceIdObject { id: 0, value: value.to_vec().into() }],
        }
    }

    #[test]
    fn an_answer_is_the_one_that_the_question_calls_for() {
        let told = identity(ReadCode::Basic, b"Acme");
        let cases = [
            (Pdu::ReadHoldingRegisters(5, 2), Response::ReadHoldingRegisters(vec![1, 2]), Ok(Answer::Words(vec![1, 2])), 9),
            (Pdu::WriteSingleCoil(5, true), Response::WriteSingleCoil(5, true), Ok(Answer::Done), 8),
            (Pdu::WriteSingleRegister(5, 7), Response::WriteSingleRegister(5, 7), Ok(Answer::Done), 8),
            (Pdu::WriteMultipleCoils(5, Cow::Owned(vec![true; 9])), Response::WriteMultipleCoils(5, 9), Ok(Answer::Done), 8),
            (Pdu::WriteMultipleRegisters(5, Cow::Owned(vec![7; 2])), Response::WriteMultipleRegisters(5, 2), Ok(Answer::Done), 8),
            (Pdu::MaskWriteRegister(5, 1, 2), Response::MaskWriteRegister(5, 1, 2), Ok(Answer::Done), 10),
            (
                Pdu::ReadDeviceIdentification(ReadCode::Basic, 0),
                Response::ReadDeviceIdentification(told.clone()),
                Ok(Answer::Identity(told)),
                16,
            ),
            (Pdu::ReportServerId, Response::ReportServerId(9, true, vec![1, 2]), Ok(Answer::ServerId(vec![9, 1, 2])), 9),
        ];
        for (question, response, expected, bytes) in cases {
            let got = answer(&question, response);
            assert_eq!(got, expected, "{question:?}");
            assert_eq!(frame_len(&question, &got.unwrap()), bytes, "{question:?}");
        }
    }

    #[test]
    fn an_echo_of_something_else_is_no_answer() {
        let cases = [
            (Pdu::ReadHoldingRegisters(5, 2), Response::ReadHoldingRegisters(vec![1])),
            (Pdu::ReadHoldingRegisters(5, 1), Response::ReadInputRegisters(vec![1])),
            (Pdu::WriteSingleCoil(5, true), Response::WriteSingleCoil(5, false)),
            (Pdu::WriteSingleCoil(5, true), Response::WriteSingleCoil(6, true)),
            (Pdu::WriteSingleRegister(5, 7), Response::WriteSingleRegister(5, 8)),
            (Pdu::WriteMultipleCoils(5, Cow::Owned(vec![true])), Response::WriteMultipleCoils(5, 2)),
            (Pdu::WriteMultipleRegisters(5, Cow::Owned(vec![7])), Response::WriteMultipleRegisters(4, 1)),
            (Pdu::MaskWriteRegister(5, 1, 2), Response::MaskWriteRegister(5, 1, 3)),
            (Pdu::ReadDeviceIdentification(ReadCode::Basic, 0), Response::ReadDeviceIdentification(identity(ReadCode::Regular, b""))),
        ];
        for (question, response) in cases {
            assert_eq!(answer(&question, response), Err(Failure::Malformed), "{question:?}");
        }
    }

    #[test]
    fn what_changes_a_device_is_not_asked_twice() {
        for question in [Pdu::WriteSingleCoil(0, true), Pdu::MaskWriteRegister(0, 0, 0), Pdu::Custom(8, Cow::Borrowed(&[]))] {
            assert!(changes_the_device(&question), "{question:?}");
        }
        for question in [Pdu::ReadCoils(0, 1), Pdu::ReportServerId, Pdu::ReadDeviceIdentification(ReadCode::Basic, 0)] {
            assert!(!changes_the_device(&question), "{question:?}");
        }
    }
}
