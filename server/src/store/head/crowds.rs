//! Which series of a group belong together: those that share at least half of their rows.

use super::super::SeriesId;

/// Crowds that a group is parted into at once at most; what is left is the last one's, and is looked at again.
const MAX_CROWDS: usize = 16;
/// Rows from the first of a series before it is judged.
const ENOUGH_ROWS: usize = 16;

/// The crowds of series with these rows, one bit for each row; the largest first. One crowd if there is no reason to part.
pub(super) fn of(presence: &[(SeriesId, Vec<u64>)]) -> Vec<Vec<SeriesId>> {
    let rows = 1 + presence.iter().filter_map(|(_, bits)| last(bits)).max().unwrap_or(0);
    let sparse = |bits: &[u64]| first(bits).is_some_and(|from| rows - from >= ENOUGH_ROWS && count(bits, from) * 2 < rows - from);
    if !presence.iter().any(|(_, bits)| sparse(bits)) {
        return vec![presence.iter().map(|(id, _)| *id).collect()];
    }
    let mut crowds: Vec<(&[u64], Vec<SeriesId>)> = Vec::new();
    for (id, bits) in presence {
        let found = crowds.iter().position(|(of, _)| share(of, bits));
        match found.or_else(|| (crowds.len() >= MAX_CROWDS).then_some(MAX_CROWDS - 1)) {
            Some(place) => crowds.get_mut(place).into_iter().for_each(|(_, members)| members.push(*id)),
            None => crowds.push((bits, vec![*id])),
        }
    }
    let mut crowds: Vec<Vec<SeriesId>> = crowds.into_iter().map(|(_, members)| members).collect();
    crowds.sort_by_key(|members| std::cmp::Reverse(members.len()));
    crowds
}

/// Whether two share at least half of the rows that either has since both are there.
fn share(a: &[u64], b: &[u64]) -> bool {
    let Some(from) = first(a).max(first(b)) else { return true };
    let both: Vec<u64> = a.iter().zip(b).map(|(a, b)| a & b).collect();
    count(&both, from) * 2 >= count(a, from).max(count(b, from))
}

fn first(bits: &[u64]) -> Option<usize> {
    let (at, word) = bits.iter().enumerate().find(|(_, word)| **word != 0)?;
    Some(at * 64 + word.trailing_zeros() as usize)
}

fn last(bits: &[u64]) -> Option<usize> {
    let (at, word) = bits.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
    Some(at * 64 + 63 - word.leading_zeros() as usize)
}

/// Rows from this one on.
fn count(bits: &[u64], from: usize) -> usize {
    let whole = bits.iter().skip(from / 64 + 1).map(|word| word.count_ones() as usize).sum::<usize>();
    whole + bits.get(from / 64).map_or(0, |word| (word >> (from % 64)).count_ones() as usize)
}
