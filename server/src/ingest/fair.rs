//! Messages that wait for the store, by gateway, so that each gateway gets its turn. Pure.
//!
//! One connection brings the messages of all gateways, so it is always read: leaving it unread would hold up everybody. A gateway
//! that sends more than its quota loses what is over it, and so does, when everything is full, the one that has most waiting.
//! Nothing of that is lost: what is not acknowledged is sent again, and a gateway has at most 1000 batches under way.

use std::collections::{HashMap, VecDeque};

use pattoo_wire::topic;

use super::Message;
use crate::catalog::MAX_GATEWAYS;

/// Most messages of one gateway: twice what it may have under way, because it may send all of it again.
pub(super) const GATEWAY_MESSAGES: usize = 2048;
/// Most bytes of one gateway.
pub(super) const GATEWAY_BYTES: usize = 16 << 20;
/// Most bytes of all.
pub(super) const QUEUE_BYTES: usize = 64 << 20;
/// What a message costs besides its own bytes.
const MESSAGE_BYTES: usize = 128;

/// The messages that wait.
#[derive(Debug, Default)]
pub(super) struct Fair {
    gateways: HashMap<String, Waiting>,
    /// Gateways with messages, next first.
    turns: VecDeque<String>,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Fair {
    /// Adds a message at the end of its gateway's; gives the gateways that lost one for it, perhaps its own.
    pub(super) fn push(&mut self, message: Message) -> Vec<String> {
        // Topics of no gateway are counted and thrown away; all of them are one gateway without a name.
        let gateway = topic::parse(&message.topic).map_or("", |(gateway, _)| gateway).to_owned();
        let cost = cost(&message);
        let (messages, bytes) = self.gateways.get(&gateway).map_or((0, 0), |own| (own.messages.len(), own.bytes));
        let stranger = messages == 0 && self.gateways.len() >= MAX_GATEWAYS;
        if stranger || messages >= GATEWAY_MESSAGES || bytes + cost > GATEWAY_BYTES {
            return vec![gateway];
        }
        let mut lost = Vec::new();
        while self.bytes + cost > QUEUE_BYTES {
            let most = self.gateways.iter().max_by_key(|(_, waiting)| waiting.bytes).map(|(name, waiting)| (name.clone(), waiting.bytes));
            match most {
                Some((most, held)) if held > bytes + cost => {
                    self.pop(&most, VecDeque::pop_back);
                    if !self.gateways.contains_key(&most) {
                        self.turns.retain(|turn| *turn != most);
                    }
                    lost.push(most);
                }
                _ => {
                    lost.push(gateway);
                    return lost;
                }
            }
        }
        if messages == 0 {
            self.turns.push_back(gateway.clone());
        }
        let own = self.gateways.entry(gateway).or_default();
        own.messages.push_back(message);
        own.bytes += cost;
        self.messages += 1;
        self.bytes += cost;
        lost
    }

    /// Whether so much waits that a group is full.
    pub(super) fn fills(&self, messages: usize, bytes: usize) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes a group: one message of each gateway in turn, those of one gateway in their order, until one of the limits is reached.
    pub(super) fn group(&mut self, messages: usize, bytes: usize) -> Vec<Message> {
        let (mut group, mut taken) = (Vec::new(), 0);
        while group.len() < messages && taken < bytes {
            let Some(gateway) = self.turns.pop_front() else { break };
            let Some(message) = self.pop(&gateway, VecDeque::pop_front) else { continue };
            taken += message.payload.len();
            group.push(message);
            if self.gateways.contains_key(&gateway) {
                self.turns.push_back(gateway);
            }
        }
        group
    }

    fn pop(&mut self, gateway: &str, which: impl FnOnce(&mut VecDeque<Message>) -> Option<Message>) -> Option<Message> {
        let waiting = self.gateways.get_mut(gateway)?;
        let message = which(&mut waiting.messages)?;
        waiting.bytes -= cost(&message);
        self.messages -= 1;
        self.bytes -= cost(&message);
        if waiting.messages.is_empty() {
            self.gateways.remove(gateway);
        }
        Some(message)
    }
}

fn cost(message: &Message) -> usize {
    MESSAGE_BYTES + message.topic.len() + message.payload.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn message(gateway: &str, number: u32, bytes: usize) -> Message {
        let payload = [&number.to_le_bytes()[..], &vec![0; bytes]].concat();
        Message { topic: topic::data(gateway), payload, retained: false }
    }

    fn origin(message: &Message) -> (&str, u32) {
        let (gateway, _) = topic::parse(&message.topic).unwrap();
        (gateway, u32::from_le_bytes(*message.payload.first_chunk().unwrap()))
    }

    #[test]
    fn one_that_replays_a_month_delays_no_other() {
        let mut fair = Fair::default();
        let lost: usize = (0..10_000).map(|n| fair.push(message("replays", n, 4000)).len()).sum();
        assert_eq!(lost, 10_000 - GATEWAY_MESSAGES);
        for n in 0..3 {
            assert!(fair.push(message("quiet", n, 100)).is_empty());
            assert!(fair.push(message("other", n, 100)).is_empty());
        }
        let group = fair.group(512, 4 << 20);
        assert_eq!(group.len(), 512);
        for (name, expected) in [("quiet", vec![0, 1, 2]), ("other", vec![0, 1, 2]), ("replays", (0..506).collect())] {
            let found: Vec<_> = group.iter().map(origin).filter(|(gateway, _)| *gateway == name).map(|(_, n)| n).collect();
            assert_eq!(found, expected, "{name}");
        }
        // What came late is in the next group, among the first.
        fair.push(message("quiet", 3, 100));
        let place = fair.group(512, 4 << 20).iter().position(|message| origin(message) == ("quiet", 3));
        assert_eq!(place, Some(1));
    }

    #[test]
    fn when_all_is_full_the_one_with_most_waiting_loses_its_newest() {
        let mut fair = Fair::default();
        let fill = |fair: &mut Fair, name: &str, bytes: usize| {
            let mut lost = Vec::new();
            (0..bytes as u32 / 32_768).for_each(|n| lost.extend(fair.push(message(name, n, 32_768))));
            lost
        };
        for name in ["a", "b", "c", "d"] {
            fill(&mut fair, name, GATEWAY_BYTES);
        }
        assert!(fair.bytes <= QUEUE_BYTES && fair.bytes > QUEUE_BYTES - (1 << 20));
        let lost = fill(&mut fair, "e", 8 << 20);
        assert!(lost.len() > 200 && lost.iter().all(|name| name != "e"), "{lost:?}");
        assert!(fair.bytes <= QUEUE_BYTES);
        let first: Vec<_> = fair.group(5, usize::MAX).iter().map(|message| origin(message).1).collect();
        assert_eq!(first, [0; 5], "the oldest of each are still there");
        // Small ones of others find room at once.
        assert!(!fair.push(message("f", 0, 10)).contains(&"f".to_owned()));
    }

    #[test]
    fn names_without_end_find_no_room() {
        let mut fair = Fair::default();
        for n in 0..MAX_GATEWAYS as u32 {
            assert!(fair.push(message(&format!("g{n}"), n, 1)).is_empty());
        }
        assert_eq!(fair.push(message("one-more", 0, 1)), ["one-more"]);
        assert!(fair.push(message("g7", 1, 1)).is_empty());
        let stranger = Message { topic: "nonsense".into(), payload: vec![], retained: false };
        assert_eq!(fair.push(stranger), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_below_the_limits_and_each_gateway_stays_in_order(steps in prop::collection::vec((0u8..4, 0usize..40, any::<bool>()), 1..200)) {
            let mut fair = Fair::default();
            let mut sent: BTreeMap<String, u32> = BTreeMap::new();
            let mut taken: BTreeMap<String, u32> = BTreeMap::new();
            let mut check = |group: Vec<Message>, sent: &BTreeMap<String, u32>| {
                for message in &group {
                    let (gateway, number) = origin(message);
                    let next = taken.entry(gateway.to_owned()).or_default();
                    assert_eq!(number, *next);
                    *next += 1;
                }
                taken == *sent
            };
            for (gateway, size, take) in steps {
                if take {
                    let group = fair.group(size, 100);
                    prop_assert!(group.len() <= size);
                    check(group, &sent);
                } else {
                    let name = format!("g{gateway}");
                    let number = sent.entry(name.clone()).or_default();
                    prop_assert!(fair.push(message(&name, *number, size)).is_empty());
                    *number += 1;
                }
                let held: usize = fair.gateways.values().flat_map(|waiting| &waiting.messages).map(cost).sum();
                prop_assert_eq!(fair.bytes, held);
                prop_assert_eq!(fair.turns.len(), fair.gateways.len());
            }
            prop_assert!(check(fair.group(usize::MAX, usize::MAX), &sent));
            prop_assert!(fair.is_empty() && fair.bytes == 0 && fair.turns.is_empty());
        }
    }
}
