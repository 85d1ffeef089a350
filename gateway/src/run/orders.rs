//! The writes, and the reads out of turn, that wait for one link. They go before reads, but not so many in a row that reads would starve. A shell file: channels.

use pattoo_wire::Outcome;
use tokio::sync::mpsc;

use crate::command::{Write, Written};
use crate::driver::Hurry;
use crate::reading::{DeviceIndex, PointIndex};

/// Most orders that wait for a link.
const MAX_ORDERS: usize = 16;

/// Writes in a row after which a read that is due has its turn.
const MAX_IN_A_ROW: usize = 8;

/// What a link is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Write.
    Write(WriteOrder),
    /// Read these points of a device of this link out of turn.
    Read { device: DeviceIndex, points: Vec<PointIndex> },
}

/// A write for a device of this link.
#[derive(Debug)]
pub(super) struct WriteOrder {
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
    /// Boxed: a channel has room for 32 of what it holds from the start, and a gateway may have a thousand links.
    inbox: mpsc::Receiver<Box<Order>>,
    /// To see whether something is in it while it is lent out.
    probe: mpsc::WeakSender<Box<Order>>,
    answers: Option<mpsc::Sender<Answer>>,
    in_a_row: usize,
}

impl Orders {
    /// Where to order, and the link's end; it answers there.
    pub(super) fn open(answers: mpsc::Sender<Answer>) -> (mpsc::Sender<Box<Order>>, Self) {
        Self::new(Some(answers))
    }

    /// A link that nobody writes to.
    pub(super) fn none() -> Self {
        Self::new(None).1
    }

    fn new(answers: Option<mpsc::Sender<Answer>>) -> (mpsc::Sender<Box<Order>>, Self) {
        let (sender, inbox) = mpsc::channel(MAX_ORDERS);
        let probe = sender.downgrade();
        (sender, Self { inbox, probe, answers, in_a_row: 0 })
    }

    /// Tells whether an order waits.
    pub(super) fn bell(&self) -> Hurry {
        let probe = self.probe.clone();
        Box::new(move || probe.upgrade().is_some_and(|sender| sender.capacity() < sender.max_capacity()))
    }

    /// The next order, if it is its turn. After some in a row there is none once, so that one read has its turn.
    pub(super) fn next(&mut self) -> Option<Box<Order>> {
        if self.in_a_row >= MAX_IN_A_ROW {
            self.in_a_row = 0;
            return None;
        }
        let order = self.inbox.try_recv().ok();
        self.in_a_row = if order.is_some() { self.in_a_row + 1 } else { 0 };
        order
    }

    /// Waits for an order while nothing is to be read; for ever where none can come.
    pub(super) async fn wait(&mut self) -> Box<Order> {
        match self.inbox.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// Answers what is not begun any more.
    pub(super) async fn close(mut self) {
        self.inbox.close();
        while let Some(order) = self.inbox.recv().await {
            if let Order::Write(order) = *order {
                self.answer(order.ticket, Written::not(Outcome::Busy, "the gateway is stopping")).await;
            }
        }
    }

    /// Answers. Nobody may listen any more at a stop.
    pub(super) async fn answer(&self, ticket: u64, written: Written) {
        if let Some(answers) = &self.answers {
            let _ = answers.send(Answer { ticket, written }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use pattoo_wire::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::super::turns::serve;
    use super::*;
    use crate::config::read_for_test;
    use crate::health::Health;
    use crate::profile::Profile;

    fn ticket(order: &Order) -> u64 {
        match order {
            Order::Write(order) => order.ticket,
            Order::Read { .. } => u64::MAX,
        }
    }

    #[test]
    fn a_read_has_its_turn_between_writes_that_do_not_end() {
        let (sender, mut orders) = Orders::open(mpsc::channel(1).0);
        assert!(orders.next().is_none());
        for ticket in 0..2 * MAX_IN_A_ROW as u64 {
            let write = Write { point: PointIndex(0), value: Value::Bool(true), expected: None, read_modify_write: false };
            sender.try_send(Box::new(Order::Write(WriteOrder { ticket, device: DeviceIndex(0), write, until_ms: 0 }))).unwrap();
        }
        let turns: Vec<_> = (0..2 * MAX_IN_A_ROW + 2).map(|_| orders.next().map(|order| ticket(&order))).collect();
        let expected = (0..8).map(Some).chain([None]).chain((8..16).map(Some)).chain([None]);
        assert_eq!(turns, expected.collect::<Vec<_>>());
    }

    const PROFILE: &str = "schema: 1
id: io
manufacturer: X
model: X
points:
  - { name: a, read: { holding: 0, type: u16 }, writable: { min: 0, max: 9 } }
  - { name: b, read: { holding: 10, type: u16 } }
  - { name: c, read: { holding: 20, type: u16 } }
  - { name: d, read: { holding: 30, type: u16 } }
  - { name: e, read: { holding: 40, type: u16 } }
";

    const CONFIG: &str = "gateway: g1
uplink: { url: mqtt://localhost }
devices: [ { name: io, profile: io, link: plc, every: 1h } ]
links: { plc: { tcp: '";

    /// The order comes while the second of five requests is answered: look, write and look come next, then the rest of the read.
    #[tokio::test]
    async fn a_write_does_not_wait_for_all_of_a_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let profile = Profile::read(Path::new("io.yaml"), PROFILE.as_bytes()).unwrap();
        let (config, problems) = read_for_test(&format!("{CONFIG}{}' }} }}\n", listener.local_addr().unwrap()), profile);
        assert!(problems.is_empty(), "{problems:?}");
        let config = Arc::new(config.unwrap());
        let (answers_in, mut answers) = mpsc::channel(1);
        let (sender, orders) = Orders::open(answers_in);
        let (readings_in, mut readings) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let link = config.links[0].clone();
        let served =
            serve(link, config, orders, super::super::turns::Beside::default(), readings_in, watch::channel(Health::default()).0, stopped);
        let device = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut asked, mut request, mut held) = (Vec::new(), [0; 12], 0);
            while stream.read_exact(&mut request).await.is_ok() {
                asked.push((request[7], request[9]));
                if asked.len() == 2 {
                    let write = Write { point: PointIndex(0), value: Value::int(7), expected: None, read_modify_write: false };
                    sender
                        .try_send(Box::new(Order::Write(WriteOrder { ticket: 5, device: DeviceIndex(0), write, until_ms: i64::MAX })))
                        .unwrap();
                }
                let reply = match request[7] {
                    6 => {
                        held = request[11];
                        request.to_vec()
                    }
                    _ => [&request[..4], &[0, 5, request[6], 3, 2, 0, if request[9] == 0 { held } else { 1 }]].concat(),
                };
                stream.write_all(&reply).await.unwrap();
            }
            asked
        };
        let test = async {
            assert_eq!(answers.recv().await.map(|answer| (answer.ticket, answer.written.outcome)), Some((5, Outcome::Done)));
            let mut points = Vec::new();
            while points.len() < 6 {
                points.extend(readings.recv().await.unwrap().readings.into_iter().map(|reading| reading.point.0));
            }
            stop.send(true).unwrap();
            points.sort_unstable();
            points
        };
        let (asked, points, ()) = tokio::join!(device, test, served);
        assert_eq!(asked, [(3, 0), (3, 10), (3, 0), (6, 0), (3, 0), (3, 20), (3, 30), (3, 40)]);
        assert_eq!(points, [0, 0, 1, 2, 3, 4], "each point once, and what was read after the write");
    }
}
