//! Which devices a notification comes from. Shell: asks the resolver for the names of hosts, now and then.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

use crate::config::{Config, Transport, Traps};
use crate::reading::DeviceIndex;

/// How often names are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(300);
/// How long all of them may take: meanwhile nothing is heard.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);

/// The devices by what their notifications come from.
#[derive(Debug)]
pub(super) struct Sources {
    engines: BTreeMap<Vec<u8>, Vec<DeviceIndex>>,
    told: BTreeMap<IpAddr, Vec<DeviceIndex>>,
    hosts: BTreeMap<IpAddr, Vec<DeviceIndex>>,
    again: Option<Instant>,
}

impl Sources {
    pub(super) fn new(traps: &Traps) -> Self {
        let (engines, told) = (traps.engines.clone(), traps.addresses.clone());
        Self { engines, told, hosts: BTreeMap::new(), again: None }
    }

    /// Where several say something, the engine goes before the address that an agent names, and that before the one it was sent from.
    pub(super) fn devices(&self, from: IpAddr, engine: Option<&[u8]>, agent: Option<IpAddr>) -> Vec<DeviceIndex> {
        let of = |address: IpAddr| {
            let address = address.to_canonical();
            self.told.get(&address).or_else(|| self.hosts.get(&address))
        };
        let by_engine = engine.and_then(|engine| self.engines.get(engine));
        by_engine.or_else(|| agent.and_then(of)).or_else(|| of(from)).cloned().unwrap_or_default()
    }

    /// Looks up the hosts of all agents, if it is time to. What cannot be looked up in time stays as it was.
    pub(super) async fn look_up(&mut self, config: &Config) {
        let now = Instant::now();
        if self.again.is_some_and(|again| now < again) {
            return;
        }
        let mut found: BTreeMap<IpAddr, Vec<DeviceIndex>> = BTreeMap::new();
        for link in &config.links {
            let Transport::Snmp(agent) = &link.transport else { continue };
            let endpoint = agent.endpoint.as_str();
            let addresses: Vec<IpAddr> = match timeout_at(now + LOOK_UP_WITHIN, lookup_host(endpoint)).await {
                Ok(Ok(addresses)) => addresses.map(|address| address.ip().to_canonical()).collect(),
                _ => self.hosts.iter().filter(|(_, own)| link.devices.iter().any(|d| own.contains(d))).map(|(ip, _)| *ip).collect(),
            };
            for address in addresses {
                let devices = found.entry(address).or_default();
                devices.extend(link.devices.iter().filter(|device| !devices.contains(device)).copied().collect::<Vec<_>>());
            }
        }
        self.hosts = found;
        self.again = Some(Instant::now() + LOOK_UP_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_goes_before_the_agent_and_that_before_the_sender() {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let device = |index| vec![DeviceIndex(index)];
        let sources = Sources {
            engines: BTreeMap::from([(vec![1, 2], device(0))]),
            told: BTreeMap::from([(ip(1), device(1))]),
            hosts: BTreeMap::from([(ip(1), device(2)), (ip(2), vec![DeviceIndex(3), DeviceIndex(4)]), (ip(3), device(5))]),
            again: None,
        };
        for (from, engine, agent, devices) in [
            (ip(2), Some(&[1, 2][..]), Some(ip(3)), device(0)),
            (ip(2), Some(&[9]), Some(ip(3)), device(5)),
            (ip(2), None, Some(ip(9)), vec![DeviceIndex(3), DeviceIndex(4)]),
            (ip(1), None, None, device(1)),
            (IpAddr::V6(std::net::Ipv4Addr::new(10, 0, 0, 3).to_ipv6_mapped()), None, None, device(5)),
            (ip(9), None, None, vec![]),
        ] {
            assert_eq!(sources.devices(from, engine, agent), devices, "{from} {engine:?} {agent:?}");
        }
    }
}
