//! Polls the MQTT connection and passes on what happens; connects again when it breaks, to the broker that is next.
//!
//! Decides nothing about batches, and leaves it to [`Brokers`] which broker is next.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet};
use rumqttc::v5::{ConnectionError, Event, EventLoop, MqttOptions, MqttState};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::uplink::brokers::Brokers;

/// A poll that takes longer hangs in a write: pings make one return every 15 s, and connecting has its own bound.
const MAX_POLL: Duration = Duration::from_secs(120);

/// Longest wait for a preferred broker to accept a connection, while another one works.
const MAX_PROBE: Duration = Duration::from_secs(5);

/// What the pump tells.
pub(super) enum Up {
    /// The connection that is made now is to this broker.
    Broker(String),
    /// An event of the connection.
    Event(Box<Event>),
    /// The connection is gone. The pump goes on once it is answered.
    Down(oneshot::Sender<()>),
}

/// Why the session wants another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// The broker takes nothing.
    Stuck,
    /// The server is not heard over this broker.
    Silent,
}

/// The brokers, and how to connect to each.
pub(super) struct Route {
    brokers: Brokers,
    options: Vec<MqttOptions>,
    prefer_after: Duration,
}

impl Route {
    pub(super) fn new(options: Vec<MqttOptions>, prefer_after: Duration) -> Self {
        Self { brokers: Brokers::new(options.len()), options, prefer_after }
    }

    fn current(&self) -> Option<&MqttOptions> {
        self.options.get(self.brokers.current())
    }

    fn address(&self) -> String {
        self.current().map(address).unwrap_or_default()
    }

    /// Ends when one answers that is preferred to the current one.
    fn better(&self) -> Search {
        let preferred = self.options.iter().take(self.brokers.current()).map(address).collect();
        Some(Box::pin(better(preferred, self.prefer_after)))
    }
}

/// A search for a better broker, if there can be one.
type Search = Option<Pin<Box<dyn Future<Output = usize> + Send>>>;

/// How a connection ended.
enum End {
    Failed(String),
    Better(usize),
}

/// Runs until nobody listens.
pub(super) async fn pump(mut eventloop: EventLoop, mut route: Route, events: mpsc::Sender<Up>, mut leaves: mpsc::Receiver<Leave>) {
    loop {
        if let Some(options) = route.current() {
            eventloop.options = options.clone();
        }
        let Some(end) = connection(&mut eventloop, &mut route, &events, &mut leaves).await else { return };
        forget(&mut eventloop);
        let (done, answered) = oneshot::channel();
        if events.send(Up::Down(done)).await.is_err() || answered.await.is_err() {
            return;
        }
        let broker = route.address();
        match end {
            End::Better(index) => {
                route.brokers.found(index);
                info!(broker = route.address(), instead_of = broker, "a preferred broker answers again");
            }
            End::Failed(error) => {
                let wait = jittered(route.brokers.failed());
                warn!(broker, error, next = route.address(), again_in_ms = wait.as_millis() as u64, "no connection to the broker");
                sleep(wait).await;
            }
        }
        // What was queued before the answer belongs to the old connection.
        forget(&mut eventloop);
        while leaves.try_recv().is_ok() {}
    }
}

/// One connection, from the attempt to its end; none where nobody listens any more.
async fn connection(
    eventloop: &mut EventLoop,
    route: &mut Route,
    events: &mpsc::Sender<Up>,
    leaves: &mut mpsc::Receiver<Leave>,
) -> Option<End> {
    let mut search: Search = None;
    loop {
        let found = async {
            match &mut search {
                Some(search) => search.await,
                None => pending().await,
            }
        };
        let event = tokio::select! {
            polled = timeout(MAX_POLL, eventloop.poll()) => match polled {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => return Some(End::Failed(explained(&error))),
                Err(_) => return Some(End::Failed(format!("nothing moved for {} s", MAX_POLL.as_secs()))),
            },
            Some(leave) = leaves.recv() => {
                if leave == Leave::Silent {
                    route.brokers.silent();
                }
                return Some(End::Failed("given up".to_owned()));
            }
            index = found => return Some(End::Better(index)),
        };
        match &event {
            Event::Incoming(Packet::ConnAck(_)) => {
                search = route.better();
                events.send(Up::Broker(route.address())).await.ok()?;
            }
            Event::Incoming(Packet::PubAck(_)) => route.brokers.took(),
            Event::Incoming(Packet::Publish(publish)) if is_from_server(&publish.topic) => route.brokers.heard(),
            _ => {}
        }
        events.send(Up::Event(Box::new(event))).await.ok()?;
    }
}

/// Only the server writes on the topics that are subscribed, but for commands: whoever sends those says nothing about the server.
fn is_from_server(topic: &[u8]) -> bool {
    !topic.ends_with(b"/command")
}

async fn better(preferred: Vec<String>, after: Duration) -> usize {
    if preferred.is_empty() {
        return pending().await;
    }
    loop {
        sleep(after).await;
        for (index, address) in preferred.iter().enumerate() {
            if matches!(timeout(MAX_PROBE, TcpStream::connect(address)).await, Ok(Ok(_))) {
                return index;
            }
        }
    }
}

fn address(options: &MqttOptions) -> String {
    let (host, port) = options.broker_address();
    format!("{host}:{port}")
}

/// What went wrong and, where that is known, what to do about it.
fn explained(error: &ConnectionError) -> String {
    use ConnectReturnCode::{BadAuthenticationMethod, BadUserNamePassword, Banned, ClientIdentifierNotValid, NotAuthorized};
    if let ConnectionError::ConnectionRefused(code) = error {
        let advice = match code {
            BadUserNamePassword | NotAuthorized | Banned | BadAuthenticationMethod | ClientIdentifierNotValid => {
                "; this gateway has no account there, or another one: `pattoo-server gateway add` makes one and prints what the gateway needs"
            }
            _ => "",
        };
        return format!("refused: {code:?}{advice}");
    }
    let text = error.to_string();
    let advice = HINTS.iter().find(|(word, _)| text.contains(word)).map_or("", |(_, advice)| advice);
    format!("{text}{advice}")
}

/// Words in the errors of TLS, and what to do.
const HINTS: &[(&str, &str)] = &[
    ("UnknownIssuer", "; set uplink.ca to the authority that signed the broker's certificate"),
    ("NotValidForName", "; the URL must name the broker as its certificate does"),
    ("Expired", "; a certificate is too old, or the clock of this machine is wrong"),
    ("NotValidYet", "; the clock of this machine may be wrong"),
    ("ProtocolVersion", "; the broker must speak TLS 1.3"),
    ("CertificateRequired", "; the broker wants a certificate: set uplink.certificate and uplink.key"),
    ("CertificateUnknown", "; the broker does not accept uplink.certificate"),
    ("CertificateRevoked", "; the broker does not accept uplink.certificate any more"),
    ("BadCertificate", "; the broker does not accept uplink.certificate"),
    ("UnknownCA", "; the broker does not trust the authority that signed uplink.certificate"),
    ("InvalidContentType", "; the broker does not speak TLS on this port"),
    ("onnection refused", "; nothing listens there: is the broker running, and the port right?"),
];

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
    fn a_command_is_no_sign_of_the_server() {
        use pattoo_wire::topic::{ack, ask, command};
        let from_server = [ack("g1"), ask("g1"), command("g1")].map(|topic| is_from_server(topic.as_bytes()));
        assert_eq!(from_server, [true, true, false]);
    }

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_are_spread_between_half_and_all() {
        for _ in 0..1000 {
            let wait = jittered(LONGEST);
            assert!(wait >= LONGEST / 2 && wait <= LONGEST, "{wait:?}");
        }
    }
}
