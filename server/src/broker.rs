//! Shell: the embedded MQTT broker, over the library mqtt5: its listeners, its limits, its end.
//!
//! It does not store, acknowledge or understand messages: ingest is a client of it like of any other broker, by a `link` within this
//! process. Nothing of the library listens: each connection comes in by `front`, which bounds it, and is judged by its own `caller`.
//!
//! | room | kind | holds |
//! |---|---|---|
//! | `access` | pure | who may do what |
//! | `accounts` | pure, `accounts/file` shell | gateways' accounts and their file |
//! | `certificate` | pure | whose a client certificate is |
//! | `limits`, `meter`, `quiet` | pure | how much, how large, how often told |
//! | `authority` | neither files nor sockets | makes certificates |
//! | `tls` | shell | certificates as files, TLS 1.3 |
//! | `register` | shell | accounts as they are now, who is admitted |
//! | `caller`, `front` | shell | one connection |
//! | `link` | shell | ingest as a client |

pub mod access;
pub mod accounts;
pub mod authority;
mod caller;
pub mod certificate;
#[cfg(test)]
mod end_to_end;
mod front;
pub mod limits;
pub mod link;
pub mod meter;
pub mod quiet;
pub mod register;
pub mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use mqtt5::broker::BrokerConfig;
use mqtt5::broker::config::{
    AuthConfig, ChangeOnlyDeliveryConfig, EchoSuppressionConfig, ServerDeliveryStrategy, StorageBackend, StorageConfig,
};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use accounts::hex;
use caller::Place;
use front::{Entry, Front};
use limits::{Doors, Full, PUBLIC};
use link::Link;
pub use meter::MAX_PACKET_BYTES;
use quiet::{Reason, TELL_EVERY};
use register::{Party, Register, hold};
use tls::TlsError;

use crate::config::Tls;

/// Most subscriptions of one client.
const MAX_SUBSCRIPTIONS: usize = 64;
/// Most messages on their way to one client, and as many that wait behind them; older ones go.
const MAX_QUEUED: usize = 1024;
/// Most bytes that wait for one client.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Most unacknowledged messages from one client; a gateway has at most 1000 under way.
const RECEIVE_MAXIMUM: u16 = 1024;
/// What the system holds for a client that does not read, in bytes.
const SEND_BUFFER_BYTES: u32 = 256 << 10;
/// Connections that the system holds until we take them.
const BACKLOG: u32 = 1024;
/// How often what clients left behind is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often the files of the certificate are looked at.
const LOOK_AT_FILES_EVERY: Duration = Duration::from_secs(10);
/// Pause when the system gives no connection, because there is no memory or no file for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Clients have so long to hear that the broker stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The broker could not do it.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The address is taken or not there.
    #[error("MQTT broker cannot listen on {listen}: {what}; set `broker: {{ listen: … }}` to a free address (port 0 takes any)")]
    Listen {
        /// Address.
        listen: SocketAddr,
        /// What the system said.
        what: String,
    },
    /// Its certificate.
    #[error("MQTT broker: {0}")]
    Tls(#[from] TlsError),
    /// No randomness from the system.
    #[error("no random numbers from the system: {0}")]
    Random(String),
}

/// An account at a broker.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// Where it listens.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    /// Without TLS.
    pub plain: Option<SocketAddr>,
    /// With TLS, and the data folder that holds the server's own authority.
    pub tls: Option<(Tls, PathBuf)>,
}

/// A broker that is bound to its addresses and not running yet.
pub struct Broker {
    plain: Option<(TcpListener, SocketAddr)>,
    tls: Option<Secure>,
    router: Arc<MessageRouter>,
    register: Arc<Register>,
    stop: watch::Sender<bool>,
}

/// The listener with TLS.
struct Secure {
    listener: TcpListener,
    address: SocketAddr,
    tls: Tls,
    data: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// Stops a broker from elsewhere.
#[derive(Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Ends its clients and lets [`Broker::run`] end.
    pub fn shutdown(&self) {
        self.0.send_replace(true);
    }
}

impl Broker {
    /// Takes the addresses.
    ///
    /// # Errors
    /// One cannot be had, or the certificate is not in order.
    pub async fn bind(listeners: Listeners, register: Arc<Register>) -> Result<Self, BrokerError> {
        let plain = listeners.plain.map(listen).transpose()?;
        let tls = match listeners.tls {
            None => None,
            Some((tls, data)) => {
                let (listener, address) = listen(tls.listen)?;
                let made = (tls.clone(), data.clone());
                let config = tokio::task::spawn_blocking(move || tls::server(&made.0, &made.1)).await;
                let config = config.map_err(|e| TlsError::Library(e.to_string()))??;
                Some(Secure { listener, address, tls, data, config: RwLock::new(config) })
            }
        };
        Ok(Self { plain, tls, router: Arc::new(router()), register, stop: watch::Sender::new(false) })
    }

    /// The address without TLS, with its real port.
    #[must_use]
    pub fn plain(&self) -> Option<SocketAddr> {
        self.plain.as_ref().map(|(_, address)| *address)
    }

    /// The address with TLS, with its real port.
    #[must_use]
    pub fn secure(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|tls| tls.address)
    }

    /// How ingest comes in.
    ///
    /// # Errors
    /// No randomness from the system.
    pub fn link(&self) -> Result<Link, BrokerError> {
        Link::new(self.router.clone())
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Serves until it is stopped.
    pub async fn run(self) {
        let front = Arc::new(front(self.register.clone(), self.router.clone()));
        let mut stopped = self.stop.subscribe();
        let connections = Mutex::new(JoinSet::new());
        let public = Arc::new(Mutex::new(Doors::new(PUBLIC)));
        let gate = |listener, doors: &Arc<Mutex<Doors>>| Gate { listener, doors: doors.clone(), front: &front, connections: &connections };
        tokio::select! {
            () = async {
                match &self.plain {
                    Some((listener, _)) => gate(listener, &public).open(|| Entry::Plain).await,
                    None => std::future::pending().await,
                }
            } => {}
            () = async {
                match &self.tls {
                    Some(tls) => tokio::join!(gate(&tls.listener, &public).open(|| Entry::Tls(tls.now())), tls.renew()).0,
                    None => std::future::pending().await,
                }
            } => {}
            () = self.register.clone().watch() => {}
            () = sweep(&front.router, &public, &self.register) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        // Nobody listens to it where there are no clients.
        let _ = front.shutdown.send(());
        let mut connections = std::mem::take(&mut *hold(&connections));
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            warn!("{} clients did not end within {STOP_WITHIN:?}", connections.len());
        }
    }
}

impl Secure {
    fn now(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Takes a certificate that was renewed; one that is not in order yet leaves the old one in force.
    async fn renew(&self) {
        let files = tls::files(&self.tls);
        let mut seen = None;
        let mut ticks = tokio::time::interval(LOOK_AT_FILES_EVERY);
        loop {
            ticks.tick().await;
            let (watched, tls, data) = (files.clone(), self.tls.clone(), self.data.clone());
            let times = move || watched.iter().map(|file| file.metadata().and_then(|meta| meta.modified()).ok()).collect::<Vec<_>>();
            let Ok(times) = tokio::task::spawn_blocking(times).await else { continue };
            let before: Option<Vec<Option<SystemTime>>> = seen.replace(times.clone());
            if before.is_none_or(|before| before == times) {
                continue;
            }
            match tokio::task::spawn_blocking(move || tls::server(&tls, &data)).await {
                Ok(Ok(config)) => {
                    *self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
                    info!("read the certificate for TLS again");
                }
                Ok(Err(e)) => error!("{e}; going on with the certificate as it was"),
                Err(e) => error!("BUG: reading the certificate: {e}"),
            }
        }
    }
}

/// A listener with its door.
struct Gate<'a> {
    listener: &'a TcpListener,
    doors: Arc<Mutex<Doors>>,
    front: &'a Arc<Front>,
    connections: &'a Mutex<JoinSet<()>>,
}

impl Gate<'_> {
    /// Lets connections in for ever.
    async fn open(self, entry: impl Fn() -> Entry) {
        let mut told: Option<tokio::time::Instant> = None;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer, entry()),
                Err(e) => {
                    if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                        told = Some(tokio::time::Instant::now());
                        error!("no connection can be accepted: {e}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            let mut connections = hold(self.connections);
            while let Some(ended) = connections.try_join_next() {
                if let Err(e) = ended {
                    error!("BUG: a connection of the broker: {e}");
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, entry: Entry) {
        let refuse = |reason, what: &str| self.front.register.refuse(reason, Party { peer, client_id: None, account: None }, what);
        match Place::take(&self.doors, peer.into()) {
            Ok(place) => {
                hold(self.connections).spawn(front::serve(self.front.clone(), stream, peer, entry, place));
            }
            Err(Full::Rate) => refuse(Reason::TooManyConnects, "too many connections per second from its address"),
            Err(Full::SourceWaits) => {
                refuse(Reason::TooManyConnects, "too many connections from its address that have not said who they are")
            }
            Err(Full::AllWait) => refuse(Reason::TooManyConnects, "too many connections that have not said who they are"),
            Err(Full::Clients) => refuse(Reason::TooManyClients, "as many clients as there may be"),
        }
    }
}

async fn sweep(router: &MessageRouter, doors: &Mutex<Doors>, register: &Register) {
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    let mut counts = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = sweeps.tick() => router.sweep_sessions().await,
            _ = counts.tick() => register.count_waiting(hold(doors).counts().0),
        }
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for connections of the run before.
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    open().map_err(|e: std::io::Error| BrokerError::Listen { listen: address, what: e.to_string() })
}

fn router() -> MessageRouter {
    let queues = QueueLimits { max_messages: MAX_QUEUED, max_bytes: MAX_QUEUED_BYTES };
    // What is retained is bounded for each gateway (`limits::Retained`); the library's own bound is for all and would let one
    // take the room of others.
    MessageRouter::new().with_fallback_queue_limits(queues).with_retained_limits(0, 0)
}

fn front(register: Arc<Register>, router: Arc<MessageRouter>) -> Front {
    Front {
        register,
        config: config(),
        router,
        stats: Arc::new(BrokerStats::new()),
        monitor: Arc::new(front::monitor(PUBLIC.clients)),
        shutdown: broadcast::channel(1).0,
    }
}

/// Everything is named, so that a new default of the library opens nothing.
fn config() -> BrokerConfig {
    BrokerConfig {
        bind_addresses: Vec::new(),
        max_clients: PUBLIC.clients,
        // A session ends with its connection: gateways hold what is not acknowledged, and ask again for the rest.
        session_expiry_interval: Duration::ZERO,
        max_packet_size: MAX_PACKET_BYTES,
        topic_alias_maximum: 16,
        retain_available: true,
        // What is sent with 2 is held until its second half comes: a thousand packets of 2 MiB for each client.
        maximum_qos: 1,
        wildcard_subscription_available: true,
        subscription_identifier_available: true,
        shared_subscription_available: true,
        max_subscriptions_per_client: MAX_SUBSCRIPTIONS,
        max_retained_messages: 0,
        max_retained_message_size: 0,
        client_channel_capacity: MAX_QUEUED,
        max_outbound_inflight: 64,
        drain_batch: 64,
        server_keep_alive: None,
        server_receive_maximum: Some(RECEIVE_MAXIMUM),
        response_information: None,
        // Each connection has its own `Access`.
        auth_config: AuthConfig { allow_anonymous: false, ..AuthConfig::default() },
        tls_config: None,
        websocket_config: None,
        websocket_tls_config: None,
        quic_config: None,
        cluster_listener_config: None,
        // None: gateways publish schema and status again when they connect, and readings wait in their buffers.
        storage_config: StorageConfig {
            backend: StorageBackend::Memory,
            base_dir: std::path::PathBuf::new(),
            cleanup_interval: SWEEP_EVERY,
            enable_persistence: false,
            max_queued_messages_per_client: MAX_QUEUED,
            max_queued_bytes_per_client: MAX_QUEUED_BYTES,
        },
        change_only_delivery_config: ChangeOnlyDeliveryConfig::default(),
        echo_suppression_config: EchoSuppressionConfig::default(),
        sys_topics_enabled: false,
        sys_topics_interval: Duration::from_secs(60),
        max_outbound_rate_per_client: 0,
        max_message_rate_per_client: 0,
        max_bandwidth_per_client: 0,
        server_delivery_strategy: ServerDeliveryStrategy::default(),
        bridges: Vec::new(),
        load_balancer: None,
        event_handler: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_library_listens_or_stores() {
        let config = config();
        assert!(config.bind_addresses.is_empty() && config.bridges.is_empty() && !config.sys_topics_enabled);
        assert!(config.tls_config.is_none() && config.websocket_config.is_none() && config.cluster_listener_config.is_none());
        assert!(config.storage_config.backend == StorageBackend::Memory && !config.storage_config.enable_persistence);
        assert!(!config.auth_config.allow_anonymous && config.session_expiry_interval.is_zero());
    }
}
