//! The writes that wait for one link. They go before reads, but not so many in a row that reads would starve. A shell file: channels.

use pattoo_wire::Outcome;
use tokio::sync::mpsc;

use crate::command::{Write, Written};
use crate::reading::DeviceIndex;

/// Most orders that wait for a link.
const MAX_ORDERS: usize = 16;

/// Writes in a row after which a read that is due has its turn.
const MAX_IN_A_ROW: usize = 8;

/// A write for a device of this link.
#[derive(Debug)]
pub(super) struct Order {
    /// Comes back with the answer.
    pub(super) ticket: u64,
    pub(super) device: DeviceIndex,
    pub(super) write: Write,
    /// Boot clock from which on it must not be begun.
    pub(super) until_ms: i64,
}

/// What became of an order.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ticket: u64,
    pub(super) written: Written,
}

/// The link's end of the orders.
pub(super) struct Orders {
    inbox: mpsc::Receiver<Order>,
    answers: mpsc::Sender<Answer>,
    in_a_row: usize,
}

impl Orders {
    /// Where to order, and the link's end; it answers there.
    pub(super) fn open(answers: mpsc::Sender<Answer>) -> (mpsc::Sender<Order>, Self) {
        let (sender, inbox) = mpsc::channel(MAX_ORDERS);
        (sender, Self { inbox, answers, in_a_row: 0 })
    }

    /// A link that nobody writes to.
    pub(super) fn none() -> Self {
        Self::open(mpsc::channel(1).0).1
    }

    /// The next order, if it is its turn. After some in a row there is none once, so that one read has its turn.
    pub(super) fn next(&mut self) -> Option<Order> {
        if self.in_a_row >= MAX_IN_A_ROW {
            self.in_a_row = 0;
            return None;
        }
        let order = self.inbox.try_recv().ok();
        self.in_a_row = if order.is_some() { self.in_a_row + 1 } else { 0 };
        order
    }

    /// Waits for an order while nothing is to be read; for ever where none can come.
    pub(super) async fn wait(&mut self) -> Order {
        match self.inbox.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// Answers what is not begun any more.
    pub(super) async fn close(mut self) {
        self.inbox.close();
        while let Some(order) = self.inbox.recv().await {
            self.answer(order.ticket, Written::not(Outcome::Busy, "the gateway is stopping")).await;
        }
    }

    /// Answers. Nobody may listen any more at a stop.
    pub(super) async fn answer(&self, ticket: u64, written: Written) {
        let _ = self.answers.send(Answer { ticket, written }).await;
    }
}

#[cfg(test)]
mod tests {
    use pattoo_wire::Value;

    use super::*;
    use crate::reading::PointIndex;

    #[test]
    fn a_read_has_its_turn_between_writes_that_do_not_end() {
        let (sender, mut orders) = Orders::open(mpsc::channel(1).0);
        assert!(orders.next().is_none());
        for ticket in 0..2 * MAX_IN_A_ROW as u64 {
            let write = Write { point: PointIndex(0), value: Value::Bool(true), expected: None, read_modify_write: false };
            sender.try_send(Order { ticket, device: DeviceIndex(0), write, until_ms: 0 }).unwrap();
        }
        let turns: Vec<_> = (0..2 * MAX_IN_A_ROW + 2).map(|_| orders.next().map(|order| order.ticket)).collect();
        let expected = (0..8).map(Some).chain([None]).chain((8..16).map(Some)).chain([None]);
        assert_eq!(turns, expected.collect::<Vec<_>>());
    }
}
