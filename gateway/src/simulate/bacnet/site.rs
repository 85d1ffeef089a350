//! Simulated BACnet devices at one socket: which of them a message is for. Pure.
//!
//! One device is at the socket itself. Where there are more, it is the router to a network on which the others are, as gateways to other
//! buses do it: each has a MAC there, counted from 1.

use std::net::SocketAddr;

use super::device::{Device, Sent};
use super::frame::{self, Content, EVERYWHERE, Peer, Station};

/// Number of the network behind the first device.
pub(crate) const NETWORK: u16 = 2001;
/// Most devices: a MAC has one byte.
pub(crate) const MAX_DEVICES: usize = 255;

/// Datagrams, and where they go.
pub(crate) type Datagrams = Vec<(SocketAddr, Vec<u8>)>;

/// Devices that share a socket.
pub(crate) struct Site(Vec<Device>);

impl Site {
    /// At most [`MAX_DEVICES`].
    pub(crate) fn new(devices: Vec<Device>) -> Self {
        Self(devices)
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.0
    }

    pub(crate) fn device_mut(&mut self, at: usize) -> Option<&mut Device> {
        self.0.get_mut(at)
    }

    /// What is answered to these bytes.
    pub(crate) fn hear(&mut self, bytes: &[u8], from: SocketAddr, now_ms: u64) -> Datagrams {
        let Some(message) = frame::open(bytes, from) else { return Vec::new() };
        let has_network = self.0.len() > 1;
        let apdu = match message.content {
            Content::Apdu(apdu) => apdu,
            Content::WhoIsRouter(network) => {
                let known = has_network && network.is_none_or(|network| network == NETWORK);
                return if known { vec![(from, frame::i_am_router(NETWORK))] } else { Vec::new() };
            }
        };
        let mut datagrams = Vec::new();
        for (at, device) in self.0.iter_mut().enumerate() {
            let own = station(at);
            let is_meant = match (&message.to, &own) {
                (None, own) => own.is_none(),
                (Some(to), _) if to.network == EVERYWHERE => true,
                (Some(to), Some(own)) => to == own || to.network == own.network && to.mac.is_empty(),
                (Some(_), None) => false,
            };
            if is_meant {
                datagrams.extend(device.answer(&message.from, apdu, now_ms).iter().map(|sent| closed(own.as_ref(), sent)));
            }
        }
        datagrams
    }

    /// What a device has to say, as datagrams.
    pub(crate) fn said(at: usize, sent: &[Sent]) -> Datagrams {
        sent.iter().map(|sent| closed(station(at).as_ref(), sent)).collect()
    }
}

fn station(at: usize) -> Option<Station> {
    let mac = u8::try_from(at).ok().filter(|at| *at > 0)?;
    Some(Station { network: NETWORK, mac: vec![mac] })
}

fn closed(own: Option<&Station>, sent: &Sent) -> (SocketAddr, Vec<u8>) {
    let Peer { address, behind } = &sent.to;
    (*address, frame::close(own, behind.as_ref(), &sent.apdu, sent.expects_reply))
}

#[cfg(test)]
mod tests {
    use super::super::device::{Ability, Itself};
    use super::*;

    fn site(count: u32) -> Site {
        let itself = |instance| Itself { instance, name: "d".into(), vendor: 0, vendor_name: String::new(), model: String::new() };
        Site::new((1..=count).map(|instance| Device::new(itself(instance), Ability::default(), [])).collect())
    }

    const WHO_IS: [u8; 2] = [0x10, 8];

    /// Instances that answer this message, and where from.
    fn answers(site: &mut Site, npdu: &[u8]) -> Vec<(u8, Option<Station>)> {
        let length = u8::try_from(npdu.len() + 4).unwrap();
        let bytes = [&[0x81, 0x0B, 0, length][..], npdu].concat();
        let from = "10.0.0.9:1".parse().unwrap();
        let datagrams = site.hear(&bytes, from, 0);
        let answer = |(to, bytes): &(SocketAddr, Vec<u8>)| {
            assert_eq!(*to, from);
            let message = frame::open(bytes, from).unwrap();
            let Content::Apdu(apdu) = message.content else { panic!("{bytes:02x?}") };
            (apdu[6], message.from.behind)
        };
        datagrams.iter().map(answer).collect()
    }

    fn behind(mac: u8) -> Option<Station> {
        Some(Station { network: NETWORK, mac: vec![mac] })
    }

    #[test]
    fn a_message_reaches_those_whom_it_is_for() {
        let (high, low) = (NETWORK.to_be_bytes()[0], NETWORK.to_be_bytes()[1]);
        for (head, expected) in [
            (vec![1, 0], vec![(1, None)]),
            (vec![1, 0x20, 0xFF, 0xFF, 0, 255], vec![(1, None), (2, behind(1)), (3, behind(2))]),
            (vec![1, 0x20, high, low, 0, 255], vec![(2, behind(1)), (3, behind(2))]),
            (vec![1, 0x20, high, low, 1, 2, 255], vec![(3, behind(2))]),
            (vec![1, 0x20, high, low, 1, 3, 255], vec![]),
            (vec![1, 0x20, 0, 5, 0, 255], vec![]),
        ] {
            assert_eq!(answers(&mut site(3), &[&head[..], &WHO_IS].concat()), expected, "{head:02x?}");
        }
    }

    #[test]
    fn a_router_says_which_network_it_leads_to_and_a_device_alone_is_none() {
        let ask = |count, npdu: &[u8]| {
            let bytes = [&[0x81, 0x0B, 0, u8::try_from(npdu.len() + 4).unwrap()][..], npdu].concat();
            site(count).hear(&bytes, "10.0.0.9:1".parse().unwrap(), 0)
        };
        let [high, low] = NETWORK.to_be_bytes();
        let expected = vec![0x81, 0x0A, 0, 9, 1, 0x80, 1, high, low];
        for npdu in [&[1, 0x80, 0][..], &[1, 0x80, 0, high, low]] {
            assert_eq!(ask(2, npdu)[0].1, expected);
            assert_eq!(ask(1, npdu), []);
        }
        assert_eq!(ask(2, &[1, 0x80, 0, 0, 5]), []);
    }
}
