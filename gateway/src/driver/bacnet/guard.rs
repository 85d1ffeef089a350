//! Datagrams <-> frames: the only door to the crate that knows the layers of BACnet/IP. Pure. Knows no transactions.
//!
//! The crate gives the layers (BVLC, NPDU, APDU headers), our own [`tags`](super::tags) and [`services`](super::services) what is in them.
//! Some of its decoders panic on bytes of the network, or lose what they do not know. Each datagram is looked at before they see it, what they would cut is
//! read here, and a panic that is left costs the datagram.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::panic::{AssertUnwindSafe, catch_unwind};

use bacnet_rs::app::{Apdu, MaxApduSize, MaxSegments};
use bacnet_rs::datalink::bip::{BvlcFunction, BvlcHeader};
use bacnet_rs::network::{NetworkAddress, Npdu};
use bacnet_rs::service::{ConfirmedServiceChoice, UnconfirmedServiceChoice};

use super::services::{self, IAm, Notification, Refusal};
use super::tags::Malformed;

/// Longest APDU of BACnet/IP, which this side takes, in bytes.
pub(crate) const MAX_APDU: u16 = 1_476;
/// Most segments of an answer that this side takes.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Bytes before the APDU: BVLC with the address of a forwarded one, and an NPDU with two addresses of 7 bytes.
const HEADERS: usize = 10 + 2 + 2 * 10 + 1;
/// Room for the longest datagram. Some devices send segments that are 5 bytes longer than the APDU that they were told.
pub(crate) const MAX_DATAGRAM: usize = MAX_APDU as usize + HEADERS + 64;

const BVLC_BYTES: usize = 4;
const RESULT: u8 = 0x00;
const FORWARDED: u8 = 0x04;
const UNICAST: u8 = 0x0A;
const BROADCAST: u8 = 0x0B;
/// Hops that a message to another network may take.
const HOPS: u8 = 255;
const EVERY_NETWORK: u16 = 0xFFFF;
const READ_PROPERTY: u8 = 12;

/// A station behind a router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Station {
    /// Number of its network, 1 to 65534.
    pub(crate) network: u16,
    /// Its address there: one byte on MS/TP, six on IP.
    pub(crate) mac: Vec<u8>,
}

/// What came in a datagram.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    /// The answer of a BBMD; 0 for done.
    Result(u16),
    /// A message.
    Message {
        /// Who sent it first, where a BBMD forwards it: address and port.
        forwarded: Option<([u8; 4], u16)>,
        /// Who sent it, where a router passed it on.
        from: Option<Station>,
        message: Message,
    },
    /// What is for others: messages between routers and BBMDs.
    Other,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    IAm(IAm),
    /// For the instances from the first to the second; for all without.
    WhoIs(Option<(u32, u32)>),
    Notification(Notification),
    /// A question to this side, with its number; the services of clients have none else.
    Request {
        invoke: u8,
        service: u8,
        body: Vec<u8>,
    },
    SimpleAck {
        invoke: u8,
        service: u8,
    },
    ComplexAck {
        invoke: u8,
        service: u8,
        segment: Option<Segment>,
        body: Vec<u8>,
    },
    SegmentAck {
        invoke: u8,
    },
    Error {
        invoke: u8,
        service: u8,
        refusal: Option<Refusal>,
    },
    Reject {
        invoke: u8,
        reason: u8,
    },
    Abort {
        invoke: u8,
        reason: u8,
    },
    /// Unconfirmed services that nobody here asked for.
    Unasked,
}

/// Which part of an answer this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u8,
    /// Segments that the device would send in a row.
    pub(crate) window: u8,
    pub(crate) more: bool,
}

/// Reads a datagram.
pub(crate) fn read(datagram: &[u8]) -> Result<Frame, Malformed> {
    catch_unwind(AssertUnwindSafe(|| frame(datagram))).unwrap_or(Err(Malformed))
}

/// Whether a datagram is a message that can be read down to its last value. For those who send damaged ones.
#[must_use]
pub fn takes(datagram: &[u8]) -> bool {
    match read(datagram) {
        Ok(Frame::Message { message: Message::ComplexAck { service, body, .. }, .. }) => {
            // What came is for whom it is: here for everybody who reads such answers.
            let (one, many) = (services::property_ack(&body).is_ok(), services::multiple_ack(&body).is_ok());
            if service == READ_PROPERTY { one } else { many }
        }
        Ok(Frame::Message { message: Message::Request { body, .. }, .. }) => services::notification(&body).is_ok(),
        found => found.is_ok(),
    }
}

fn frame(datagram: &[u8]) -> Result<Frame, Malformed> {
    // The crate takes lengths below its own header, and reads past the end of a short result.
    if datagram.len() < BVLC_BYTES || datagram.len() > MAX_DATAGRAM {
        return Err(Malformed);
    }
    let header = BvlcHeader::decode(datagram).map_err(|_| Malformed)?;
    if usize::from(header.length) != datagram.len() {
        return Err(Malformed);
    }
    let rest = datagram.get(BVLC_BYTES..).ok_or(Malformed)?;
    let (forwarded, npdu) = match header.function as u8 {
        RESULT => return rest.try_into().map(|code| Frame::Result(u16::from_be_bytes(code))).map_err(|_| Malformed),
        UNICAST | BROADCAST => (None, rest),
        FORWARDED => {
            let [a, b, c, d, high, low, npdu @ ..] = rest else { return Err(Malformed) };
            (Some(([*a, *b, *c, *d], u16::from_be_bytes([*high, *low]))), npdu)
        }
        _ => return Ok(Frame::Other),
    };
    let (header, length) = Npdu::decode(npdu).map_err(|_| Malformed)?;
    if header.control.network_message {
        return Ok(Frame::Other);
    }
    let from = header.source.map(|source| Station { network: source.network, mac: source.address });
    let message = message(npdu.get(length..).ok_or(Malformed)?)?;
    Ok(Frame::Message { forwarded, from, message })
}

fn message(apdu: &[u8]) -> Result<Message, Malformed> {
    // What the crate knows only in part: it cuts class and code to 8 bits, and refuses services that it has no name for.
    match apdu {
        [first, invoke, service, body @ ..] if first >> 4 == 5 => {
            return Ok(Message::Error { invoke: *invoke, service: *service, refusal: services::error(body).ok() });
        }
        [first, _, invoke, service, body @ ..] if first >> 4 == 0 && first & 0x08 == 0 => {
            return Ok(Message::Request { invoke: *invoke, service: *service, body: body.to_vec() });
        }
        [first, invoke, service, body @ ..] if first >> 4 == 3 && first & 0x08 == 0 => {
            return Ok(Message::ComplexAck { invoke: *invoke, service: *service, segment: None, body: body.to_vec() });
        }
        [first, service, ..] if first >> 4 == 1 && UnconfirmedServiceChoice::try_from(*service).is_err() => return Ok(Message::Unasked),
        _ => {}
    }
    Ok(match Apdu::decode(apdu).map_err(|_| Malformed)? {
        Apdu::UnconfirmedRequest { service_choice, service_data } => match service_choice {
            UnconfirmedServiceChoice::IAm => Message::IAm(services::i_am(&service_data)?),
            UnconfirmedServiceChoice::WhoIs => Message::WhoIs(services::who_is_range(&service_data)?),
            UnconfirmedServiceChoice::UnconfirmedCOVNotification => Message::Notification(services::notification(&service_data)?),
            _ => Message::Unasked,
        },
        Apdu::SimpleAck { invoke_id, service_choice } => Message::SimpleAck { invoke: invoke_id, service: service_choice },
        Apdu::ComplexAck { more_follows, invoke_id, sequence_number, proposed_window_size, service_choice, service_data, .. } => {
            let (Some(number), Some(window)) = (sequence_number, proposed_window_size) else { return Err(Malformed) };
            let segment = Some(Segment { number, window, more: more_follows });
            Message::ComplexAck { invoke: invoke_id, service: service_choice as u8, segment, body: service_data }
        }
        Apdu::SegmentAck { invoke_id, .. } => Message::SegmentAck { invoke: invoke_id },
        Apdu::Reject { invoke_id, reject_reason } => Message::Reject { invoke: invoke_id, reason: reject_reason.into() },
        Apdu::Abort { invoke_id, abort_reason, .. } => Message::Abort { invoke: invoke_id, reason: abort_reason.into() },
        // A question in segments: this side takes none. An error was read above.
        Apdu::ConfirmedRequest { .. } | Apdu::Error { .. } => return Err(Malformed),
    })
}

/// A question, in one segment; its answer may have several.
pub(crate) fn question(invoke: u8, service: ConfirmedServiceChoice, body: Vec<u8>) -> Vec<u8> {
    Apdu::ConfirmedRequest {
        segmented: false,
        more_follows: false,
        segmented_response_accepted: true,
        max_segments: MaxSegments::SixtyFour,
        max_response_size: MaxApduSize::Up1476,
        invoke_id: invoke,
        sequence_number: None,
        proposed_window_size: None,
        service_choice: service,
        service_data: body,
    }
    .encode()
}

/// Tells a device up to which segment its answer has come, and how many may follow in a row.
pub(crate) fn segment_ack(invoke: u8, number: u8, window: u8, in_order: bool) -> Vec<u8> {
    Apdu::SegmentAck { negative: !in_order, server: false, invoke_id: invoke, sequence_number: number, window_size: window }.encode()
}

/// The answer to a question that has none but that it was understood.
pub(crate) fn simple_ack(invoke: u8, service: u8) -> Vec<u8> {
    Apdu::SimpleAck { invoke_id: invoke, service_choice: service }.encode()
}

/// Breaks off an answer.
pub(crate) fn abort(invoke: u8, reason: u8) -> Vec<u8> {
    Apdu::Abort { server: false, invoke_id: invoke, abort_reason: reason.into() }.encode()
}

/// Refuses a question that this side does not know.
pub(crate) fn reject(invoke: u8, reason: u8) -> Vec<u8> {
    Apdu::Reject { invoke_id: invoke, reject_reason: reason.into() }.encode()
}

/// Refuses a question with an error.
pub(crate) fn refuse(invoke: u8, service: u8, refusal: Refusal) -> Vec<u8> {
    let mut out = vec![0x50, invoke, service];
    for number in [refusal.class, refusal.code] {
        super::tags::push_value(&mut out, &super::tags::Value::Enumerated(number));
    }
    out
}

/// A service that nobody answers.
pub(crate) fn unconfirmed(service: UnconfirmedServiceChoice, body: Vec<u8>) -> Vec<u8> {
    Apdu::UnconfirmedRequest { service_choice: service, service_data: body }.encode()
}

/// A datagram to one device: itself, or the router before it.
pub(crate) fn to_one(station: Option<&Station>, expects_answer: bool, apdu: &[u8]) -> Vec<u8> {
    let mut npdu = Npdu::new();
    npdu.control.expecting_reply = expects_answer;
    if let Some(station) = station {
        npdu.set_destination(NetworkAddress::new(station.network, station.mac.clone()));
        npdu.hop_count = Some(HOPS);
    }
    datagram(BvlcFunction::OriginalUnicastNpdu, &npdu, apdu)
}

/// A datagram to all devices of all networks; by way of a BBMD where this side is a foreign device.
pub(crate) fn to_all(is_foreign: bool, apdu: &[u8]) -> Vec<u8> {
    let mut npdu = Npdu::new();
    npdu.set_destination(NetworkAddress::new(EVERY_NETWORK, Vec::new()));
    npdu.hop_count = Some(HOPS);
    let function = if is_foreign { BvlcFunction::DistributeBroadcastToNetwork } else { BvlcFunction::OriginalBroadcastNpdu };
    datagram(function, &npdu, apdu)
}

fn datagram(function: BvlcFunction, npdu: &Npdu, apdu: &[u8]) -> Vec<u8> {
    let npdu = npdu.encode();
    bvlc(function, &[npdu.as_slice(), apdu].concat())
}

fn bvlc(function: BvlcFunction, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(BVLC_BYTES + content.len()).unwrap_or(u16::MAX);
    [BvlcHeader::new(function, length).encode().as_slice(), content].concat()
}

/// Registers this side with a BBMD as a foreign device.
pub(crate) fn register(ttl_s: u16) -> Vec<u8> {
    bvlc(BvlcFunction::RegisterForeignDevice, &ttl_s.to_be_bytes())
}

#[cfg(test)]
mod tests;
