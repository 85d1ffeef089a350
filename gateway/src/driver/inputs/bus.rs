//! A broker whose messages hold readings. Shell: one connection. Knows no readings.
//!
//! The session is a clean one: what was published while there was no connection is not heard later, when nobody could say how old it is. For
//! the same reason messages that the broker retained are not asked for. A message is acknowledged once its readings were handed on.

use std::future::Future;
use std::pin::Pin;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as Mqtt, EventLoop};

use super::Event;
use crate::broker;
use crate::config::Broker;
use crate::lines::{Cut, Lines, MAX_LINE_BYTES};
use crate::tls::Shown;

/// Largest message, in bytes.
const MAX_PACKET_BYTES: u32 = 1 << 20;
/// Most lines of one message.
pub(super) const MAX_LINES: usize = 10_000;
/// Requests that the client queues: acknowledgements of what it may receive at once, and a subscription.
const QUEUE: usize = 128;
/// Messages that the broker may send before they are acknowledged.
const RECEIVE_MAXIMUM: u16 = 64;

/// A subscription at a broker.
pub(super) struct Bus {
    broker: Broker,
    topic: String,
    device_from: Option<usize>,
    line: Option<Line>,
    /// Handed on, not yet acknowledged.
    heard: Option<Publish>,
}

/// The polling of a connection. It is kept over calls: one that is dropped in the middle would begin to connect anew each time.
type Polling = Pin<Box<dyn Future<Output = (EventLoop, Result<Mqtt, ConnectionError>)> + Send>>;

struct Line {
    client: AsyncClient,
    polling: Polling,
}

fn polling(mut eventloop: EventLoop) -> Polling {
    Box::pin(async move {
        let polled = eventloop.poll().await;
        (eventloop, polled)
    })
}

impl Bus {
    /// Connects nothing yet.
    pub(super) fn new(broker: Broker, topic: String, device_from: Option<usize>) -> Self {
        Self { broker, topic, device_from, line: None, heard: None }
    }

    /// What comes next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let line = match &mut self.line {
                Some(line) => line,
                None => match self.connect() {
                    Ok(line) => self.line.insert(line),
                    Err(why) => return Event::Failed(why),
                },
            };
            if let Some(publish) = self.heard.take() {
                // With a full queue the broker sends it again.
                let _ = line.client.try_ack(&publish);
            }
            let (eventloop, polled) = (&mut line.polling).await;
            line.polling = polling(eventloop);
            let event = match polled {
                Ok(Mqtt::Incoming(packet)) => self.received(packet),
                Ok(Mqtt::Outgoing(_)) => None,
                Err(error) => Some(self.failed(&error.to_string())),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn connect(&self) -> Result<Line, String> {
        let client = format!("pattoo-in-{:016x}", getrandom::u64().unwrap_or_default());
        let mut options = broker::options(client, &self.broker, MAX_PACKET_BYTES, &Shown::default()).map_err(|error| error.to_string())?;
        options.set_manual_acks(true);
        options.set_receive_maximum(Some(RECEIVE_MAXIMUM));
        let (client, eventloop) = AsyncClient::new(options, QUEUE);
        Ok(Line { client, polling: polling(eventloop) })
    }

    fn failed(&mut self, why: &str) -> Event {
        (self.line, self.heard) = (None, None);
        Event::Failed(format!("{}: {why}", self.broker.url))
    }

    fn received(&mut self, packet: Packet) -> Option<Event> {
        match packet {
            Packet::ConnAck(_) => {
                let mut filter = Filter::new(self.topic.clone(), QoS::AtLeastOnce);
                filter.retain_forward_rule = RetainForwardRule::Never;
                let subscribed = self.line.as_ref().is_some_and(|line| line.client.try_subscribe_many([filter]).is_ok());
                (!subscribed).then(|| self.failed("cannot subscribe"))
            }
            Packet::SubAck(answer) => {
                let good = answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                if !good {
                    return Some(self.failed(&format!("does not let this gateway read {}: {:?}", self.topic, answer.return_codes)));
                }
                Some(Event::Open(format!("readings are taken from {} at {}", self.topic, self.broker.url)))
            }
            Packet::Publish(publish) => {
                let event = self.message(&publish);
                self.heard = Some(publish);
                Some(event)
            }
            Packet::Disconnect(why) => Some(self.failed(&format!("closed the connection: {:?}", why.reason_code))),
            _ => None,
        }
    }

    fn message(&self, publish: &Publish) -> Event {
        // Of somebody who publishes with it while we listen it comes without the flag.
        if publish.retain {
            return Event::Left("retained message");
        }
        let topic = String::from_utf8_lossy(&publish.topic);
        let device = self.device_from.map(|level| topic.split('/').nth(level.saturating_sub(1)).unwrap_or_default().to_owned());
        let (cut, whole) = cut(&publish.payload);
        Event::Message { device, lines: cut, whole, bytes: publish.payload.len() }
    }
}

/// The lines of a message, and whether these are all.
pub(super) fn cut(payload: &[u8]) -> (Vec<Cut>, bool) {
    let end = payload.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(MAX_LINES - 1).map_or(payload.len(), |(at, _)| at + 1);
    let mut lines = Lines::default();
    let mut cut = lines.push(payload.get(..end).unwrap_or_default());
    cut.extend(lines.finish());
    (cut, end == payload.len())
}

const _: () = assert!(MAX_PACKET_BYTES as usize >= MAX_LINE_BYTES);
