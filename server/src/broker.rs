//! Shell: the embedded MQTT broker, a thin adapter over mqtt5 that sets every default and says who may do what.
//!
//! It does not store, acknowledge or understand messages: ingest is a client of it like of any other broker. It listens on
//! loopback only, where gateways need no account; only ingest, by a password that lives as long as the process, may
//! publish acknowledgements, because a forged one would make a gateway throw readings away.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::broker::config::{
    AuthConfig, ChangeOnlyDeliveryConfig, EchoSuppressionConfig, ServerDeliveryStrategy, StorageBackend, StorageConfig,
};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use pattoo_wire::topic;
use thiserror::Error;

/// Largest packet, in bytes: a schema of 1 MiB and room for its topic and properties, doubled.
pub const MAX_PACKET_BYTES: usize = 2 << 20;
/// Most clients at once: gateways, ingest, people's tools.
const MAX_CLIENTS: usize = 1024 + 64;
/// Most subscriptions of one client.
const MAX_SUBSCRIPTIONS: usize = 64;
/// Most retained messages: 64 schemas and a status of each of 128 gateways, or fewer schemas of more gateways.
const MAX_RETAINED: usize = 8192;
/// Most messages that wait for one client.
const MAX_QUEUED: usize = 1024;
/// Most bytes that wait for one client that is away.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// How long a session outlives its connection, at most.
const SESSION_EXPIRY: Duration = Duration::from_secs(3600);
/// How often expired sessions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Most unacknowledged messages from one client; a gateway has at most 1000 under way.
const RECEIVE_MAXIMUM: u16 = 1024;

/// The user that ingest is.
const INGEST: &str = "pattoo-server";

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
    /// It stopped by itself.
    #[error("MQTT broker stopped: {0}")]
    Stopped(String),
    /// No randomness from the system.
    #[error("no random numbers from the system: {0}")]
    Random(String),
}

/// Who ingest is at the broker: known to this process only.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password, random for each start.
    pub password: String,
}

/// A broker that is bound to its address and not running yet.
pub struct Broker {
    broker: MqttBroker,
    address: SocketAddr,
    login: Login,
}

impl Broker {
    /// Takes the address.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(listen: SocketAddr) -> Result<Self, BrokerError> {
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|e| BrokerError::Random(e.to_string()))?;
        let password = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let login = Login { user: INGEST.into(), password };
        let failed = |what: String| BrokerError::Listen { listen, what };
        let broker = MqttBroker::with_config(config(listen)).await.map_err(|e| failed(e.to_string()))?;
        let broker = broker.with_auth_provider(Arc::new(Access { password: login.password.clone() }));
        let address = broker.local_addr().ok_or_else(|| failed("no listener".into()))?;
        Ok(Self { broker, address, login })
    }

    /// The address it has, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How ingest logs in.
    #[must_use]
    pub fn login(&self) -> Login {
        self.login.clone()
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> BrokerShutdownHandle {
        self.broker.shutdown_handle()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// It cannot start or go on.
    pub async fn run(mut self) -> Result<(), BrokerError> {
        self.broker.run().await.map_err(|e| BrokerError::Stopped(e.to_string()))
    }
}

/// Everything is named, so that a new default of the library opens nothing.
fn config(listen: SocketAddr) -> BrokerConfig {
    BrokerConfig {
        bind_addresses: vec![listen],
        max_clients: MAX_CLIENTS,
        session_expiry_interval: SESSION_EXPIRY,
        max_packet_size: MAX_PACKET_BYTES,
        topic_alias_maximum: 16,
        retain_available: true,
        maximum_qos: 2,
        wildcard_subscription_available: true,
        subscription_identifier_available: true,
        shared_subscription_available: true,
        max_subscriptions_per_client: MAX_SUBSCRIPTIONS,
        max_retained_messages: MAX_RETAINED,
        max_retained_message_size: MAX_PACKET_BYTES,
        client_channel_capacity: MAX_QUEUED,
        max_outbound_inflight: 64,
        drain_batch: 64,
        server_keep_alive: None,
        server_receive_maximum: Some(RECEIVE_MAXIMUM),
        response_information: None,
        // Replaced by `Access` before the first client is let in; without a password file the library takes no other.
        auth_config: AuthConfig { allow_anonymous: true, ..AuthConfig::default() },
        tls_config: None,
        websocket_config: None,
        websocket_tls_config: None,
        quic_config: None,
        cluster_listener_config: None,
        // In memory: gateways publish schema and status again when they connect, and readings wait in their buffers.
        storage_config: StorageConfig {
            backend: StorageBackend::Memory,
            base_dir: std::path::PathBuf::new(),
            cleanup_interval: SWEEP_EVERY,
            enable_persistence: true,
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

/// Who may do what.
struct Access {
    password: String,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Access {
    fn authenticate<'a>(&'a self, connect: &'a ConnectPacket, from: SocketAddr) -> Answer<'a, mqtt5::Result<AuthResult>> {
        let user = connect.username.as_deref();
        let result = admit(&self.password, user, connect.password.as_deref(), from);
        Box::pin(async { Ok(result) })
    }

    fn authorize_publish<'a>(&'a self, _client: &str, user: Option<&'a str>, topic: &'a str) -> Answer<'a, bool> {
        let allowed = may_publish(user, topic);
        Box::pin(async move { allowed })
    }

    fn authorize_subscribe<'a>(&'a self, _client: &str, _user: Option<&'a str>, filter: &'a str) -> Answer<'a, bool> {
        let allowed = may_subscribe(filter);
        Box::pin(async move { allowed })
    }
}

fn admit(ours: &str, user: Option<&str>, password: Option<&[u8]>, from: SocketAddr) -> AuthResult {
    match (user, password) {
        (Some(INGEST), Some(password)) if same(password, ours.as_bytes()) => AuthResult::success_with_user(INGEST),
        (None, None) if from.ip().to_canonical().is_loopback() => AuthResult::success(),
        (None, _) => AuthResult::fail_with_reason(ReasonCode::NotAuthorized, "without an account from this machine only"),
        (Some(_), _) => {
            AuthResult::fail_with_reason(ReasonCode::BadUsernameOrPassword, "no such account; from this machine none is needed")
        }
    }
}

/// Compares in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn may_publish(user: Option<&str>, topic: &str) -> bool {
    match user {
        Some(INGEST) => topic.starts_with(topic::ROOT) && topic.ends_with("/ack"),
        _ => topic::parse(topic).is_some(),
    }
}

/// Readings are no secret on the machine that stores them.
fn may_subscribe(filter: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    filter.starts_with("pattoo/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ingest_may_acknowledge() {
        let ingest = Some(INGEST);
        for (user, topic, allowed) in [
            (None, "pattoo/v1/g1/data", true),
            (None, "pattoo/v1/g1/schema/deadbeef", true),
            (None, "pattoo/v1/g1/status", true),
            (None, "pattoo/v1/g1/ack", false),
            (None, "pattoo/v1/g1/command", false),
            (None, "pattoo/v1/a/b/data", false),
            (None, "other", false),
            (None, "$SYS/x", false),
            (ingest, "pattoo/v1/g1/ack", true),
            (ingest, "pattoo/v1/g1/data", false),
            (ingest, "ack", false),
        ] {
            assert_eq!(may_publish(user, topic), allowed, "{user:?} {topic}");
        }
    }

    #[test]
    fn subscriptions_stay_under_our_root() {
        for (filter, allowed) in [
            ("pattoo/#", true),
            ("pattoo/v1/+/data", true),
            ("$share/group/pattoo/v1/+/data", true),
            ("#", false),
            ("+/v1/g1/data", false),
            ("$SYS/#", false),
            ("$share/group/#", false),
            ("$share/pattoo/", false),
        ] {
            assert_eq!(may_subscribe(filter), allowed, "{filter}");
        }
    }

    #[test]
    fn accounts_are_for_ingest_and_strangers_are_for_loopback() {
        let (near, far) = ("127.0.0.1:5".parse().unwrap(), "192.0.2.1:5".parse().unwrap());
        let mapped = "[::ffff:127.0.0.1]:5".parse().unwrap();
        for (user, password, from, admitted, as_user) in [
            (None, None, near, true, None),
            (None, None, mapped, true, None),
            (None, None, far, false, None),
            (Some(INGEST), Some("secret"), near, true, Some(INGEST)),
            (Some(INGEST), Some("Secret"), near, false, None),
            (Some(INGEST), None, near, false, None),
            (Some("g1"), Some("secret"), near, false, None),
            (None, Some("secret"), near, false, None),
        ] {
            let result = admit("secret", user, password.map(str::as_bytes), from);
            assert_eq!((result.authenticated, result.user_id.as_deref()), (admitted, as_user), "{user:?} {password:?} {from}");
        }
    }

    #[test]
    fn nothing_listens_but_the_given_address() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = config(listen);
        assert_eq!(config.bind_addresses, [listen]);
        assert!(config.tls_config.is_none() && config.websocket_config.is_none() && config.cluster_listener_config.is_none());
        assert_eq!(config.storage_config.backend, StorageBackend::Memory);
    }
}
