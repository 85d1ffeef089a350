//! Names of parts: which day, which generations. Pure.

use std::fmt;

use super::rolled::is_rollup;

/// Length of a day, ms.
pub const DAY_MS: i64 = 86_400_000;

/// The day (UTC) that a time is in: 0 is 1970-01-01.
#[must_use]
pub fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// What a part is called after. Parts of a day are in the order of their generations, and no two of these overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) day: i64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) revision: u32,
}

impl Name {
    pub(super) fn added(day: i64, generation: u64) -> Self {
        Self { day, first: generation, last: generation, revision: 0 }
    }

    /// The name of what several become, given in their order.
    pub(super) fn merged(first: &Self, last: &Self) -> Self {
        Self { day: first.day, first: first.first, last: last.last, revision: 0 }
    }

    pub(super) fn revised(&self) -> Self {
        Self { revision: self.revision.saturating_add(1), ..*self }
    }

    /// Whether it was made of the other one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let same = (self.first, self.last) == (other.first, other.last);
        let within = self.first <= other.first && other.last <= self.last;
        self.day == other.day && if same { self.revision > other.revision } else { within }
    }

    pub(super) fn temporary(&self) -> String {
        format!("{self}.temporary")
    }

    /// Reads a name that this gave.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (day, rest) = file.strip_prefix('d')?.strip_suffix(".part")?.split_once("-g")?;
        let (generations, revision) = rest.split_once("-r")?;
        let (first, last) = generations.split_once('-')?;
        let name = Self { day: day.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()?, revision: revision.parse().ok()? };
        // There is one way to write a name.
        (name.first <= name.last && name.to_string() == file).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, first, last, revision } = self;
        write!(f, "d{day}-g{first}-{last}-r{revision}.part")
    }
}

/// Whether a file of this name was never finished.
pub(super) fn is_temporary(file: &str) -> bool {
    file.strip_suffix(".temporary").is_some_and(|name| Name::parse(name).is_some() || is_rollup(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (name, file) in [
            (Name { day: 20_787, first: 3, last: 12, revision: 1 }, "d20787-g3-12-r1.part"),
            (Name::added(day_of(-1), 1), "d-1-g1-1-r0.part"),
            (Name::added(day_of(i64::MIN), u64::MAX), "d-106751991168-g18446744073709551615-18446744073709551615-r0.part"),
        ] {
            assert_eq!(name.to_string(), file);
            assert_eq!(Name::parse(file), Some(name));
            assert!(is_temporary(&name.temporary()) && !is_temporary(file));
        }
        for other in ["", "d1-g2-1-r0.part", "d01-g1-1-r0.part", "d1-g1-1-r0", "d1-g1-1-r0.part.temporary", "d1-g+1-1-r0.part", "notes.txt"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert!(!is_temporary("notes.temporary"));
    }

    #[test]
    fn a_merged_or_revised_part_covers_its_origins() {
        let (a, b) = (Name::added(5, 3), Name::added(5, 9));
        let merged = Name::merged(&a, &b);
        for (covers, name, other) in [
            (true, merged, a),
            (true, merged, b),
            (true, merged, b.revised()),
            (true, merged.revised(), merged),
            (false, merged, merged),
            (false, merged, merged.revised()),
            (false, a, merged),
            (false, a, b),
            (false, merged, Name::added(6, 3)),
            (false, merged, Name::added(5, 10)),
        ] {
            assert_eq!(name.covers(&other), covers, "{name} {other}");
        }
    }
}
