//! When a point gets its safe value: once the server was out of reach for its time, and again only after it was in reach. Reads no clock.

use crate::config::Commands;
use crate::reading::{DeviceIndex, PointIndex};
use pattoo_wire::Value;

/// After a safe value could not be written, it is tried again after so long, as long as the server is out of reach.
const AGAIN_MS: i64 = 60_000;

/// The safe values of a configuration.
#[derive(Debug, Clone)]
pub struct Safes(Vec<Safe>);

#[derive(Debug, Clone)]
struct Safe {
    due: SafeWrite,
    after_ms: i64,
    state: State,
}

/// A safe value that is to be written now.
#[derive(Debug, Clone, PartialEq)]
pub struct SafeWrite {
    /// Which of them, for [`Safes::ended`].
    pub index: usize,
    /// Where.
    pub device: DeviceIndex,
    /// Which point.
    pub point: PointIndex,
    /// What.
    pub value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not written since the server was last in reach.
    Waits,
    /// Being written.
    Ordered,
    /// Failed at this time.
    Failed(i64),
    /// Written, for the outage that began at this time.
    Written(i64),
}

impl Safes {
    /// Those of a configuration; none where commands are off.
    #[must_use]
    pub fn of(commands: &Commands) -> Self {
        let safes = commands.points.iter().filter_map(|((device, point), allowed)| Some((*device, *point, allowed.safe.clone()?)));
        let safe = |(index, (device, point, safe)): (usize, (_, _, crate::config::Safe))| Safe {
            due: SafeWrite { index, device, point, value: safe.value },
            after_ms: i64::try_from(safe.after.as_millis()).unwrap_or(i64::MAX),
            state: State::Waits,
        };
        Self(safes.filter(|_| commands.enabled).enumerate().map(safe).collect())
    }

    /// What is to be written now, where the server was last in reach at `reached_ms`. What is given counts as being written.
    pub fn due(&mut self, now_ms: i64, reached_ms: i64) -> Vec<SafeWrite> {
        let mut due = Vec::new();
        for safe in &mut self.0 {
            let wanted = match safe.state {
                State::Waits => true,
                State::Ordered => false,
                State::Failed(at_ms) => now_ms - at_ms >= AGAIN_MS,
                State::Written(outage_ms) => outage_ms != reached_ms,
            };
            if wanted && now_ms - reached_ms >= safe.after_ms {
                safe.state = State::Ordered;
                due.push(safe.due.clone());
            }
        }
        due
    }

    /// Tells whether the point has its safe value.
    pub fn ended(&mut self, index: usize, now_ms: i64, reached_ms: i64, written: bool) {
        if let Some(safe) = self.0.get_mut(index) {
            safe.state = if written { State::Written(reached_ms) } else { State::Failed(now_ms) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Allowed, Safe};
    use crate::profile::WriteLimits;

    fn safes() -> Safes {
        let allowed = |after_s| Allowed {
            limits: WriteLimits::Values(vec![0, 1]),
            safe: Some(Safe { value: Value::Bool(false), after: Duration::from_secs(after_s) }),
        };
        let points = [((DeviceIndex(0), PointIndex(3)), allowed(10)), ((DeviceIndex(1), PointIndex(0)), allowed(60))];
        let never = Allowed { safe: None, ..allowed(1) };
        let points = points.into_iter().chain([((DeviceIndex(2), PointIndex(0)), never)]).collect();
        Safes::of(&Commands { enabled: true, points, ..Commands::default() })
    }

    #[test]
    fn a_safe_value_is_written_once_in_an_outage_and_again_in_the_next() {
        let mut safes = safes();
        let due = |safes: &mut Safes, now_s: i64, reached_s: i64| -> Vec<usize> {
            safes.due(now_s * 1_000, reached_s * 1_000).into_iter().map(|due| due.index).collect()
        };
        let none: [usize; 0] = [];
        assert_eq!(due(&mut safes, 9, 0), none);
        assert_eq!(due(&mut safes, 10, 0), [0]);
        assert_eq!(due(&mut safes, 11, 0), none, "it is being written");
        safes.ended(0, 12_000, 0, false);
        assert_eq!(due(&mut safes, 60, 0), [1], "the other one; the first waits");
        assert_eq!(due(&mut safes, 72, 0), [0], "again after it failed");
        safes.ended(0, 73_000, 0, true);
        safes.ended(1, 73_000, 0, true);
        assert_eq!(due(&mut safes, 9_999, 0), none, "once");
        assert_eq!(due(&mut safes, 10_000, 10_000), none, "in reach again");
        assert_eq!(due(&mut safes, 10_011, 10_000), [0], "and lost again");
    }

    #[test]
    fn without_commands_nothing_is_written() {
        let mut commands = Commands { enabled: false, ..Commands::default() };
        let safe = Safe { value: Value::Bool(false), after: Duration::from_secs(1) };
        let allowed = Allowed { limits: WriteLimits::Values(vec![0]), safe: Some(safe) };
        commands.points.insert((DeviceIndex(0), PointIndex(0)), allowed);
        assert_eq!(Safes::of(&commands).due(i64::MAX / 2, 0), []);
    }
}
