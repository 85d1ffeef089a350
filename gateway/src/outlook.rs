//! What is going to be trouble, before it is: from how disk, buffer, clock and certificates stand to warnings. Pure: is given what was looked
//! at.
//!
//! | about | warned of |
//! |---|---|
//! | disk | less than [`LOW_DISK_BYTES`] free beside the buffer; the buffer over [`FULL_PERCENT`] of its bytes; at the rate of the last [`LONGEST`] it, or the disk, is full within [`FULL_WITHIN`] |
//! | clock | it was never set; nothing has told the time for [`UNTOLD_MS`]; it is off from the server's by [`OFF_MS`] |
//! | certificate | the gateway's own, its authority's or the broker's ends within [`CERTIFICATE_DAYS`](pattoo_wire::CERTIFICATE_DAYS) |
//!
//! What has happened already is told elsewhere: dropped readings in gap records, a broken connection in the log.

use std::collections::VecDeque;
use std::time::Duration;

use bytesize::ByteSize;
use pattoo_wire::{ClockSource, MAX_WARNINGS, Warning};

use crate::timebase::{EARLIEST_MS, LATEST_MS, State};

/// Less free than this is too little: the system and what else writes there need some, and the buffer wants its reserve back.
pub const LOW_DISK_BYTES: u64 = 64 << 20;
/// A buffer that is as full as this begins to thin out and then to drop soon.
pub const FULL_PERCENT: u64 = 90;
/// Somebody should have a day to see to it.
pub const FULL_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Before so much time has gone by nothing is said of a rate: chunks of the buffer are made and removed as wholes.
pub const SHORTEST: Duration = Duration::from_secs(15 * 60);
/// Nothing older counts for the rate.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// A machine that starts has so long to find out the time.
pub const UNTOLD_MS: i64 = 120_000;
/// As much as is sure: half of the longest round trip of which anything is concluded.
pub const OFF_MS: i64 = crate::timebase::MAX_ROUND_TRIP_MS / 2;

/// Pause between two samples of the rate, which bounds their number.
const SAMPLE: Duration = Duration::from_secs(60);

/// What was looked at, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// Boot clock.
    pub boot_ms: i64,
    /// UTC as the system has it, right or wrong.
    pub system_ms: i64,
    /// What is known of the time.
    pub time: State,
    /// Whether the broker in use wants TLS, which believes the system's clock.
    pub tls: bool,
    /// Free on the disk of the buffer; none where the system does not tell.
    pub free_bytes: Option<u64>,
    /// What the buffer takes of it, and may take.
    pub buffer_bytes: u64,
    /// What it may take.
    pub max_bytes: u64,
    /// Certificates that are in use, by what they are, and when each ends.
    pub ends: Vec<(String, i64)>,
}

/// Keeps what a rate needs.
#[derive(Debug, Default)]
pub struct Outlook {
    start_ms: Option<i64>,
    /// Boot clock, and bytes of the buffer.
    samples: VecDeque<(i64, u64)>,
}

impl Outlook {
    /// Takes a look; gives what is to be warned of.
    pub fn look(&mut self, sight: &Sight) -> Vec<Warning> {
        let start_ms = *self.start_ms.get_or_insert(sight.boot_ms);
        self.sample(sight);
        let disk = [low(sight), self.filling(sight)].into_iter().flatten();
        let clock = clock(sight, sight.boot_ms.saturating_sub(start_ms));
        disk.chain(clock).chain(certificates(sight)).take(MAX_WARNINGS).collect()
    }

    fn sample(&mut self, sight: &Sight) {
        let age = |at_ms: i64| sight.boot_ms.saturating_sub(at_ms);
        while self.samples.front().is_some_and(|(at_ms, _)| age(*at_ms) > ms(LONGEST)) {
            self.samples.pop_front();
        }
        if self.samples.back().is_none_or(|(at_ms, _)| age(*at_ms) >= ms(SAMPLE)) {
            self.samples.push_back((sight.boot_ms, sight.buffer_bytes));
        }
    }

    /// The buffer, or its disk, as it will be.
    fn filling(&self, sight: &Sight) -> Option<Warning> {
        let Sight { buffer_bytes, max_bytes, free_bytes, .. } = *sight;
        let what_then = "then the oldest readings are thinned out and dropped: see why the server does not take them";
        if buffer_bytes.saturating_mul(100) >= max_bytes.saturating_mul(FULL_PERCENT) {
            let (has, most) = (bytes(buffer_bytes), bytes(max_bytes));
            return Some(Warning::new("disk", &format!("the buffer has {has} of the {most} it may have, {what_then}")));
        }
        let (at_ms, before) = *self.samples.front()?;
        let (took_ms, grown) = (sight.boot_ms.saturating_sub(at_ms), buffer_bytes.saturating_sub(before));
        if took_ms < ms(SHORTEST) || grown == 0 {
            return None;
        }
        let own_room = max_bytes - buffer_bytes;
        let room = free_bytes.map_or(own_room, |free| free.min(own_room));
        let left_ms = u128::from(room) * u128::from(took_ms.unsigned_abs()) / u128::from(grown);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX));
        let what = if room < own_room { "disk of the buffer" } else { "buffer" };
        let hours = humantime::format_duration(Duration::from_secs(left.as_secs() / 60 * 60));
        (left < FULL_WITHIN).then(|| Warning::new("disk", &format!("the {what} is full in {hours} at the present rate; {what_then}")))
    }
}

fn low(sight: &Sight) -> Option<Warning> {
    let free = sight.free_bytes.filter(|free| *free < LOW_DISK_BYTES)?;
    let text = format!("the disk of the buffer has {} free, less than {}: make room on it", bytes(free), bytes(LOW_DISK_BYTES));
    Some(Warning::new("disk", &text))
}

fn clock(sight: &Sight, running_ms: i64) -> Option<Warning> {
    let State { source, offset_ms, server_offset_ms, .. } = sight.time;
    let is_known = offset_ms.is_some();
    let text = if !(EARLIEST_MS..LATEST_MS).contains(&sight.system_ms) {
        let then = match (is_known, sight.tls) {
            (true, _) => "the times of readings are the server's",
            (false, false) => "readings are held back until NTP or the server tells the time",
            (false, true) => {
                "readings are held back until NTP or the server tells the time, and a certificate that is younger is not believed before"
            }
        };
        format!("the system's clock was never set, it stands at {}: {then}", date(sight.system_ms))
    } else if source == ClockSource::None && running_ms >= UNTOLD_MS {
        "neither NTP nor the server has told the time: readings are held back until one does".to_owned()
    } else {
        let off_ms = server_offset_ms.filter(|off_ms| off_ms.abs() >= OFF_MS)?;
        let by = humantime::format_duration(Duration::from_secs(off_ms.unsigned_abs() / 1000));
        let side = if off_ms > 0 { "ahead of" } else { "behind" };
        format!("the system's clock is {by} {side} the server's; times of readings are by {source}: see to NTP on both")
    };
    Some(Warning::new("clock", &text))
}

fn certificates(sight: &Sight) -> impl Iterator<Item = Warning> + '_ {
    // Without any idea of the time nothing can be said, and the clock is warned of.
    let system_ms = Some(sight.system_ms).filter(|ms| (EARLIEST_MS..LATEST_MS).contains(ms));
    let now_ms = sight.time.utc_ms(sight.boot_ms).or(system_ms);
    let warning =
        move |(what, ends_ms): &(String, i64)| Warning::of_certificate(what, *ends_ms, now_ms?, "renew it, then reload the gateway");
    sight.ends.iter().filter_map(warning)
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().si().to_string()
}

fn date(utc_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(utc_ms).unwrap_or(0));
    let text = std::time::UNIX_EPOCH.checked_add(since).map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.unwrap_or_default().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = EARLIEST_MS + 1_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn known(server_offset_ms: Option<i64>) -> State {
        State { source: ClockSource::Ntp, offset_ms: Some(NOW_MS), server_offset_ms, steps: 0 }
    }

    fn sight() -> Sight {
        let ends = Vec::new();
        Sight {
            boot_ms: 0,
            system_ms: NOW_MS,
            time: known(Some(0)),
            tls: true,
            free_bytes: Some(1 << 40),
            buffer_bytes: 0,
            max_bytes: 1 << 30,
            ends,
        }
    }

    /// What is warned of after hours in which so many bytes came to the buffer each.
    fn after(hours: &[u64], sight: &Sight) -> Vec<String> {
        let mut outlook = Outlook::default();
        let (mut now, mut warnings) = (sight.clone(), outlook.look(sight));
        for bytes in hours {
            for _ in 0..60 {
                now.boot_ms += HOUR_MS / 60;
                now.system_ms += HOUR_MS / 60;
                now.buffer_bytes += bytes / 60;
                warnings = outlook.look(&now);
            }
        }
        warnings.into_iter().map(|warning| format!("{}: {}", warning.about, warning.text)).collect()
    }

    fn check(what: &str, found: &[String], expected: &[&str]) {
        let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| found.contains(expected));
        assert!(fits, "{what}: found {found:#?}, expected {expected:#?}");
    }

    #[test]
    fn a_disk_or_buffer_that_gets_full_is_warned_of() {
        let mb = 1_000_000;
        for (what, hours, sight, expected) in [
            ("all is well", &[0][..], sight(), &[][..]),
            ("it fills slowly", &[40 * mb], sight(), &[]),
            ("it fills", &[60 * mb], sight(), &["disk: the buffer is full in 16h 53m at the present rate"]),
            ("it filled an hour ago", &[60 * mb, 0], Sight { buffer_bytes: 0, ..sight() }, &[]),
            ("it empties", &[], Sight { buffer_bytes: 500 * mb, ..sight() }, &[]),
            (
                "the disk is smaller",
                &[60 * mb],
                Sight { free_bytes: Some(80 * mb), ..sight() },
                &["the disk of the buffer is full in 1h 20m"],
            ),
            ("little is free", &[0], Sight { free_bytes: Some(67 * mb), ..sight() }, &["disk: the disk of the buffer has 67.0 MB free"]),
            ("just enough is free", &[0], Sight { free_bytes: Some(LOW_DISK_BYTES), ..sight() }, &[]),
            ("nobody knows", &[0], Sight { free_bytes: None, ..sight() }, &[]),
            (
                "it is nearly full",
                &[0],
                Sight { buffer_bytes: 967 * mb, ..sight() },
                &["the buffer has 967.0 MB of the 1.1 GB it may have"],
            ),
        ] {
            check(what, &after(hours, &sight), expected);
        }
    }

    #[test]
    fn nothing_is_said_of_a_rate_too_early() {
        let mut outlook = Outlook::default();
        let at = |minutes: i64| Sight { boot_ms: minutes * 60_000, buffer_bytes: minutes as u64 * 20_000_000, ..sight() };
        for minutes in 0..15 {
            assert_eq!(outlook.look(&at(minutes)), [], "{minutes}");
        }
        assert_eq!(outlook.look(&at(15)).len(), 1);
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_warned_of() {
        let untold = State::default();
        let server = |server_offset_ms| State { source: ClockSource::Server, ..known(server_offset_ms) };
        let hour = [0];
        for (what, hours, system_ms, time, tls, expected) in [
            ("right", &hour[..], NOW_MS, known(Some(OFF_MS - 1)), true, &[][..]),
            (
                "ahead",
                &hour,
                NOW_MS,
                known(Some(OFF_MS)),
                true,
                &["clock: the system's clock is 10s ahead of the server's; times of readings are by ntp"],
            ),
            ("behind", &hour, NOW_MS, server(Some(-90_500)), true, &["is 1m 30s behind the server's; times of readings are by server"]),
            (
                "never set",
                &[],
                12_000,
                untold,
                false,
                &["never set, it stands at 1970-01-01: readings are held back until NTP or the server tells"],
            ),
            ("never set, with TLS", &[], 12_000, untold, true, &["and a certificate that is younger is not believed before"]),
            ("never set, the server told", &[], 12_000, server(None), true, &["the times of readings are the server's"]),
            ("garbage", &[], LATEST_MS, untold, true, &["it stands at 2100-01-01"]),
            ("nobody told yet", &[], NOW_MS, untold, true, &[]),
            ("nobody tells", &hour, NOW_MS, untold, true, &["neither NTP nor the server has told the time"]),
        ] {
            check(what, &after(hours, &Sight { system_ms, time, tls, ..sight() }), expected);
        }
    }

    #[test]
    fn certificates_that_end_soon_are_warned_of_as_far_as_the_time_is_known() {
        let day_ms = 24 * HOUR_MS;
        let ends = |days: i64| vec![("the certificate a.pem".to_owned(), NOW_MS + days * day_ms + HOUR_MS)];
        let ended = "certificate: the certificate a.pem has ended: renew it, then reload";
        for (what, sight, expected) in [
            ("in time", Sight { ends: ends(30), ..sight() }, &[][..]),
            ("soon", Sight { ends: ends(10), ..sight() }, &["certificate: the certificate a.pem ends in 10 days: renew it"]),
            ("over", Sight { ends: ends(-1), ..sight() }, &[ended]),
            ("by the system's clock", Sight { ends: ends(-1), time: State::default(), ..sight() }, &[ended]),
            ("without the time", Sight { ends: ends(-1), time: State::default(), system_ms: 0, ..sight() }, &["clock: "]),
        ] {
            check(what, &after(&[], &sight), expected);
        }
        let many = Sight { ends: vec![ends(1).remove(0); 2 * MAX_WARNINGS], ..sight() };
        assert_eq!(after(&[], &many).len(), MAX_WARNINGS);
    }
}
