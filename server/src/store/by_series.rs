//! A table by series. The catalogue gives ids one after the other, so that a page of slots is filled as a rule: a slot takes no more than what is in it,
//! where a hash table has a key beside and is half empty after it has grown. An id far from all others costs a page. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::SeriesId;

/// Slots of a page.
const SLOTS: u32 = 64;

/// Spreads numbers of pages.
#[derive(Debug, Clone, Copy, Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, n: u32) {
        // The table takes the high bits for its tags and the low ones for the place.
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// What there is of each series.
#[derive(Debug, Clone)]
pub(super) struct BySeries<T> {
    pages: HashMap<u32, Box<[Option<T>]>, BuildHasherDefault<PageHasher>>,
}

impl<T> Default for BySeries<T> {
    fn default() -> Self {
        Self { pages: HashMap::default() }
    }
}

fn place(id: SeriesId) -> (u32, usize) {
    (id.0 / SLOTS, (id.0 % SLOTS) as usize)
}

impl<T> BySeries<T> {
    pub(super) fn get(&self, id: SeriesId) -> Option<&T> {
        let (page, slot) = place(id);
        self.pages.get(&page)?.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SeriesId) -> Option<&mut T> {
        let (page, slot) = place(id);
        self.pages.get_mut(&page)?.get_mut(slot)?.as_mut()
    }

    pub(super) fn contains(&self, id: SeriesId) -> bool {
        self.get(id).is_some()
    }

    /// Puts it in place of what was there.
    pub(super) fn insert(&mut self, id: SeriesId, value: T) {
        *self.slot(id) = Some(value);
    }

    /// Where that of a series is or would be.
    pub(super) fn slot(&mut self, id: SeriesId) -> &mut Option<T> {
        let (page, slot) = place(id);
        let page = self.pages.entry(page).or_insert_with(|| (0..SLOTS).map(|_| None).collect());
        page.get_mut(slot).expect("BUG: a page without this slot")
    }

    /// Keeps some of it only.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.pages.retain(|_, page| {
            page.iter_mut().filter(|slot| slot.as_ref().is_some_and(|value| !keep(value))).for_each(|slot| *slot = None);
            page.iter().any(Option::is_some)
        });
    }

    /// The same of each, changed.
    pub(super) fn map<U>(&self, change: impl Fn(&T) -> U) -> BySeries<U> {
        let page = |slots: &[Option<T>]| slots.iter().map(|slot| slot.as_ref().map(&change)).collect();
        BySeries { pages: self.pages.iter().map(|(number, slots)| (*number, page(slots))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 0u32..200, 1 => Just(u32::MAX), 1 => any::<u32>()]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(puts in prop::collection::vec((ids(), 0u8..9), 0..200), asked in prop::collection::vec(ids(), 50), least in 0u8..9) {
            let (mut table, mut map) = (BySeries::default(), BTreeMap::new());
            for (id, value) in &puts {
                table.insert(SeriesId(*id), *value);
                map.insert(*id, *value);
            }
            for round in 0..3 {
                match round {
                    0 => {}
                    1 => {
                        table.retain(|value| *value >= least);
                        map.retain(|_, value| *value >= least);
                    }
                    _ => {
                        table = table.map(|value| value + 1);
                        map.values_mut().for_each(|value| *value += 1);
                    }
                }
                for id in puts.iter().map(|(id, _)| *id).chain(asked.iter().copied()) {
                    prop_assert_eq!((table.get(SeriesId(id)), table.contains(SeriesId(id))), (map.get(&id), map.contains_key(&id)));
                    prop_assert_eq!(table.get_mut(SeriesId(id)).copied(), map.get(&id).copied());
                }
                let full = |pages: &HashMap<_, Box<[Option<u8>]>, _>| pages.values().all(|page| page.iter().any(Option::is_some));
                prop_assert!(full(&table.pages), "a page of nothing");
            }
        }
    }
}
