//! Shell: the way from the embedded broker, within this process.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::queue::{FILTERS, Outlet, Queue, SCHEMAS, store};
use super::{Message, SharedCore};
use crate::broker::link::{Arrived, Link};
use crate::live::Live;

/// The broker, as answers go out by it.
struct Inside<'a> {
    link: &'a Link,
    live: &'a Live,
}

impl Outlet for Inside<'_> {
    async fn answer(&self, topic: &str, message: Vec<u8>) -> Result<(), String> {
        self.link.publish(topic, message).await;
        Ok(())
    }

    async fn ask_for_schemas(&self, queue: &Queue) -> Result<(), String> {
        queue.push(self.link.retained(SCHEMAS).await.into_iter().map(message), self.live);
        Ok(())
    }
}

/// Serves until `stop` is true, or the broker is gone; what has arrived by then is still stored.
pub(super) async fn run(link: Link, core: SharedCore, live: Arc<Live>, mut stop: watch::Receiver<bool>) {
    let queue = Queue::default();
    let outlet = Inside { link: &link, live: &live };
    let receiving = async {
        tokio::select! {
            () = receive(&link, &queue, &live) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        live.set_subscribed(false);
        queue.close();
    };
    tokio::join!(receiving, store(core, &queue, &outlet));
}

async fn receive(link: &Link, queue: &Queue, live: &Live) {
    let mut inbox = link.subscribe(&FILTERS).await;
    // What comes meanwhile stands behind in the inbox: it is newer.
    for filter in FILTERS {
        queue.push(link.retained(filter).await.into_iter().map(message), live);
    }
    info!("joined the embedded broker");
    live.set_subscribed(true);
    loop {
        let arrived = inbox.take().await;
        if arrived.is_empty() {
            return;
        }
        queue.push(arrived.into_iter().map(message), live);
    }
}

fn message(Arrived { topic, payload, retained }: Arrived) -> Message {
    Message { topic, payload, retained }
}
