//! Links and the broker between gateways and server.
//!
//! A link carries one connection at a time, in order, until it is cut; it loses nothing within a connection, as TCP does. The broker
//! speaks of MQTT only what matters: QoS 1 from a client to it, subscriptions, retained messages. It may lose or double what it
//! has confirmed, and forgets everything when it crashes.

use std::collections::BTreeMap;

use pattoo_wire::topic::{self, FromGateway};

use super::{Event, World};

/// How long a client bears a silent connection.
const KEEP_ALIVE_MS: i64 = 30_000;
/// How long the broker does.
const BROKER_KEEP_ALIVE_MS: i64 = 45_000;
const CONNECT_TIMEOUT_MS: i64 = 10_000;
/// Shortest and longest pause before a client connects again.
const BACK_OFF_MS: (i64, i64) = (250, 30_000);
/// Longest time that a message stays in the broker.
const MAX_INSIDE_MS: i64 = 20;

/// A message that was published.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) retained: bool,
}

/// What a client wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Gateways,
    Schemas,
    Topic(String),
}

impl Filter {
    fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Gateways => topic::parse(topic).is_some(),
            Self::Schemas => matches!(topic::parse(topic), Some((_, FromGateway::Schema(_)))),
            Self::Topic(own) => own == topic,
        }
    }
}

/// What travels over a connection.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Connect,
    ConnAck,
    Subscribe(Vec<Filter>),
    /// Its number within the connection, to be confirmed; none towards a client.
    Publish(Option<u64>, Message),
    PubAck(u64),
}

/// The way between one client and the broker.
#[derive(Debug)]
pub(super) struct Link {
    delay_ms: (i64, i64),
    slow: (i64, i64),
    cut_until_ms: i64,
    /// Towards the broker, towards the client.
    silent_until_ms: [i64; 2],
    /// The client's connection.
    pub(super) conn: Option<u64>,
    /// The broker has accepted it.
    pub(super) ready: bool,
    back_off_ms: i64,
    /// When the client tries next.
    attempt_ms: Option<i64>,
}

/// A connection, as each end sees it.
#[derive(Debug)]
pub(super) struct Conn {
    who: usize,
    client: bool,
    broker: bool,
    filters: Vec<Filter>,
    /// When the last packet of each direction arrives.
    last_ms: [i64; 2],
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    up: bool,
    life: u64,
    retained: BTreeMap<String, Vec<u8>>,
    /// One message of so many is lost or doubled, until then.
    sloppy: (u32, bool, i64),
    last_conn: u64,
    last_inside_ms: i64,
}

impl Broker {
    pub(super) fn be_sloppy(&mut self, one_in: u32, doubles: bool, until_ms: i64) {
        self.sloppy = (one_in, doubles, until_ms);
    }
}

impl Link {
    pub(super) fn new(delay_ms: (i64, i64)) -> Self {
        Self {
            delay_ms,
            slow: (0, 0),
            cut_until_ms: 0,
            silent_until_ms: [0, 0],
            conn: None,
            ready: false,
            back_off_ms: BACK_OFF_MS.0,
            attempt_ms: None,
        }
    }

    pub(super) fn slow(&mut self, delay_ms: i64, until_ms: i64) {
        self.slow = (delay_ms, until_ms);
    }

    pub(super) fn heal(&mut self, now_ms: i64) {
        self.slow = (0, 0);
        self.cut_until_ms = self.cut_until_ms.min(now_ms);
        self.silent_until_ms = self.silent_until_ms.map(|until_ms| until_ms.min(now_ms));
    }
}

impl World<'_> {
    /// Sends a packet towards the broker, if there is a connection.
    pub(super) fn send_up(&mut self, who: usize, packet: Packet) {
        if let Some(conn) = self.links[who].conn {
            self.send(conn, true, packet);
        }
    }

    fn send(&mut self, conn: u64, up: bool, packet: Packet) {
        let Some(Conn { who, last_ms, .. }) = self.conns.get_mut(&conn) else { return };
        let (link, direction) = (&self.links[*who], usize::from(!up));
        let slow_ms = if link.slow.1 > self.now_ms { link.slow.0 } else { 0 };
        let delay_ms = self.random.i64(link.delay_ms.0..=link.delay_ms.1) + slow_ms;
        // What is sent into a silence is repeated by TCP until the silence ends, or the connection.
        let start_ms = self.now_ms.max(link.silent_until_ms[direction]);
        let at_ms = (start_ms + delay_ms).max(last_ms[direction]);
        last_ms[direction] = at_ms;
        self.at(at_ms, Event::Arrive { conn, up, packet });
    }

    pub(super) fn arrive(&mut self, conn: u64, up: bool, packet: Packet) {
        let Some(Conn { who, client, broker, last_ms, .. }) = self.conns.get_mut(&conn) else { return };
        let who = *who;
        // A silence that began while the packet was on its way.
        let silent_until_ms = self.links[who].silent_until_ms[usize::from(!up)];
        if silent_until_ms > self.now_ms {
            let at_ms = silent_until_ms.max(last_ms[usize::from(!up)]);
            last_ms[usize::from(!up)] = at_ms;
            return self.at(at_ms, Event::Arrive { conn, up, packet });
        }
        match (up, packet) {
            (true, Packet::Connect) => self.accept(conn),
            (true, packet) if *broker => self.broker_takes(conn, packet),
            (false, packet) if *client && self.links[who].conn == Some(conn) => self.client_takes(who, packet),
            _ => {}
        }
    }

    pub(super) fn connect(&mut self, who: usize) {
        let due = self.links[who].attempt_ms == Some(self.now_ms);
        if !due || self.links[who].conn.is_some() || !self.is_running(who) {
            return;
        }
        let link = &self.links[who];
        let blocked_until_ms = link.cut_until_ms.max(link.silent_until_ms[0]).max(link.silent_until_ms[1]);
        if blocked_until_ms > self.now_ms || !self.broker.up {
            return self.connect_later(who, blocked_until_ms);
        }
        self.broker.last_conn += 1;
        let conn = self.broker.last_conn;
        self.conns.insert(conn, Conn { who, client: true, broker: false, filters: Vec::new(), last_ms: [0, 0] });
        (self.links[who].conn, self.links[who].ready) = (Some(conn), false);
        self.send(conn, true, Packet::Connect);
        self.after(CONNECT_TIMEOUT_MS, Event::ConnectTimeout(who, conn));
    }

    fn connect_later(&mut self, who: usize, not_before_ms: i64) {
        let pause_ms = self.links[who].back_off_ms;
        self.links[who].back_off_ms = (pause_ms * 2).min(BACK_OFF_MS.1);
        let pause_ms = self.random.i64(pause_ms / 2..=pause_ms);
        self.connect_at(who, self.now_ms.max(not_before_ms) + pause_ms);
    }

    /// Plans an attempt; one that was planned before is not made.
    pub(super) fn connect_at(&mut self, who: usize, at_ms: i64) {
        self.links[who].attempt_ms = Some(at_ms);
        self.at(at_ms, Event::Connect(who));
    }

    pub(super) fn connect_timeout(&mut self, who: usize, conn: u64) {
        if self.links[who].conn == Some(conn) && !self.links[who].ready {
            self.close_client(who);
        }
    }

    /// The client gives its connection up, or sees that it is gone.
    pub(super) fn close_client(&mut self, who: usize) {
        let Some(conn) = self.links[who].conn.take() else { return };
        self.links[who].ready = false;
        self.note(format_args!("client {who} has no connection {conn} any more"));
        self.end(conn, true);
        // The broker is told, unless that is lost too.
        let told_ms = if self.links[who].silent_until_ms[0] > self.now_ms { BROKER_KEEP_ALIVE_MS } else { self.links[who].delay_ms.1 };
        self.after(told_ms, Event::KeepAlive { conn, client: false });
        self.disconnected(who);
        self.connect_later(who, 0);
    }

    /// The client's process is gone; whether the broker is told depends on how.
    pub(super) fn vanish(&mut self, who: usize, told: bool) {
        let Some(conn) = self.links[who].conn.take() else { return };
        self.links[who].ready = false;
        self.end(conn, true);
        self.after(if told { self.links[who].delay_ms.1 } else { BROKER_KEEP_ALIVE_MS }, Event::KeepAlive { conn, client: false });
    }

    fn end(&mut self, conn: u64, client: bool) {
        let Some(ends) = self.conns.get_mut(&conn) else { return };
        *(if client { &mut ends.client } else { &mut ends.broker }) = false;
        if !ends.client && !ends.broker {
            self.conns.remove(&conn);
        }
    }

    pub(super) fn keep_alive(&mut self, conn: u64, client: bool) {
        let Some(Conn { who, client: has_client, broker: has_broker, .. }) = self.conns.get(&conn) else { return };
        let (who, link) = (*who, &self.links[*who]);
        let silent = |direction: usize| link.silent_until_ms[direction] > self.now_ms;
        if client && *has_client && (!has_broker || silent(0) || silent(1)) && self.links[who].conn == Some(conn) {
            self.close_client(who);
        } else if !client && (!has_client || silent(0)) {
            self.end(conn, false);
        }
    }

    pub(super) fn cut(&mut self, who: usize, ms: i64) {
        self.links[who].cut_until_ms = self.links[who].cut_until_ms.max(self.now_ms + ms);
        let lost: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.who == who).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|conn| self.end(conn, false));
        self.close_client(who);
    }

    pub(super) fn silence(&mut self, who: usize, up: bool, down: bool, ms: i64) {
        let until_ms = self.now_ms + ms;
        for (silent_until_ms, silent) in self.links[who].silent_until_ms.iter_mut().zip([up, down]) {
            *silent_until_ms = if silent { until_ms.max(*silent_until_ms) } else { *silent_until_ms };
        }
        let conns: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.who == who).map(|(id, _)| *id).collect();
        for conn in conns {
            self.after(KEEP_ALIVE_MS, Event::KeepAlive { conn, client: true });
            self.after(BROKER_KEEP_ALIVE_MS, Event::KeepAlive { conn, client: false });
        }
    }

    pub(super) fn broker_up(&mut self) {
        self.broker.up = true;
    }

    pub(super) fn broker_crash(&mut self, down_ms: i64, noticed: bool) {
        if !self.broker.up {
            return;
        }
        (self.broker.up, self.broker.life) = (false, self.broker.life + 1);
        self.broker.retained.clear();
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        for conn in conns {
            self.end(conn, false);
            let ms = if noticed { self.random.i64(0..=50) } else { KEEP_ALIVE_MS };
            self.after(ms, Event::KeepAlive { conn, client: true });
        }
        self.after(down_ms, Event::BrokerUp);
    }

    fn accept(&mut self, conn: u64) {
        let Some(Conn { who, .. }) = self.conns.get(&conn) else { return };
        let who = *who;
        if !self.broker.up {
            return;
        }
        // The same client again takes the place of the one before. The server has another name each time.
        let before: Vec<u64> = self.conns.iter().filter(|(id, c)| **id != conn && c.who == who && who > 0).map(|(id, _)| *id).collect();
        before.into_iter().for_each(|conn| self.end(conn, false));
        if let Some(ends) = self.conns.get_mut(&conn) {
            ends.broker = true;
        }
        self.send(conn, false, Packet::ConnAck);
    }

    fn broker_takes(&mut self, conn: u64, packet: Packet) {
        match packet {
            Packet::Subscribe(filters) => {
                let retained = self.broker.retained.iter().filter(|(topic, _)| filters.iter().any(|filter| filter.matches(topic)));
                let message =
                    |(topic, payload): (&String, &Vec<u8>)| Message { topic: topic.clone(), payload: payload.clone(), retained: true };
                let retained: Vec<Message> = retained.map(message).collect();
                if let Some(ends) = self.conns.get_mut(&conn) {
                    ends.filters.extend(filters);
                    ends.filters.dedup();
                }
                retained.into_iter().for_each(|message| self.send(conn, false, Packet::Publish(None, message)));
            }
            Packet::Publish(number, message) => {
                if message.retained {
                    self.broker.retained.insert(message.topic.clone(), message.payload.clone());
                }
                let inside_ms = self.random.i64(0..=MAX_INSIDE_MS);
                self.broker.last_inside_ms = self.broker.last_inside_ms.max(self.now_ms + inside_ms);
                let (confirm, forward) = (number.map(Packet::PubAck), Event::Forward(self.broker.life, message));
                if self.plan.confirms_first {
                    self.at(self.broker.last_inside_ms, forward);
                } else {
                    self.happen(forward);
                }
                confirm.into_iter().for_each(|packet| self.send(conn, false, packet));
            }
            Packet::Connect | Packet::ConnAck | Packet::PubAck(_) => {}
        }
    }

    /// Passes a message on to those who want it now. Nothing is kept for those who are away.
    pub(super) fn forward(&mut self, life: u64, message: Message) {
        if life != self.broker.life {
            return;
        }
        let (one_in, doubles, until_ms) = self.broker.sloppy;
        let struck = self.now_ms < until_ms && self.random.u32(0..one_in.max(1)) == 0;
        let times = if !struck {
            1
        } else if doubles {
            2
        } else {
            0
        };
        let wants = |conn: &Conn| conn.broker && conn.filters.iter().any(|filter| filter.matches(&message.topic));
        let conns: Vec<u64> = self.conns.iter().filter(|(_, conn)| wants(conn)).map(|(id, _)| *id).collect();
        for conn in conns {
            for _ in 0..times {
                self.send(conn, false, Packet::Publish(None, Message { retained: false, ..message.clone() }));
            }
        }
    }

    fn client_takes(&mut self, who: usize, packet: Packet) {
        if let Packet::ConnAck = packet {
            (self.links[who].ready, self.links[who].back_off_ms) = (true, BACK_OFF_MS.0);
        }
        match who {
            0 => self.server_takes(packet),
            _ => self.gateway_takes(who - 1, packet),
        }
    }

    fn disconnected(&mut self, who: usize) {
        if who > 0 {
            self.gateway_disconnected(who - 1);
        }
    }

    fn is_running(&self, who: usize) -> bool {
        match who {
            0 => self.server.is_running(),
            _ => self.gateways[who - 1].is_running(),
        }
    }
}
