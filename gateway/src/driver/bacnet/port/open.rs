//! A question that waits for its answer; dropped, it is forgotten. Shell.

use std::sync::Arc;
use std::time::Duration;

use bacnet_rs::service::ConfirmedServiceChoice;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Port;
use crate::driver::bacnet::tsm::Answer;
use crate::driver::bacnet::{Peer, guard};
use crate::mix::mix;

pub(super) struct Open<'p> {
    port: &'p Port,
    peer: &'p Peer,
    pub(super) invoke: u8,
    woken: Arc<Notify>,
}

impl<'p> Open<'p> {
    /// Sends the question. None where all numbers of the device are taken.
    pub(super) fn begin(port: &'p Port, peer: &'p Peer, retries: u32, service: ConfirmedServiceChoice, body: Vec<u8>) -> Option<Self> {
        let woken = Arc::new(Notify::new());
        let mut desk = port.desk();
        #[expect(clippy::cast_possible_truncation, reason = "any byte")]
        let start = mix(port.seed ^ u64::from(peer.address.port())) as u8;
        let question = |invoke| guard::question(invoke, service, body);
        let (invoke, question) = desk.transactions.begin(peer, service as u8, retries, start, question)?;
        desk.waiting.insert((peer.clone(), invoke), Arc::clone(&woken));
        drop(desk);
        port.send(peer, true, &question);
        Some(Self { port, peer, invoke, woken })
    }

    /// The answer; none where nothing of it comes for so long.
    pub(super) async fn wait(&mut self, silence: Duration) -> Option<Answer> {
        let mut seen = 0;
        loop {
            let step = self.port.wait(&self.woken, Instant::now() + silence, |desk| {
                if let Some(answer) = desk.transactions.take(self.peer, self.invoke) {
                    return Some(Some(answer));
                }
                let segments = desk.transactions.segments(self.peer, self.invoke);
                let more = segments != seen;
                seen = segments;
                more.then_some(None)
            });
            match step.await {
                // More of it has come: the rest has its time again.
                Some(None) => {}
                Some(answer) => return answer,
                None => return None,
            }
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut desk = self.port.desk();
        desk.transactions.drop(self.peer, self.invoke);
        desk.waiting.remove(&(self.peer.clone(), self.invoke));
    }
}
