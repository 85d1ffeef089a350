//! Shell: ingest as a client of the broker within this process: no socket, no password, nothing that anybody else could take.
//!
//! The library gives each message to a subscriber by a channel, and takes what is to be said to others by a call; that is all of it.
//! Messages come with QoS 0, so that a link that is behind delays nobody: the channel drops what it has no room for, as nothing is
//! acknowledged that ingest has not stored, and gateways send it again. The link looks after nothing else than to empty it.

use std::sync::Arc;

use mqtt5::QoS;
use mqtt5::broker::router::{DeliveryLanes, LaneReceivers, MessageRouter, SubscriptionRequest, TakeoverNotice};
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::oneshot;
use tracing::error;

use super::{BrokerError, MAX_QUEUED, access};

/// Messages that are taken at once.
const AT_ONCE: usize = 64;

/// A message of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before.
    pub retained: bool,
}

/// A way into the broker.
#[derive(Clone)]
pub struct Link {
    router: Arc<MessageRouter>,
    /// Nobody can take its place by its name: that is told to nobody, and new in each life.
    name: String,
}

/// What comes to a link.
pub struct Inbox {
    lanes: LaneReceivers,
    /// While it is held, the broker takes the link for connected.
    _place: oneshot::Receiver<TakeoverNotice>,
}

impl Link {
    pub(super) fn new(router: Arc<MessageRouter>) -> Result<Self, BrokerError> {
        let mut name = [0u8; 16];
        getrandom::fill(&mut name).map_err(|e| BrokerError::Random(e.to_string()))?;
        Ok(Self { router, name: format!("{}-{}", access::INGEST, super::hex(&name)) })
    }

    /// Subscribes; what comes from now on is in the inbox. One inbox of a link at a time.
    pub async fn subscribe(&self, filters: &[&str]) -> Inbox {
        let (lanes, receivers) = DeliveryLanes::channel(MAX_QUEUED);
        let (place, held) = oneshot::channel();
        let queue = self.router.queue_handle(&self.name);
        self.router.register_session(self.name.clone(), lanes, queue, place, true).await;
        for filter in filters {
            let request = SubscriptionRequest::new(&*self.name, *filter, QoS::AtMostOnce);
            if let Err(e) = self.router.subscribe(request).await {
                error!("BUG: subscribing to {filter}: {e}");
            }
        }
        Inbox { lanes: receivers, _place: held }
    }

    /// What is retained under these topics.
    pub async fn retained(&self, filter: &str) -> Vec<Arrived> {
        let kept = self.router.get_retained_messages(filter).await;
        kept.into_iter().map(|publish| Arrived { retained: true, ..arrived(publish) }).collect()
    }

    /// Says something to whoever has subscribed to it. Nobody is waited for: what does not take it loses it.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>) {
        let publish = PublishPacket::new(topic, payload, QoS::AtMostOnce);
        self.router.route_message(&publish, Some(&self.name)).await;
    }
}

impl Inbox {
    /// Waits for messages; none when the broker is gone.
    pub async fn take(&mut self) -> Vec<Arrived> {
        let mut messages = Vec::new();
        self.lanes.qos0.recv_many(&mut messages, AT_ONCE).await;
        messages.into_iter().map(|message| arrived(message.publish)).collect()
    }
}

fn arrived(publish: PublishPacket) -> Arrived {
    Arrived { topic: publish.topic_name, payload: publish.payload.into(), retained: publish.retain }
}
