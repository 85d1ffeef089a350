use proptest::prelude::*;

use super::*;

/// 2026-11-29.
const NOW_MS: i64 = 1_795_900_000_000;
const HOUR_MS: i64 = 3_600_000;

fn look(boot_ms: i64, system_ms: i64) -> Look {
    Look { boot_ms, system_ms, synchronised: false }
}

fn kept(boot_ms: i64, system_ms: i64) -> Look {
    Look { boot_ms, system_ms, synchronised: true }
}

/// An answer that took this long and came at `boot_ms`, from a server that is right where UTC is boot clock + `NOW_MS`.
fn heard(boot_ms: i64, round_trip_ms: i64) -> ServerTime {
    ServerTime { sent_ms: boot_ms - round_trip_ms, received_ms: boot_ms, time_ms: NOW_MS + boot_ms - round_trip_ms / 2 }
}

fn known(base: &TimeBase) -> (ClockSource, Option<i64>) {
    (base.state().source, base.state().offset_ms)
}

#[test]
fn the_first_clock_to_be_believed_depends_on_trust_ntp_and_the_server() {
    use ClockSource::{None as Nothing, Ntp, Server, System};
    let wrong_ms = NOW_MS - HOUR_MS;
    for (trust, system_ms, synchronised, server, expected) in [
        // A clock that was never set is never believed.
        (Trust::Auto, 0, false, false, (Nothing, None)),
        (Trust::Auto, 0, true, false, (Nothing, None)),
        (Trust::System, EARLIEST_MS - 1, true, false, (Nothing, None)),
        (Trust::System, LATEST_MS, true, false, (Nothing, None)),
        (Trust::System, 0, false, true, (Server, Some(NOW_MS))),
        // One that may be right, but nothing says so.
        (Trust::Auto, NOW_MS, false, false, (Nothing, None)),
        (Trust::System, wrong_ms, false, false, (System, Some(wrong_ms))),
        (Trust::System, wrong_ms, false, true, (System, Some(wrong_ms))),
        (Trust::Auto, NOW_MS, true, false, (Ntp, Some(NOW_MS))),
        // The server confirms it within what the round trip leaves open, or corrects it.
        (Trust::Auto, NOW_MS + 90, false, true, (Server, Some(NOW_MS + 90))),
        (Trust::Auto, wrong_ms, false, true, (Server, Some(NOW_MS))),
        // NTP knows better than the server.
        (Trust::Auto, wrong_ms, true, true, (Ntp, Some(wrong_ms))),
    ] {
        let mut base = TimeBase::new(trust);
        if server {
            base.hear(heard(0, 0));
            base.hear(ServerTime { sent_ms: 0, ..heard(200, 200) });
            base = TimeBase { server: Some(Bounds { low_ms: NOW_MS - 100, high_ms: NOW_MS + 100, at_ms: 0 }), ..base };
        }
        assert_eq!(base.look(Look { boot_ms: 0, system_ms, synchronised }), None);
        assert_eq!(known(&base), expected, "{trust:?} {system_ms} {synchronised} {server}");
    }
}

#[test]
fn a_step_of_a_believed_clock_changes_later_times_and_is_told_once() {
    for step_ms in [HOUR_MS, -HOUR_MS, STEP_MS, -STEP_MS] {
        for trust in [Trust::System, Trust::Auto] {
            let mut base = TimeBase::new(trust);
            assert_eq!(base.look(kept(1_000, NOW_MS + 1_000)), None);
            assert_eq!(base.look(kept(2_000, NOW_MS + 2_000)), None);
            let told = base.look(kept(3_000, NOW_MS + 3_000 + step_ms));
            assert_eq!(told, Some(Step { from_ms: NOW_MS + 3_000, to_ms: NOW_MS + 3_000 + step_ms }));
            assert_eq!(base.look(kept(4_000, NOW_MS + 4_000 + step_ms)), None);
            assert_eq!(base.state().offset_ms, Some(NOW_MS + step_ms));
            assert_eq!(base.state().steps, 1);
        }
    }
}

#[test]
fn a_step_that_the_server_contradicts_is_told_and_not_followed() {
    for step_ms in [HOUR_MS, -HOUR_MS] {
        let mut base = TimeBase::new(Trust::Auto);
        base.hear(heard(1_000, 40));
        assert_eq!(base.look(look(1_000, NOW_MS + 1_000)), None);
        let told = base.look(look(2_000, NOW_MS + 2_000 + step_ms));
        assert_eq!(told, Some(Step { from_ms: NOW_MS + 2_000, to_ms: NOW_MS + 2_000 }));
        assert_eq!(base.look(look(3_000, NOW_MS + 3_000 + step_ms)), None);
        assert_eq!(known(&base), (ClockSource::Server, Some(NOW_MS)));
        assert_eq!(base.state().server_offset_ms, Some(step_ms));
        // Back again: told as well, and the system's clock counts again.
        assert_eq!(base.look(look(4_000, NOW_MS + 4_010)), Some(Step { from_ms: NOW_MS + 4_010, to_ms: NOW_MS + 4_010 }));
        assert_eq!(base.state().steps, 2);
    }
}

#[test]
fn ntp_that_comes_after_the_server_changes_nothing_where_both_agree() {
    let mut base = TimeBase::new(Trust::Auto);
    base.look(look(0, 500));
    assert_eq!(known(&base), (ClockSource::None, None));
    base.hear(heard(1_000, 100));
    assert_eq!(base.look(look(1_000, 1_500)), None);
    assert_eq!(known(&base), (ClockSource::Server, Some(NOW_MS)));
    // From 1970 to now is no step of a clock that was believed.
    assert_eq!(base.look(kept(2_000, NOW_MS + 2_030)), None);
    assert_eq!(known(&base), (ClockSource::Ntp, Some(NOW_MS + 20)));
    assert_eq!(base.look(kept(3_000, NOW_MS + 3_030)), None);
    assert_eq!(known(&base), (ClockSource::Ntp, Some(NOW_MS + 30)));
    // NTP gone and the clock set: what is known stays.
    assert!(base.look(look(4_000, NOW_MS + HOUR_MS)).is_some_and(|step| step.from_ms == step.to_ms));
    assert_eq!(base.state().offset_ms, Some(NOW_MS + 30));
}

#[test]
fn small_corrections_are_spread_out_however_often_one_looks() {
    for every_ms in [10, 100, 1_000, 60_000] {
        let mut base = TimeBase::new(Trust::System);
        base.look(look(0, NOW_MS));
        let (mut boot_ms, mut before_ms) = (0, NOW_MS);
        while base.state().offset_ms != Some(NOW_MS - 900) {
            boot_ms += every_ms;
            assert_eq!(base.look(look(boot_ms, NOW_MS + boot_ms - 900)), None);
            let offset_ms = base.state().offset_ms.unwrap();
            assert!((0..=MAX_SPREAD_MS).contains(&(before_ms - offset_ms)), "{before_ms} -> {offset_ms} within {every_ms} ms");
            before_ms = offset_ms;
            assert!(boot_ms <= 1_080_000, "a correction never ends");
        }
        assert!(boot_ms >= 90_000, "900 ms within {boot_ms} ms");
    }
}

#[test]
fn answers_that_cannot_be_conclude_nothing() {
    let good = heard(100_000, 200);
    for bad in [
        ServerTime { sent_ms: good.received_ms - MAX_ROUND_TRIP_MS - 1, ..good },
        ServerTime { sent_ms: good.received_ms + 1, ..good },
        ServerTime { sent_ms: i64::MIN, ..good },
        ServerTime { sent_ms: i64::MAX - 1, received_ms: i64::MAX, ..good },
        ServerTime { time_ms: 0, ..good },
        ServerTime { time_ms: i64::MIN, ..good },
        ServerTime { time_ms: i64::MAX, ..good },
    ] {
        let mut base = TimeBase::new(Trust::Auto);
        base.hear(bad);
        base.look(look(100_000, 0));
        assert_eq!(known(&base), (ClockSource::None, None), "{bad:?}");
    }
}

#[test]
fn a_server_whose_clock_was_set_is_followed() {
    let mut base = TimeBase::new(Trust::Auto);
    base.hear(heard(1_000, 10));
    base.look(look(1_000, 0));
    base.hear(ServerTime { time_ms: NOW_MS + 61_000 + HOUR_MS, sent_ms: 61_000, received_ms: 61_000 });
    let told = base.look(look(61_000, 60_000));
    assert_eq!(told, Some(Step { from_ms: NOW_MS + 61_000, to_ms: NOW_MS + 61_000 + HOUR_MS }));
}

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Event {
    /// An answer of a server that is right, with the time to it and back.
    Answer {
        there_ms: i64,
        back_ms: i64,
    },
    /// Somebody sets the system clock by so much.
    Set {
        by_ms: i64,
    },
    /// Somebody sets the system clock to its first second.
    Forget,
    Wait {
        ms: i64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0i64..4_000, 0i64..4_000).prop_map(|(there_ms, back_ms)| Event::Answer { there_ms, back_ms }),
        2 => (-2 * HOUR_MS..2 * HOUR_MS).prop_map(|by_ms| Event::Set { by_ms }),
        1 => (-3i64..3).prop_map(|by| Event::Set { by_ms: by * STEP_MS }),
        1 => Just(Event::Forget),
        6 => (1i64..120_000).prop_map(|ms| Event::Wait { ms }),
    ]
}

proptest! {
    /// The server is right, nothing else is: whatever is done to the system clock, times are known only after an answer, are then wrong
    /// by no more than the round trips leave open, and change only by what is told or spread.
    #[test]
    fn times_are_as_right_as_the_answers(start_ms in prop_oneof![Just(0i64), Just(NOW_MS), Just(NOW_MS - HOUR_MS)], events in prop::collection::vec(event(), 1..80)) {
        let mut base = TimeBase::new(Trust::Auto);
        let (mut boot_ms, mut system_offset_ms) = (5_000i64, start_ms);
        // How far off the first answer leaves it; the tightest answer so far.
        let (mut first_ms, mut tightest_ms) = (None::<i64>, i64::MAX);
        let mut told = 0;
        for event in events {
            match event {
                Event::Answer { there_ms, back_ms } => {
                    let sent_ms = boot_ms;
                    boot_ms += there_ms + back_ms;
                    base.hear(ServerTime { sent_ms, received_ms: boot_ms, time_ms: NOW_MS + sent_ms + there_ms });
                    first_ms.get_or_insert(there_ms + back_ms);
                    tightest_ms = tightest_ms.min(there_ms + back_ms);
                }
                Event::Set { by_ms } => system_offset_ms += by_ms,
                Event::Forget => system_offset_ms = 1_000 - boot_ms,
                Event::Wait { ms } => boot_ms += ms,
            }
            let before = base.state();
            let step = base.look(look(boot_ms, boot_ms + system_offset_ms));
            let after = base.state();
            let Some(first_ms) = first_ms else {
                prop_assert_eq!((after.source, after.offset_ms, step), (ClockSource::None, None, None));
                continue;
            };
            prop_assert_eq!(after.source, ClockSource::Server);
            let offset_ms = after.offset_ms.unwrap();
            let drift_ms = boot_ms / 1_000 * DRIFT_PPM / 1_000;
            prop_assert!((offset_ms - NOW_MS).abs() <= first_ms + 2 * ROUNDING_MS + drift_ms, "{} off", offset_ms - NOW_MS);
            let moved_ms = before.offset_ms.map_or(0, |before_ms| offset_ms - before_ms);
            match step {
                Some(step) => prop_assert!(step.to_ms - step.from_ms == moved_ms || (step.to_ms == step.from_ms && moved_ms.abs() <= MAX_SPREAD_MS)),
                None => prop_assert!(moved_ms.abs() <= MAX_SPREAD_MS, "moved by {moved_ms} in silence"),
            }
            told += u64::from(step.is_some());
        }
        prop_assert_eq!(base.state().steps, told);
        // Left alone for some minutes it comes as close as the tightest answer says.
        if tightest_ms < i64::MAX {
            for _ in 0..120 {
                boot_ms += 1_000;
                base.look(look(boot_ms, boot_ms + system_offset_ms));
            }
            let drift_ms = boot_ms / 1_000 * DRIFT_PPM / 1_000;
            let off_ms = (base.state().offset_ms.unwrap() - NOW_MS).abs();
            prop_assert!(off_ms <= tightest_ms + 2 * ROUNDING_MS + drift_ms, "{off_ms} off after an answer within {tightest_ms}");
        }
    }

    /// NTP keeps the clock, or the configuration trusts it: all of its steps are told with their size, and times follow it.
    #[test]
    fn every_step_of_a_believed_clock_is_told(trust in prop_oneof![Just(Trust::Auto), Just(Trust::System)], sets in prop::collection::vec((1i64..100_000, -2 * HOUR_MS..2 * HOUR_MS), 1..40)) {
        let mut base = TimeBase::new(trust);
        let (mut boot_ms, mut offset_ms, mut told_ms) = (0, NOW_MS, 0);
        base.look(kept(boot_ms, offset_ms));
        for (wait_ms, by_ms) in sets {
            boot_ms += wait_ms;
            prop_assert_eq!(base.look(kept(boot_ms, boot_ms + offset_ms)).map(|step| step.to_ms - step.from_ms), None);
            // What is still being spread must not make a step of what is none.
            let by_ms = if by_ms.abs() < 2 * STEP_MS { 0 } else { by_ms };
            offset_ms += by_ms;
            let step = base.look(kept(boot_ms, boot_ms + offset_ms));
            prop_assert_eq!(step.is_some(), by_ms != 0);
            told_ms += step.map_or(0, |step| step.to_ms - step.from_ms);
        }
        prop_assert_eq!(base.state().offset_ms, Some(NOW_MS + told_ms));
        prop_assert_eq!(offset_ms, NOW_MS + told_ms);
    }
}
