//! Shell: the certificate of page and API: made or read at the start, read again when its files change, made again
//! before its end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::{error, info};

use crate::broker::tls::{self, TlsError};
use crate::clock;
use crate::config::{Config, Identity};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a certificate could not be made it is tried again.
const AGAIN_MS: i64 = 3600 * 1000;

/// What new connections are greeted with.
pub type Current = watch::Receiver<Arc<ServerConfig>>;

/// TLS of the listener for people.
pub struct Https {
    identity: Identity,
    listen: IpAddr,
    data: PathBuf,
    current: watch::Sender<Arc<ServerConfig>>,
    /// When the files were written that are in use.
    seen: Vec<Option<SystemTime>>,
    /// When it has to be made again, ms since 1970.
    due_ms: Option<i64>,
}

impl Https {
    /// What new connections are greeted with.
    #[must_use]
    pub fn current(&self) -> Current {
        self.current.subscribe()
    }
}

/// What the configuration asks for; none without TLS.
///
/// # Errors
/// A file is missing or wrong.
pub async fn open(config: &Config) -> Result<Option<Https>, TlsError> {
    let Some(identity) = config.http.tls.clone() else { return Ok(None) };
    let (listen, data) = (config.http.listen.ip(), config.data.clone());
    let made = tokio::task::spawn_blocking(move || {
        let seen = times(&identity);
        let (config, due_ms) = tls::web(&identity, listen, &data, clock::now_ms())?;
        Ok(Https { identity, listen, data, current: watch::Sender::new(config), seen, due_ms })
    });
    made.await.map_err(|e| TlsError::Library(e.to_string()))?.map(Some)
}

/// Takes a certificate that was renewed; one that is not in order yet leaves the old one in force. Never ends.
pub async fn renew(https: Option<Https>) {
    let Some(mut https) = https else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (identity, data, listen) = (https.identity.clone(), https.data.clone(), https.listen);
        let before = https.seen.clone();
        let now_ms = clock::now_ms();
        let due = https.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let looked = tokio::task::spawn_blocking(move || {
            let now = times(&identity);
            (due || now != before).then(|| (now, tls::web(&identity, listen, &data, now_ms)))
        });
        match looked.await {
            Ok(None) => {}
            Ok(Some((now, read))) => {
                https.seen = now;
                match read {
                    Ok((config, due_ms)) => {
                        https.due_ms = due_ms;
                        https.current.send_replace(config);
                        info!("new connections to page and API get the certificate as it is now");
                    }
                    Err(e) => {
                        https.due_ms = https.due_ms.map(|_| now_ms + AGAIN_MS);
                        error!("page and API: {e}; going on with the certificate as it was");
                    }
                }
            }
            Err(e) => error!("BUG: reading the certificate: {e}"),
        }
    }
}

fn times(identity: &Identity) -> Vec<Option<SystemTime>> {
    tls::files_of(identity).iter().map(|file| file.metadata().and_then(|meta| meta.modified()).ok()).collect()
}
