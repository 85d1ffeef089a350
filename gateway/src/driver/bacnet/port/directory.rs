//! Where devices are, as they say with I-Am. Pure. Asks nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::bacnet::Peer;
use crate::driver::bacnet::services::IAm;

/// A device whose word is as old as this may have moved: who says that he is it now is believed.
const MOVED_AFTER: Duration = Duration::from_secs(120);
/// Instances that are asked for together although there are others between them.
const MAX_GAP: u32 = 16;
/// Questions for instances at the same time.
const MAX_RANGES: usize = 16;
/// Devices that a survey takes.
const MAX_SURVEYED: usize = 4_096;

/// Devices by instance.
#[derive(Debug, Default)]
pub(super) struct Directory {
    found: BTreeMap<u32, Found>,
    /// Devices that somebody looks for, and when they were last asked for.
    wanted: BTreeMap<u32, Option<Instant>>,
    /// All that answer, while somebody wants to know all.
    survey: Option<Vec<(Peer, IAm)>>,
}

#[derive(Debug)]
struct Found {
    peer: Peer,
    said: Instant,
    /// How often it has said so.
    times: u64,
}

/// What an I-Am tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that anybody here wants to know.
    Nothing,
    /// A device that is wanted, or known.
    Found,
    /// Two devices have the same instance: this is where the other one is.
    Duplicate(Peer),
}

impl Directory {
    /// A device of the configuration.
    pub(super) fn want(&mut self, instance: u32) {
        self.wanted.entry(instance).or_default();
    }

    /// Takes an I-Am.
    pub(super) fn hear(&mut self, peer: &Peer, i_am: &IAm, now: Instant) -> News {
        if let Some(survey) = self.survey.as_mut().filter(|survey| survey.len() < MAX_SURVEYED)
            && !survey.iter().any(|(other, known)| other == peer && known.device == i_am.device)
        {
            survey.push((peer.clone(), *i_am));
        }
        if !self.wanted.contains_key(&i_am.device) {
            return News::Nothing;
        }
        let new = || Found { peer: peer.clone(), said: now, times: 0 };
        let found = self.found.entry(i_am.device).or_insert_with(new);
        if found.peer != *peer {
            if now.duration_since(found.said) < MOVED_AFTER {
                return News::Duplicate(found.peer.clone());
            }
            *found = new();
        }
        found.said = now;
        found.times += 1;
        News::Found
    }

    /// Where a device is. It was heard just now.
    pub(super) fn find(&self, instance: u32) -> Option<Peer> {
        self.found.get(&instance).map(|found| found.peer.clone())
    }

    /// How often a device has named itself: once more than before after a restart, or when somebody asked.
    pub(super) fn times(&self, instance: u32) -> u64 {
        self.found.get(&instance).map_or(0, |found| found.times)
    }

    /// A device was heard where it is known to be.
    pub(super) fn heard(&mut self, instance: u32, peer: &Peer, now: Instant) {
        let found = self.found.entry(instance).or_insert_with(|| Found { peer: peer.clone(), said: now, times: 0 });
        if found.peer == *peer {
            found.said = now;
        }
    }

    /// A device does not answer where it was.
    pub(super) fn lose(&mut self, instance: u32) {
        self.found.remove(&instance);
    }

    /// The ranges of instances to ask for now: those that are wanted, not found, and were not asked for since `since`.
    pub(super) fn ask(&mut self, now: Instant, since: Instant) -> Vec<(u32, u32)> {
        let found = &self.found;
        let due =
            |(instance, asked): &(&u32, &mut Option<Instant>)| !found.contains_key(instance) && asked.is_none_or(|asked| asked < since);
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (instance, asked) in self.wanted.iter_mut().filter(due) {
            let full = ranges.len() >= MAX_RANGES;
            match ranges.last_mut() {
                Some((_, high)) if *instance - *high <= MAX_GAP => *high = *instance,
                _ if full => break,
                _ => ranges.push((*instance, *instance)),
            }
            *asked = Some(now);
        }
        ranges
    }

    pub(super) fn begin_survey(&mut self) {
        self.survey = Some(Vec::new());
    }

    pub(super) fn end_survey(&mut self) -> Vec<(Peer, IAm)> {
        self.survey.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::bacnet::services::Segmentation;

    fn peer(port: u16) -> Peer {
        Peer { address: ([10, 0, 0, 7], port).into(), station: None }
    }

    fn i_am(device: u32) -> IAm {
        IAm { device, max_apdu: 1_476, segmentation: Segmentation::Both, vendor: 5 }
    }

    #[test]
    fn the_second_of_an_instance_is_named_and_does_not_take_the_place_of_the_first() {
        let (mut directory, start) = (Directory::default(), Instant::now());
        directory.want(7);
        assert_eq!(directory.hear(&peer(1), &i_am(8), start), News::Nothing, "nobody looks for it");
        assert_eq!(directory.hear(&peer(1), &i_am(7), start), News::Found);
        assert_eq!(directory.hear(&peer(2), &i_am(7), start), News::Duplicate(peer(1)));
        assert_eq!(directory.find(7), Some(peer(1)));
        directory.heard(7, &peer(1), start + MOVED_AFTER);
        assert_eq!(directory.hear(&peer(2), &i_am(7), start + MOVED_AFTER), News::Duplicate(peer(1)), "the first one still answers");
        assert_eq!(directory.hear(&peer(2), &i_am(7), start + 2 * MOVED_AFTER), News::Found, "it has moved");
        assert_eq!(directory.find(7), Some(peer(2)));
    }

    #[test]
    fn those_that_are_near_each_other_are_asked_for_together_and_once() {
        let (mut directory, start) = (Directory::default(), Instant::now());
        let second = Duration::from_secs(1);
        for instance in [1, 2, 3, 19, 36, 1_000, 4_194_302] {
            directory.want(instance);
        }
        directory.hear(&peer(1), &i_am(1_000), start);
        assert_eq!(directory.ask(start + second, start), [(1, 19), (36, 36), (4_194_302, 4_194_302)]);
        assert_eq!(directory.ask(start + second, start), [], "just asked");
        directory.hear(&peer(1), &i_am(36), start);
        assert_eq!(directory.ask(start + 3 * second, start + 2 * second), [(1, 19), (4_194_302, 4_194_302)]);
    }

    #[test]
    fn questions_have_a_limit() {
        let (mut directory, start) = (Directory::default(), Instant::now());
        (0..100).for_each(|n| directory.want(n * 100));
        assert_eq!(directory.ask(start + Duration::from_secs(1), start).len(), MAX_RANGES);
        assert_eq!(directory.ask(start + Duration::from_secs(1), start).len(), MAX_RANGES, "the next ones");
    }
}
