//! A head as the rows of new parts: by group, ascending, each reading once.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::{Sample, Value};

use super::{Group, Head, OPEN_BYTES, OPEN_COLUMNS};
use crate::store::SeriesId;
use crate::store::part::Rows;

/// Most text of a row; more of it goes to another group, so that a chunk never comes near its limit.
const MAX_ROW_BYTES: usize = OPEN_BYTES / 2;

/// Late readings of a group by their time.
type Late<'a> = BTreeMap<i64, Vec<(SeriesId, &'a Sample)>>;

impl Head {
    /// All of it as rows of groups, each group ascending in time and each reading once. What came late has taken its place.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<Rows>> {
        let mut groups = Vec::new();
        let mut late = self.late_by_group();
        let touched = self.groups_with_late();
        for (number, group) in (0u32..).zip(&self.groups) {
            if touched.contains(&number) {
                let mut laid: Vec<Vec<Rows>> = Vec::new();
                let rows = self.rebuilt(group, late.remove(&number).unwrap_or_default());
                rows.for_each(|(at_ms, cells)| lay(&mut laid, at_ms, cells));
                groups.extend(laid);
            } else if !group.open.is_empty() {
                groups.push(group.sealed.iter().chain([&group.open]).cloned().collect());
            }
        }
        groups
    }

    /// Late readings by the group that their series is in now.
    fn late_by_group(&self) -> BTreeMap<u32, Late<'_>> {
        let mut by_group: BTreeMap<u32, Late<'_>> = BTreeMap::new();
        for ((id, at_ms), sample) in &self.late {
            if let Some(home) = self.homes.get(*id) {
                by_group.entry(home.group).or_default().entry(*at_ms).or_default().push((*id, sample));
            }
        }
        by_group
    }

    /// Groups that have what came late, or what it replaces.
    fn groups_with_late(&self) -> BTreeSet<u32> {
        let ids: BTreeSet<SeriesId> = self.late.keys().map(|(id, _)| *id).collect();
        let homes = ids.iter().filter_map(|id| Some(self.homes.get(*id)?.group));
        homes.chain(ids.iter().filter_map(|id| self.former.get(id)).flatten().copied()).collect()
    }

    /// Rows of a group with what came late in its place.
    fn rebuilt<'a>(&'a self, group: &'a Group, late: Late<'a>) -> impl Iterator<Item = (i64, Vec<(SeriesId, Sample)>)> {
        let mut rows = group.sealed.iter().chain([&group.open]).flat_map(Rows::by_row).peekable();
        let mut late = late.into_iter().peekable();
        std::iter::from_fn(move || {
            let at_ms = match (rows.peek(), late.peek()) {
                (Some((row, _)), Some((late, _))) => *row.min(late),
                (Some((at_ms, _)), None) | (None, Some((at_ms, _))) => *at_ms,
                (None, None) => return None,
            };
            let mut cells = rows.next_if(|(row, _)| *row == at_ms).map_or_else(Vec::new, |(_, cells)| cells);
            cells.retain(|(id, _)| !self.late.contains_key(&(*id, at_ms)));
            let more = late.next_if(|(late, _)| *late == at_ms).map_or_else(Vec::new, |(_, more)| more);
            cells.extend(more.into_iter().map(|(id, sample)| (id, sample.clone())));
            cells.sort_by_key(|(id, _)| *id);
            Some((at_ms, cells))
        })
        .filter(|(_, cells)| !cells.is_empty())
    }
}

/// Appends a row to the rows of a group: to several groups if it has more text than a chunk should.
fn lay(groups: &mut Vec<Vec<Rows>>, at_ms: i64, cells: Vec<(SeriesId, Sample)>) {
    let (mut place, mut bytes, mut begun) = (0, 0, false);
    for (id, sample) in cells {
        let text = if let Some(Value::Text(text)) = sample.value() { text.len() } else { 0 };
        if begun && bytes + text > MAX_ROW_BYTES {
            (place, bytes, begun) = (place + 1, 0, false);
        }
        bytes += text;
        if groups.len() <= place {
            groups.push(Vec::new());
        }
        let Some(rows) = groups.get_mut(place) else { continue };
        if !begun {
            let full = |last: &Rows| last.is_full() || last.width() > OPEN_COLUMNS || last.text_bytes() > MAX_ROW_BYTES;
            if rows.last().is_none_or(full) {
                rows.push(Rows::default());
            }
        }
        let Some(open) = rows.last_mut() else { continue };
        if !begun {
            open.begin(at_ms);
            begun = true;
        }
        open.put(id, &sample);
    }
}
