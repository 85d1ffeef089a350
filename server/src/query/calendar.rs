//! Hours, days and months of a time zone. Pure: the zone is given.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A period of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// From minute 0 to the next.
    Hour,
    /// From the start of a day to that of the next; 23 or 25 hours where clocks are set.
    Day,
    /// From the start of the first day to that of the next month's.
    Month,
}

/// Where periods begin and end: the first at or before `from_ms`, the last at or after `to_ms`, ms since 1970. None where there would
/// be more than `most` periods, or where the calendar ends.
#[must_use]
pub fn edges(every: Every, (from_ms, to_ms): (i64, i64), zone: &TimeZone, most: usize) -> Option<Vec<i64>> {
    let first = Timestamp::from_millisecond(from_ms).ok()?.to_zoned(zone.clone());
    let mut edge = start(every, &first)?;
    let mut edges = vec![edge.timestamp().as_millisecond()];
    while edges.last().is_some_and(|last| *last < to_ms) {
        if edges.len() > most {
            return None;
        }
        edge = next(every, &edge)?;
        edges.push(edge.timestamp().as_millisecond());
    }
    Some(edges)
}

fn start(every: Every, at: &Zoned) -> Option<Zoned> {
    match every {
        Every::Hour => {
            let into_ms = i64::from(at.minute()) * 60_000 + i64::from(at.second()) * 1000 + i64::from(at.millisecond());
            let at_ms = at.timestamp().as_millisecond() - into_ms;
            Some(Timestamp::from_millisecond(at_ms).ok()?.to_zoned(at.time_zone().clone()))
        }
        Every::Day => at.start_of_day().ok(),
        Every::Month => at.first_of_month().ok()?.start_of_day().ok(),
    }
}

fn next(every: Every, edge: &Zoned) -> Option<Zoned> {
    match every {
        Every::Hour => {
            let zone = || edge.time_zone().clone();
            let later = Timestamp::from_millisecond(edge.timestamp().as_millisecond() + 3_600_000).ok()?.to_zoned(zone());
            // Where clocks are set by half an hour, minute 0 comes later than that.
            let rest_ms = i64::from((60 - later.minute()) % 60) * 60_000;
            Some(Timestamp::from_millisecond(later.timestamp().as_millisecond() + rest_ms).ok()?.to_zoned(zone()))
        }
        Every::Day => edge.date().tomorrow().ok()?.to_zoned(edge.time_zone().clone()).ok(),
        Every::Month => edge.date().last_of_month().tomorrow().ok()?.to_zoned(edge.time_zone().clone()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(every: Every, from: &str, to: &str, zone: &str) -> Vec<String> {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let edges = edges(every, (ms(from), ms(to)), &TimeZone::get(zone).unwrap(), 100).unwrap();
        edges.into_iter().map(|edge| Timestamp::from_millisecond(edge).unwrap().to_string()).collect()
    }

    #[test]
    fn days_begin_at_midnight_of_the_zone_also_where_clocks_are_set() {
        for (every, from, to, zone, expected) in [
            (
                Every::Day,
                "2024-03-30T12:00:00Z",
                "2024-03-31T22:00:00Z",
                "Europe/Vienna",
                vec!["2024-03-29T23:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"],
            ),
            (
                Every::Day,
                "2024-10-27T00:00:00Z",
                "2024-10-27T23:30:00Z",
                "Europe/Vienna",
                vec!["2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z", "2024-10-28T23:00:00Z"],
            ),
            (
                Every::Month,
                "2024-02-29T00:00:00Z",
                "2024-03-01T00:00:01Z",
                "UTC",
                vec!["2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z"],
            ),
            (
                Every::Month,
                "2024-12-31T23:30:00Z",
                "2025-01-02T00:00:00Z",
                "Europe/Vienna",
                vec!["2024-12-31T23:00:00Z", "2025-01-31T23:00:00Z"],
            ),
            // In the spring there is no hour from 2 to 3; in autumn there are two.
            (
                Every::Hour,
                "2024-03-31T00:10:00Z",
                "2024-03-31T02:00:00Z",
                "Europe/Vienna",
                vec!["2024-03-31T00:00:00Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z"],
            ),
            (
                Every::Hour,
                "2024-01-01T00:10:00Z",
                "2024-01-01T01:00:00Z",
                "Asia/Kolkata",
                vec!["2023-12-31T23:30:00Z", "2024-01-01T00:30:00Z", "2024-01-01T01:30:00Z"],
            ),
            (
                Every::Hour,
                "2024-04-06T14:10:00Z",
                "2024-04-06T16:00:00Z",
                "Australia/Lord_Howe",
                vec!["2024-04-06T14:00:00Z", "2024-04-06T15:30:00Z", "2024-04-06T16:30:00Z"],
            ),
        ] {
            assert_eq!(told(every, from, to, zone), expected, "{every:?} {from} {zone}");
        }
    }

    #[test]
    fn too_many_periods_are_none() {
        let most = |every, most| edges(every, (0, 86_400_000), &TimeZone::UTC, most);
        assert_eq!(most(Every::Hour, 24).map(|edges| edges.len()), Some(25));
        assert_eq!(most(Every::Hour, 23), None);
        assert_eq!(edges(Every::Day, (0, i64::MAX), &TimeZone::UTC, 10), None);
        assert_eq!(edges(Every::Day, (i64::MAX, i64::MAX), &TimeZone::UTC, 10), None);
    }
}
