//! The envelope of a BACnet/IP message (ASHRAE 135, annex J and clause 6): bytes <-> where it comes from, where it goes, what it carries.
//! Pure. Of messages between routers it knows the question for the way to a network, and its answer.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// First byte of everything that is BACnet/IP.
const BVLC: u8 = 0x81;
const FORWARDED: u8 = 0x04;
const UNICAST: u8 = 0x0A;
const BROADCAST: u8 = 0x0B;
const VERSION: u8 = 1;
/// Bits of the control byte.
const NETWORK_MESSAGE: u8 = 0x80;
const HAS_DESTINATION: u8 = 0x20;
const HAS_SOURCE: u8 = 0x08;
const EXPECTS_REPLY: u8 = 0x04;
/// Hops that a message has before it.
const HOPS: u8 = 255;
/// Longest address on a network: that of BACnet/IP over IPv6 in a router's table.
const MAX_MAC: usize = 18;
const WHO_IS_ROUTER: u8 = 0;
const I_AM_ROUTER: u8 = 1;

/// Everybody on every network.
pub(crate) const EVERYWHERE: u16 = 0xFFFF;

/// A station on a network behind a router; no bytes are all stations there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Station {
    pub(crate) network: u16,
    pub(crate) mac: Vec<u8>,
}

/// Who asks: where its messages come from, and who it is behind that router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) behind: Option<Station>,
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'b> {
    Apdu(&'b [u8]),
    /// Who knows the way to this network, or to any.
    WhoIsRouter(Option<u16>),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message<'b> {
    pub(crate) from: Peer,
    /// For a station on another network; none for whoever hears it.
    pub(crate) to: Option<Station>,
    pub(crate) content: Content<'b>,
}

/// What these bytes say; nothing where they are no message for a device.
pub(crate) fn open(bytes: &[u8], from: SocketAddr) -> Option<Message<'_>> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let [BVLC, function, high, low] = *head else { return None };
    if usize::from(u16::from_be_bytes([high, low])) != bytes.len() {
        return None;
    }
    let (address, rest) = match function {
        UNICAST | BROADCAST => (from, rest),
        FORWARDED => {
            let (origin, rest) = rest.split_at_checked(6)?;
            let [a, b, c, d, high, low] = *origin else { return None };
            (SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into(), rest)
        }
        _ => return None,
    };
    let (&[VERSION, control], rest) = rest.split_first_chunk()? else { return None };
    let (to, rest) = station(rest, control & HAS_DESTINATION != 0)?;
    let (behind, rest) = station(rest, control & HAS_SOURCE != 0)?;
    let rest = if to.is_some() { rest.split_first()?.1 } else { rest };
    let content = if control & NETWORK_MESSAGE == 0 {
        Content::Apdu(rest)
    } else {
        let network = match *rest {
            [WHO_IS_ROUTER] => None,
            [WHO_IS_ROUTER, high, low] => Some(u16::from_be_bytes([high, low])),
            _ => return None,
        };
        Content::WhoIsRouter(network)
    };
    Some(Message { from: Peer { address, behind }, to, content })
}

fn station(bytes: &[u8], there: bool) -> Option<(Option<Station>, &[u8])> {
    if !there {
        return Some((None, bytes));
    }
    let (&[high, low, length], rest) = bytes.split_first_chunk()?;
    let (mac, rest) = rest.split_at_checked(usize::from(length)).filter(|(mac, _)| mac.len() <= MAX_MAC)?;
    Some((Some(Station { network: u16::from_be_bytes([high, low]), mac: mac.to_vec() }), rest))
}

/// The bytes of a message from this device, which may have a station of its own, to one that asked.
pub(crate) fn close(own: Option<&Station>, to: Option<&Station>, apdu: &[u8], expects_reply: bool) -> Vec<u8> {
    let mut control = if expects_reply { EXPECTS_REPLY } else { 0 };
    let mut npdu = vec![VERSION, 0];
    for (station, bit) in [(to, HAS_DESTINATION), (own, HAS_SOURCE)] {
        let Some(station) = station else { continue };
        control |= bit;
        npdu.extend(station.network.to_be_bytes());
        npdu.push(u8::try_from(station.mac.len()).unwrap_or_default());
        npdu.extend(&station.mac);
    }
    if to.is_some() {
        npdu.push(HOPS);
    }
    if let Some(place) = npdu.get_mut(1) {
        *place = control;
    }
    npdu.extend(apdu);
    bvlc(UNICAST, &npdu)
}

/// The answer to the question for the way to this network.
pub(crate) fn i_am_router(network: u16) -> Vec<u8> {
    let [high, low] = network.to_be_bytes();
    bvlc(UNICAST, &[VERSION, NETWORK_MESSAGE, I_AM_ROUTER, high, low])
}

fn bvlc(function: u8, npdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(npdu.len() + 4).unwrap_or(u16::MAX);
    [&[BVLC, function], &length.to_be_bytes()[..], npdu].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> SocketAddr {
        "10.0.0.9:47808".parse().unwrap()
    }

    #[test]
    fn a_message_says_who_asks_and_who_is_meant() {
        let station = |network, mac: &[u8]| Some(Station { network, mac: mac.to_vec() });
        for (bytes, address, behind, to, apdu) in [
            (&[0x81, 0x0A, 0, 8, 1, 4, 0xAA, 0xBB][..], "10.0.0.9:47808", None, None, &[0xAA, 0xBB][..]),
            // A global broadcast, as Who-Is is sent.
            (&[0x81, 0x0B, 0, 12, 1, 0x20, 0xFF, 0xFF, 0, 255, 0x10, 8], "10.0.0.9:47808", None, station(EVERYWHERE, &[]), &[0x10, 8]),
            // Forwarded by a BBMD, from behind a router, to a station behind this one.
            (
                &[0x81, 4, 0, 25, 10, 1, 2, 3, 0xBA, 0xC1, 1, 0x2C, 0, 5, 1, 0x1A, 0, 7, 1, 9, 254, 1, 2, 3, 4],
                "10.1.2.3:47809",
                station(7, &[9]),
                station(5, &[0x1A]),
                &[1, 2, 3, 4],
            ),
        ] {
            let from = Peer { address: address.parse().unwrap(), behind };
            assert_eq!(open(bytes, self::from()), Some(Message { from, to, content: Content::Apdu(apdu) }), "{bytes:02x?}");
        }
        let asked = open(&[0x81, 0x0B, 0, 9, 1, 0x80, 0, 0, 5], from()).unwrap();
        assert_eq!(asked.content, Content::WhoIsRouter(Some(5)));
    }

    #[test]
    fn what_is_closed_is_opened_again() {
        let (own, to) = (Station { network: 5, mac: vec![0x1A] }, Station { network: 7, mac: vec![1, 2, 3, 4, 5, 6] });
        let bytes = close(Some(&own), Some(&to), &[0x30, 1], false);
        let message = open(&bytes, from()).unwrap();
        assert_eq!((message.from.behind, message.to, message.content), (Some(own), Some(to), Content::Apdu(&[0x30, 1])));
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        let whole = [0x81, 4, 0, 25, 10, 1, 2, 3, 0xBA, 0xC1, 1, 0x2C, 0, 5, 1, 0x1A, 0, 7, 1, 9, 254, 1, 2, 3, 4];
        for length in 0..whole.len() {
            assert_eq!(open(&whole[..length], from()), None, "cut after {length}");
        }
        for bytes in [
            &[0x82, 0x0A, 0, 6, 1, 0][..],
            // A version that is not 1, a result, a MAC of 200 bytes that are not there.
            &[0x81, 0x0A, 0, 6, 2, 0],
            &[0x81, 0, 0, 6, 0, 0],
            &[0x81, 0x0A, 0, 9, 1, 0x20, 0, 5, 200],
        ] {
            assert_eq!(open(bytes, from()), None, "{bytes:02x?}");
        }
    }
}
