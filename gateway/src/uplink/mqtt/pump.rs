//! Polls the MQTT connection and passes on what happens; connects again, with growing pauses, when it breaks.
//!
//! Decides nothing about batches.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Event, EventLoop, MqttState};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// A poll that takes longer hangs in a write: pings make one return every 15 s, and connecting has its own bound.
const MAX_POLL: Duration = Duration::from_secs(120);

/// First and longest pause before connecting again.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What the pump tells.
pub(super) enum Up {
    /// An event of the connection.
    Event(Box<Event>),
    /// The connection is gone. The pump goes on once it is answered.
    Down(oneshot::Sender<()>),
}

/// Runs until nobody listens.
pub(super) async fn pump(mut eventloop: EventLoop, events: mpsc::Sender<Up>, mut reconnects: mpsc::Receiver<()>) {
    let mut pause = MIN_PAUSE;
    loop {
        let error = tokio::select! {
            polled = timeout(MAX_POLL, eventloop.poll()) => match polled {
                Ok(Ok(event)) => {
                    // Only a broker that takes messages ends the growth: one that accepts and throws out does not.
                    if matches!(event, Event::Incoming(Packet::PubAck(_))) {
                        pause = MIN_PAUSE;
                    }
                    if events.send(Up::Event(Box::new(event))).await.is_err() {
                        return;
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("nothing moved for {} s", MAX_POLL.as_secs()),
            },
            Some(()) = reconnects.recv() => "given up".to_owned(),
        };
        forget(&mut eventloop);
        let (done, answered) = oneshot::channel();
        if events.send(Up::Down(done)).await.is_err() || answered.await.is_err() {
            return;
        }
        let wait = jittered(pause);
        let (host, port) = eventloop.options.broker_address();
        warn!(broker = format!("{host}:{port}"), error, again_in_ms = wait.as_millis() as u64, "no connection to the broker");
        sleep(wait).await;
        pause = (pause * 2).min(MAX_PAUSE);
        // What was queued before the answer belongs to the old connection.
        forget(&mut eventloop);
        while reconnects.try_recv().is_ok() {}
    }
}

/// The buffer is the session: nothing of a connection may live on in the next one. The library would keep in-flight messages,
/// and a collision of packet numbers for ever.
fn forget(eventloop: &mut EventLoop) {
    eventloop.clean();
    eventloop.pending.clear();
    let limit = eventloop.options.get_outgoing_inflight_upper_limit().unwrap_or(u16::MAX);
    eventloop.state = MqttState::new(limit, false);
}

/// Between half and all of a pause, so that a hundred gateways do not return in one moment.
fn jittered(pause: Duration) -> Duration {
    let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_between_half_and_all() {
        for _ in 0..1000 {
            let wait = jittered(MAX_PAUSE);
            assert!(wait >= MAX_PAUSE / 2 && wait <= MAX_PAUSE, "{wait:?}");
        }
    }
}
