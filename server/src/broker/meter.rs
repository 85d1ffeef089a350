//! Follows the frames of an MQTT stream from a client without keeping a byte of it. Pure.
//!
//! It bounds what the broker's library would otherwise read first and judge later: the first packet, the size of each kind,
//! and how many there are. What is inside of a packet is the library's to check.

use thiserror::Error;

/// Largest packet that carries a message, in bytes: a schema of 2 MiB and room for its topic and properties.
pub const MAX_PACKET_BYTES: usize = 3 << 20;
/// Largest CONNECT, in bytes: it comes from somebody unknown. A last will is a status document of some kB.
pub const MAX_CONNECT_BYTES: usize = 64 << 10;
/// Largest packet of any other kind, in bytes: subscriptions and acknowledgements are short.
pub const MAX_CONTROL_BYTES: usize = 16 << 10;
/// A remaining length has at most four bytes (MQTT 5, 1.5.5).
const LENGTH_BYTES: u32 = 4;

const CONNECT: u8 = 1;
/// Its flags are zero.
const CONNECT_BYTE: u8 = CONNECT << 4;
const PUBLISH: u8 = 3;
/// Kinds that only a server sends: CONNACK, SUBACK, UNSUBACK, PINGRESP.
const FROM_SERVER: [u8; 4] = [2, 9, 11, 13];

/// Why a stream is not read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Breach {
    /// Something else came before CONNECT.
    #[error("the first byte is {0:#04x}, a CONNECT begins with {CONNECT_BYTE:#04x}")]
    First(u8),
    /// No client sends this kind.
    #[error("a packet of kind {0}, which no client sends here")]
    Kind(u8),
    /// The length has more bytes than there are.
    #[error("the length of a packet has more than {LENGTH_BYTES} bytes")]
    Length,
    /// Larger than its kind may be.
    #[error("a packet of kind {kind} with {bytes} bytes, at most {limit} are taken")]
    TooLarge {
        /// Kind of packet.
        kind: u8,
        /// Its size as announced.
        bytes: usize,
        /// Its limit.
        limit: usize,
    },
}

/// Where in the stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The next byte begins a packet.
    Kind,
    /// Within the length of a packet of that kind: what it amounts to, and how many of its bytes there were.
    Length { kind: u8, value: usize, bytes: u32 },
    /// So many bytes of the packet are still to come.
    Body { left: usize },
}

/// Follows one stream.
#[derive(Debug)]
pub struct Meter {
    place: Place,
    begun: bool,
    past_connect: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self { place: Place::Kind, begun: false, past_connect: false }
    }
}

impl Meter {
    /// Follows these bytes; gives how many packets were announced in them.
    ///
    /// # Errors
    /// What no client of ours sends; nothing of `bytes` should be handed on.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<u32, Breach> {
        let mut packets = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.place {
                Place::Kind => {
                    self.place = Place::Length { kind: self.kind(byte)?, value: 0, bytes: 0 };
                    bytes = rest;
                }
                Place::Length { kind, value, bytes: count } => {
                    if count == LENGTH_BYTES {
                        return Err(Breach::Length);
                    }
                    let value = value | usize::from(byte & 0x7f) << (7 * count);
                    bytes = rest;
                    if byte & 0x80 != 0 {
                        self.place = Place::Length { kind, value, bytes: count + 1 };
                        continue;
                    }
                    let limit = limit(kind);
                    if value > limit {
                        return Err(Breach::TooLarge { kind, bytes: value, limit });
                    }
                    packets += 1;
                    self.place = if value == 0 { self.end_of_packet() } else { Place::Body { left: value } };
                }
                Place::Body { left } => {
                    let here = left.min(bytes.len());
                    bytes = bytes.split_at(here).1;
                    self.place = if here == left { self.end_of_packet() } else { Place::Body { left: left - here } };
                }
            }
        }
        Ok(packets)
    }

    /// Whether all of the first packet has passed.
    #[must_use]
    pub fn past_connect(&self) -> bool {
        self.past_connect
    }

    fn end_of_packet(&mut self) -> Place {
        self.past_connect = true;
        Place::Kind
    }

    fn kind(&mut self, byte: u8) -> Result<u8, Breach> {
        let kind = byte >> 4;
        if !self.begun && byte != CONNECT_BYTE {
            return Err(Breach::First(byte));
        }
        if kind == 0 || FROM_SERVER.contains(&kind) {
            return Err(Breach::Kind(kind));
        }
        self.begun = true;
        Ok(kind)
    }
}

fn limit(kind: u8) -> usize {
    match kind {
        CONNECT => MAX_CONNECT_BYTES,
        PUBLISH => MAX_PACKET_BYTES,
        _ => MAX_CONTROL_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![kind << 4];
        let mut rest = length;
        loop {
            let more = if rest > 0x7f { 0x80 } else { 0 };
            bytes.push((rest & 0x7f) as u8 | more);
            rest >>= 7;
            if more == 0 {
                break;
            }
        }
        bytes.resize(bytes.len() + length, 0xff);
        bytes
    }

    #[test]
    fn what_no_client_sends_is_a_breach() {
        let connect = packet(CONNECT, 20);
        for (after, bytes, expected) in [
            (false, packet(CONNECT, 20), Ok(1)),
            (false, packet(CONNECT, MAX_CONNECT_BYTES), Ok(1)),
            (false, packet(CONNECT, MAX_CONNECT_BYTES + 1), Err(Breach::TooLarge { kind: 1, bytes: 65537, limit: 65536 })),
            (false, packet(PUBLISH, 20), Err(Breach::First(0x30))),
            (false, b"GET / HTTP/1.1\r\n".to_vec(), Err(Breach::First(b'G'))),
            (false, vec![0x16, 0x03, 0x01], Err(Breach::First(0x16))),
            (false, vec![0x00], Err(Breach::First(0))),
            (false, vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x01], Err(Breach::Length)),
            (true, packet(PUBLISH, MAX_PACKET_BYTES), Ok(1)),
            (true, packet(PUBLISH, MAX_PACKET_BYTES + 1), Err(Breach::TooLarge { kind: 3, bytes: 3_145_729, limit: 3_145_728 })),
            (true, vec![0x30, 0xff, 0xff, 0xff, 0x7f], Err(Breach::TooLarge { kind: 3, bytes: 268_435_455, limit: 3_145_728 })),
            (true, packet(8, MAX_CONTROL_BYTES + 1), Err(Breach::TooLarge { kind: 8, bytes: 16385, limit: 16384 })),
            (true, packet(2, 2), Err(Breach::Kind(2))),
            (true, packet(13, 0), Err(Breach::Kind(13))),
            (true, vec![0x00], Err(Breach::Kind(0))),
            (true, [packet(12, 0), packet(12, 0), packet(PUBLISH, 300)].concat(), Ok(3)),
        ] {
            let mut meter = Meter::default();
            if after {
                assert_eq!(meter.follow(&connect[..10]), Ok(1));
                assert!(!meter.past_connect());
                assert_eq!(meter.follow(&connect[10..]), Ok(0));
                assert!(meter.past_connect());
            }
            assert_eq!(meter.follow(&bytes), expected, "{after} {:02x?}", &bytes[..bytes.len().min(6)]);
        }
    }

    proptest! {
        /// However the network cuts the stream, the meter sees the same packets.
        #[test]
        fn cuts_change_nothing(lengths in prop::collection::vec(0usize..600, 0..20), cut in 1usize..50) {
            let mut bytes = packet(CONNECT, 30);
            lengths.iter().for_each(|length| bytes.extend(packet(PUBLISH, *length)));
            let mut meter = Meter::default();
            let mut packets = 0;
            for piece in bytes.chunks(cut) {
                packets += meter.follow(piece).unwrap();
            }
            prop_assert_eq!(packets as usize, lengths.len() + 1);
            prop_assert_eq!(meter.place, Place::Kind);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Meter::default().follow(&bytes);
        }
    }
}
