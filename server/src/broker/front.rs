//! Shell: a connection from its first byte to its end: TLS, its deadline, its rates, and the relay between client and broker.
//!
//! The broker's library would wait for one handshake before it accepts the next connection, speaks older TLS, takes a
//! client's word for its certificate and cannot end a session. Here it gets one end of a socket pair for each client, and
//! everything that passes goes through [`Meter`]. What is slow makes its own client wait, never another.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::MqttError;
use mqtt5::broker::BrokerConfig;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::caller::{Access, Caller, Door, Place};
use super::certificate::Certificate;
use super::limits::{AHEAD, BYTES_PER_S, Bucket, CONNECT_WITHIN, PACKETS_PER_S, SILENT_AT_MOST, TAKE_WITHIN};
use super::meter::{Breach, Meter};
use super::quiet::Reason;
use super::register::{Party, Register};

/// Bytes that pass at once.
const CHUNK_BYTES: usize = 16 << 10;
/// What the library still has to say to a client that has gone is waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What every connection needs of the broker.
pub(super) struct Front {
    pub(super) register: Arc<Register>,
    pub(super) config: BrokerConfig,
    pub(super) router: Arc<MessageRouter>,
    pub(super) stats: Arc<BrokerStats>,
    pub(super) monitor: Arc<ResourceMonitor>,
    pub(super) shutdown: broadcast::Sender<()>,
}

/// Where a connection comes in, before it has said anything.
#[derive(Clone)]
pub(super) enum Entry {
    Plain,
    Tls(Arc<ServerConfig>),
}

/// Why a relay ended.
enum End {
    /// The client closed, or its connection broke.
    ClientGone,
    /// The broker closed.
    BrokerGone,
    /// It was ended, and that was told.
    Refused(Reason, String),
}

/// No limits of the library's own: what passes is bounded here.
pub(super) fn monitor(clients: usize) -> ResourceMonitor {
    ResourceMonitor::new(ResourceLimits {
        max_connections: clients,
        max_connections_per_ip: clients,
        max_message_rate_per_client: 0,
        max_bandwidth_per_client: 0,
        max_connection_rate: u32::MAX,
        rate_limit_window: Duration::from_secs(1),
    })
}

/// Serves one connection.
pub(super) async fn serve(front: Arc<Front>, stream: TcpStream, peer: SocketAddr, entry: Entry, place: Place) {
    let deadline = Instant::now() + CONNECT_WITHIN;
    // Acknowledgements are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let party = Party { peer, client_id: None, account: None };
    let config = match entry {
        Entry::Plain => return carry(&front, stream, peer, (Door::Plain, place), deadline).await,
        Entry::Tls(config) => config,
    };
    let stream = match timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            let certificate = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
            let reason = match certificate {
                Some(rustls::Error::InvalidCertificate(_)) => Reason::Certificate,
                _ => Reason::Tls,
            };
            return front.register.refuse(reason, party, e);
        }
        Err(_) => return front.register.refuse(Reason::TooLate, party, format!("no TLS within {CONNECT_WITHIN:?}")),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = match shown.map(|shown| Certificate::read(shown)) {
        Some(None) => return front.register.refuse(Reason::Certificate, party, "its certificate has not exactly one common name"),
        Some(Some(certificate)) => Some(certificate),
        None => None,
    };
    carry(&front, stream, peer, (Door::Tls(certificate), place), deadline).await;
}

async fn carry<S>(front: &Front, stream: S, peer: SocketAddr, (door, place): (Door, Place), deadline: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let caller = Caller::new(front, peer, door, place);
    let (ours, theirs) = match socket_pair() {
        Ok(pair) => pair,
        Err(e) => return tracing::error!("no socket pair for {peer}: {e}"),
    };
    let access = Arc::new(Access(caller.clone()));
    let config = BrokerConfig { event_handler: Some(access.clone()), ..front.config.clone() };
    let handler = ClientHandler::new(
        BrokerTransport::tcp(theirs),
        peer,
        Arc::new(config),
        front.router.clone(),
        access,
        None,
        front.stats.clone(),
        front.monitor.clone(),
        front.shutdown.subscribe(),
    );
    let (served, end) = tokio::join!(handler.run(), relay(stream, ours, &caller, deadline));
    match (end, served) {
        (End::Refused(..), _) => {}
        (_, Err(MqttError::Timeout | MqttError::KeepAliveTimeout)) => caller.refuse(Reason::Silent, "nothing within its keep-alive time"),
        (_, Err(e)) if malformed(&e) => caller.refuse(Reason::Malformed, e),
        _ => {}
    }
}

/// Errors of the library that mean: these bytes are not MQTT.
fn malformed(error: &MqttError) -> bool {
    !error.is_normal_disconnect() && !matches!(error, MqttError::Io(_) | MqttError::AuthenticationFailed | MqttError::ServerShuttingDown)
}

/// Two ends of a connection within this process. The library takes TCP streams only, and to the system a stream is a stream:
/// reading, writing and closing are the same calls, nothing else is asked of it.
fn socket_pair() -> std::io::Result<(UnixStream, TcpStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
    Ok((UnixStream::from_std(ours)?, TcpStream::from_std(theirs)?))
}

async fn relay<S: AsyncRead + AsyncWrite + Unpin>(stream: S, broker: UnixStream, caller: &Caller, deadline: Instant) -> End {
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let (mut from_broker, mut to_broker) = broker.into_split();
    let (mut inside, mut ended) = (caller.inside.subscribe(), caller.end.subscribe());
    let end = tokio::select! {
        end = upward(&mut from_client, &mut to_broker, caller) => end,
        end = downward(&mut from_broker, &mut to_client) => end,
        reason = async {
            // The sender lives in `caller`: it cannot close before this.
            ended.wait_for(Option::is_some).await.ok().and_then(|reason| *reason).unwrap_or(Reason::Revoked)
        } => End::Refused(reason, "ended: its account is not what it was, or its name has one now".into()),
        () = async {
            if timeout_at(deadline, inside.wait_for(|inside| *inside)).await.is_ok() {
                std::future::pending::<()>().await;
            }
        } => End::Refused(Reason::TooLate, format!("no accepted CONNECT within {CONNECT_WITHIN:?}")),
    };
    if matches!(end, End::ClientGone) {
        // What it sent last, like DISCONNECT, is still to be read: closing at once would take that away.
        let _ = to_broker.shutdown().await;
        let mut rest = [0; 1024];
        let _ = timeout(LAST_WORDS, async { while from_broker.read(&mut rest).await.is_ok_and(|count| count > 0) {} }).await;
    } else {
        // Told before it is closed: whoever sees the end finds the reason in the log.
        if let End::Refused(reason, detail) = &end {
            caller.refuse(*reason, detail);
        }
        let _ = timeout(LAST_WORDS, to_client.shutdown()).await;
    }
    end
}

async fn upward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(from: &mut R, to: &mut W, caller: &Caller) -> End {
    let (mut meter, mut packets, mut bytes) = (Meter::default(), Bucket::default(), Bucket::default());
    let mut inside = caller.inside.subscribe();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match timeout(SILENT_AT_MOST, from.read(&mut chunk)).await {
            Ok(Ok(count @ 1..)) => count,
            Ok(_) => return End::ClientGone,
            Err(_) => return End::Refused(Reason::Silent, format!("nothing for {SILENT_AT_MOST:?}")),
        };
        let (piece, _) = chunk.split_at(count);
        let announced = match meter.follow(piece) {
            Ok(announced) => announced,
            Err(breach @ Breach::TooLarge { .. }) => return End::Refused(Reason::TooLarge, breach.to_string()),
            Err(breach) => return End::Refused(Reason::Malformed, breach.to_string()),
        };
        if to.write_all(piece).await.is_err() {
            // What the broker said before it closed is still on its way down, and ends the relay.
            return std::future::pending().await;
        }
        // Nothing more is read of a stranger than its CONNECT, and what came along with it.
        if meter.past_connect() && inside.wait_for(|inside| *inside).await.is_err() {
            return End::BrokerGone;
        }
        let now = std::time::Instant::now();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let wait = packets.take(now, announced, PACKETS_PER_S, AHEAD).max(bytes.take(now, count, BYTES_PER_S, AHEAD));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

async fn downward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(from: &mut R, to: &mut W) -> End {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match from.read(&mut chunk).await {
            Ok(count @ 1..) => count,
            _ => return End::BrokerGone,
        };
        let (piece, _) = chunk.split_at(count);
        let hand_over = async {
            to.write_all(piece).await?;
            to.flush().await
        };
        match timeout(TAKE_WITHIN, hand_over).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::ClientGone,
            Err(_) => return End::Refused(Reason::SlowReader, format!("it did not take {count} bytes within {TAKE_WITHIN:?}")),
        }
    }
}
