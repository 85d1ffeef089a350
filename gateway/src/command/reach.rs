//! For how long the server is out of reach. Reads no clock; times are ms of one that nobody can set.

/// Longest silence of a server that is there, over a connection that holds: it is asked each minute.
const PATIENCE_MS: i64 = 150_000;

/// When the server was last in reach: connected, and heard a moment ago.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    connected: bool,
    heard_ms: Option<i64>,
    reached_ms: i64,
}

impl Reach {
    /// A gateway that starts counts its start as the last time, so that a server which never comes is missed as well.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self { connected: false, heard_ms: None, reached_ms: now_ms }
    }

    /// The server itself has said something.
    pub fn heard(&mut self, now_ms: i64) {
        self.heard_ms = Some(now_ms);
    }

    /// The connection to the broker came or went.
    pub fn connected(&mut self, now_ms: i64, connected: bool) {
        // Until now it held.
        self.look(now_ms);
        self.connected = connected;
    }

    /// When it was last in reach; now, if it still is.
    pub fn look(&mut self, now_ms: i64) -> i64 {
        let heard = self.heard_ms.is_some_and(|heard_ms| now_ms - heard_ms <= PATIENCE_MS);
        if self.connected && heard {
            self.reached_ms = now_ms;
        }
        self.reached_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_in_reach_while_it_is_connected_and_heard() {
        let mut reach = Reach::new(1_000);
        assert_eq!(reach.look(5_000), 1_000, "since the start");
        reach.connected(6_000, true);
        assert_eq!(reach.look(7_000), 1_000, "a broker is no server");
        reach.heard(8_000);
        assert_eq!(reach.look(9_000), 9_000);
        assert_eq!(reach.look(8_000 + PATIENCE_MS), 8_000 + PATIENCE_MS);
        assert_eq!(reach.look(8_001 + PATIENCE_MS), 8_000 + PATIENCE_MS, "silent for too long");
        reach.heard(300_000);
        reach.connected(301_000, false);
        assert_eq!(reach.look(302_000), 301_000, "until the connection went");
        reach.connected(303_000, true);
        assert_eq!(reach.look(304_000), 304_000);
    }
}
