//! Where in the packets of MQTT a connection is cut. Pure: is given bytes.

use super::Direction;
use crate::mqtt::kind;

/// A place in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing of it passes.
    Before,
    /// Its first byte passes.
    FirstByte,
    /// First byte and length pass.
    Header,
    /// A little of what follows the length passes: of a message, part of its topic.
    Topic,
    /// Half of it passes.
    Half,
    /// All but its last byte passes.
    AllButLast,
    /// All of it passes, and nothing after it.
    Whole,
}

impl Place {
    /// All places.
    pub const ALL: [Self; 7] = [Self::Before, Self::FirstByte, Self::Header, Self::Topic, Self::Half, Self::AllButLast, Self::Whole];
}

/// Kinds of packets that a gateway sends, and that it gets; those that only begin a connection stand apart, because a gateway
/// waits ever longer for a broker that takes nothing.
pub const KINDS: [(Direction, u8); 7] = [
    (Direction::Up, kind::CONNECT),
    (Direction::Up, kind::PUBLISH),
    (Direction::Up, kind::SUBSCRIBE),
    (Direction::Down, kind::PUBACK),
    (Direction::Down, kind::CONNACK),
    (Direction::Down, kind::PUBLISH),
    (Direction::Down, kind::SUBACK),
];

/// A point at which a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// In what goes there.
    pub direction: Direction,
    /// In a packet of this kind.
    pub kind: u8,
    /// After so many of them.
    pub skip: u32,
    /// Where in it.
    pub place: Place,
}

impl Cut {
    /// Whether this byte is where the cut is, and if so, whether the byte itself still passes.
    pub(super) fn passes(&mut self, at: &At) -> Option<bool> {
        if at.kind != self.kind {
            return None;
        }
        if self.skip > 0 {
            self.skip -= u32::from(at.total == Some(at.passed));
            return None;
        }
        let here = |passed: usize| (at.passed == passed).then_some(true);
        match (self.place, at.total) {
            (Place::Before, _) => (at.passed == 1).then_some(false),
            (Place::FirstByte, _) => here(1),
            (_, None) => None,
            (Place::Header, Some(_)) => here(at.header),
            (Place::Topic, Some(total)) => here((at.header + 5).min(total)),
            (Place::Half, Some(total)) => here((total / 2).max(at.header)),
            (Place::AllButLast, Some(total)) => here(total.saturating_sub(1)),
            (Place::Whole, Some(total)) => here(total),
        }
    }
}

/// Where a byte stands in its packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct At {
    kind: u8,
    /// Bytes of the packet up to and with this one.
    passed: usize,
    /// Bytes of first byte and length.
    header: usize,
    /// Bytes of the packet, once its length has passed.
    total: Option<usize>,
}

/// Follows the packets in one direction of a connection, from its first byte on.
#[derive(Debug, Default)]
pub(super) struct Framing {
    at: At,
    length: usize,
}

impl Framing {
    /// Where the next byte stands.
    pub(super) fn step(&mut self, byte: u8) -> At {
        if self.at.total == Some(self.at.passed) {
            *self = Self::default();
        }
        self.at.passed += 1;
        if self.at.passed == 1 {
            self.at.kind = byte >> 4;
        } else if self.at.total.is_none() {
            self.length |= usize::from(byte & 0x7f) << (7 * (self.at.passed - 2)).min(21);
            if byte & 0x80 == 0 {
                self.at.header = self.at.passed;
                self.at.total = Some(self.at.header + self.length);
            }
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::packet;

    /// What passes of two packets before the cut.
    fn passed(cut: Cut, packets: &[u8]) -> Option<usize> {
        let (mut framing, mut cut) = (Framing::default(), cut);
        packets.iter().enumerate().find_map(|(index, byte)| {
            let at = framing.step(*byte);
            cut.passes(&at).map(|with| index + usize::from(with))
        })
    }

    #[test]
    fn a_cut_is_where_it_was_planned() {
        // CONNECT of 12 bytes, then two PUBLISH of 3 + 200 bytes.
        let publish = packet(kind::PUBLISH << 4, &[0xff; 200]);
        let packets = [packet(kind::CONNECT << 4, &[0xff; 10]), publish.clone(), publish].concat();
        for (kind, skip, place, expected) in [
            (kind::CONNECT, 0, Place::Before, Some(0)),
            (kind::CONNECT, 0, Place::Whole, Some(12)),
            (kind::PUBLISH, 0, Place::Before, Some(12)),
            (kind::PUBLISH, 0, Place::FirstByte, Some(13)),
            (kind::PUBLISH, 0, Place::Header, Some(15)),
            (kind::PUBLISH, 0, Place::Topic, Some(20)),
            (kind::PUBLISH, 0, Place::Half, Some(113)),
            (kind::PUBLISH, 1, Place::AllButLast, Some(417)),
            (kind::PUBLISH, 1, Place::Whole, Some(418)),
            (kind::PUBLISH, 2, Place::Before, None),
            (kind::SUBSCRIBE, 0, Place::Before, None),
        ] {
            assert_eq!(passed(Cut { direction: Direction::Up, kind, skip, place }, &packets), expected, "{kind} {skip} {place:?}");
        }
    }
}
