//! Shell: starts the server's parts in order, waits, stops them in reverse. The only place that spawns and that names backends.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rumqttc::TlsConfiguration;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::api;
use crate::api::listener::{Bounded, MAX_CONNECTIONS};
use crate::auth::{Auth, Door};
use crate::broker::register::Register;
use crate::broker::{Broker, Listeners, Login, tls};
use crate::certificates;
use crate::clock;
use crate::config::{self, Config};
use crate::control;
use crate::dashboards::Dashboards;
use crate::favourites::Favourites;
use crate::https;
use crate::ingest::{self, BrokerAddress, Core, Letters, Upstream};
use crate::live::Live;
use crate::people;
use crate::service;
use crate::store::Store;
use crate::store::retention::{Forced, Retained, Retention};
use crate::translations::file::Kept;

mod stores;

pub(crate) use stores::{open_store, open_victoria_alone};

/// All parts together have this long to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// The service manager is told that the server is ready after this time also without a connection to the broker.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Open HTTP connections have this long to end.
const HTTP_STOP_WITHIN: Duration = Duration::from_secs(2);
/// How often old readings are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// Most connections of old agents at once; each posts every few minutes.
const AGENT_CONNECTIONS: usize = 64;
/// Open files for 1088 clients and 256 that wait, three each, and for 320 HTTP connections, the store's 768 and a reserve.
const OPEN_FILES: u64 = 5184;
/// Largest credentials file, in bytes.
const MAX_SECRET_BYTES: u64 = 1 << 20;

/// What `pattoo-server run` was told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Configuration file; the default one where absent, which need not be there.
    pub config: Option<PathBuf>,
    /// Data folder, over file and environment.
    pub data: Option<PathBuf>,
    /// File that gets the addresses once the server is ready.
    pub ready_file: Option<PathBuf>,
}

/// What the ready file says.
#[derive(Debug, Serialize)]
struct Addresses {
    /// Page and API.
    http: SocketAddr,
    /// Embedded broker without TLS; absent with another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    /// The same with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts: Option<SocketAddr>,
    /// Where old agents post; absent where that is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<SocketAddr>,
}

/// Serves until `stop` is done.
///
/// # Errors
/// A part that cannot start, or stopped by itself.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let config = load(&options)?;
    let live = Arc::new(Live::default());
    if let Some(file) = &options.ready_file {
        forget(file).with_context(|| format!("ready file {}", file.display()))?;
    }

    let store = {
        let config = config.clone();
        blocking(move || open_store(&config)).await??
    };
    let letters = Letters::new(&config.data.join("dead-letter"));
    let core = {
        let (store, live) = (store.clone(), live.clone());
        blocking(move || Core::new(store, letters, live)).await??.with_max_future(config.max_future).with_max_series(config.max_series)
    };
    let http = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("HTTP cannot listen on {}; set `http: {{ listen: … }}` to a free address", config.http.listen))?;
    let web_tls = https::open(&config).await.context("page and API")?;
    let proxies = config.http.proxies.clone();
    let door = Door { anonymous: config.http.anonymous, secure: web_tls.is_some(), port: http.local_addr()?.port(), proxies };
    let auth = {
        let data = config.data.clone();
        blocking(move || Auth::open(&data, door)).await??
    };
    let agents = listen_for_agents(config.agents.as_ref()).await?;
    raise_open_files();
    let (broker, upstream) = open_broker(&config, live.clone()).await?;
    let addresses = Addresses {
        http: http.local_addr()?,
        mqtt: broker.as_ref().and_then(Broker::plain),
        mqtts: broker.as_ref().and_then(Broker::secure),
        agents: agents.as_ref().map(TcpListener::local_addr).transpose()?,
    };
    let core = core.shared();

    let with_agents = addresses.agents.is_some();
    let (stopping, stopped) = watch::channel(false);
    let broker_stop = broker.as_ref().map(Broker::stopper);
    let mut broker_task = broker.map_or_else(|| tokio::spawn(std::future::pending()), |broker| tokio::spawn(broker.run()));
    let mut ingest_task = tokio::spawn(ingest::run(upstream, core.clone(), live.clone(), stopped.clone()));
    let mut agents_task = match agents {
        Some(listener) => {
            let allow = config.agents.as_ref().map(|agents| agents.allow.clone()).unwrap_or_default();
            tokio::spawn(serve_agents(listener, allow, core.clone(), live.clone(), stopped.clone()))
        }
        None => tokio::spawn(std::future::pending()),
    };
    let pages = {
        let config = config.clone();
        blocking(move || pages(&config)).await?
    };
    let dashboards_task = tokio::spawn(pages.dashboards.clone().watch(stopped.clone()));
    let translations_task = tokio::spawn(pages.translations.clone().watch(stopped.clone()));
    let state = api::ApiState::new(store.clone(), live.clone(), pages, auth.clone(), stopped.clone());
    let certificate = web_tls.as_ref().map(https::Https::current);
    let http = Bounded::new(http, MAX_CONNECTIONS).with_tls(certificate).behind(&config.http.proxies);
    let mut http_task = tokio::spawn(serve(http, state, stopped.clone()));
    let renew_task = tokio::spawn(https::renew(web_tls));
    let users_task = tokio::spawn(auth.clone().watch());
    tokio::spawn(control::serve(control::listen(&config.data), config.data.clone(), store.clone(), stopped.clone()));
    let expire_task = tokio::spawn(retain(store.clone(), config.retention));
    let certificates_task = tokio::spawn(certificates::watch(config.clone(), live.clone()));
    invite(&auth, &config, addresses.http).await?;
    let fed_task = tokio::spawn(service::feed_manager(core, store));
    let ready_task = tokio::spawn(announce(live.clone(), addresses, options.ready_file.clone()));

    let ended = tokio::select! {
        () = stop => Ok(()),
        end = &mut broker_task => Err(format!("broker: {end:?}")),
        end = &mut ingest_task => Err(format!("ingest: {end:?}")),
        end = &mut http_task => Err(format!("http: {end:?}")),
        end = &mut agents_task => Err(format!("agents: {end:?}")),
    };
    service::stopping().await;
    info!("stopping");
    ready_task.abort();
    fed_task.abort();
    expire_task.abort();
    certificates_task.abort();
    renew_task.abort();
    users_task.abort();
    dashboards_task.abort();
    translations_task.abort();
    stopping.send_replace(true);
    let reverse = async {
        // A page that follows live values keeps its connection as long as it is let.
        if tokio::time::timeout(HTTP_STOP_WITHIN, finish("http", &mut http_task)).await.is_err() {
            http_task.abort();
        }
        if with_agents && tokio::time::timeout(HTTP_STOP_WITHIN, finish("agents", &mut agents_task)).await.is_err() {
            agents_task.abort();
        }
        finish("ingest", &mut ingest_task).await;
        if let Some(stopper) = broker_stop {
            stopper.shutdown();
            finish("broker", &mut broker_task).await;
        }
    };
    if tokio::time::timeout(STOP_WITHIN, reverse).await.is_err() {
        warn!("not everything stopped within {STOP_WITHIN:?}; what is stored is stored");
    }
    match ended {
        Ok(()) => info!("stopped"),
        Err(part) => bail!("a part of the server ended by itself: {part}"),
    }
    Ok(())
}

pub(crate) fn load(options: &Options) -> Result<Config> {
    let file = options.config.as_deref().unwrap_or(Path::new(config::DEFAULT_FILE));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && options.config.is_none() => String::new(),
        Err(e) => bail!("{}: cannot be read: {e}", file.display()),
    };
    let mut config = config::parse(file, &text, |name| std::env::var(name).ok())?;
    if let Some(data) = &options.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// What people made for the page.
fn pages(config: &Config) -> api::Pages {
    let dashboards = config.dashboards.clone().unwrap_or_else(|| config.data.join("dashboards"));
    let favourites = Favourites::new(config.data.join("favourites"));
    api::Pages {
        dashboards: Arc::new(Dashboards::new(dashboards)),
        favourites: Arc::new(favourites),
        zone: config.zone.clone(),
        translations: Kept::open(&config.data),
        language: config.language.clone(),
    }
}

/// The embedded broker, if it is ours to run, and how ingest reaches the one that is used.
async fn open_broker(config: &Config, live: Arc<Live>) -> Result<(Option<Broker>, Upstream)> {
    match config.broker.clone() {
        config::Broker::Embedded { plain, tls } => {
            let data = config.data.clone();
            let register = blocking(move || Register::open(&data, live)).await??;
            let tls = tls.map(|tls| (tls, config.data.clone()));
            let broker = Broker::bind(Listeners { plain, tls }, register).await?;
            let link = broker.link()?;
            Ok((Some(broker), Upstream::Embedded(link)))
        }
        config::Broker::External { host, port, tls, credentials, ca, certificate } => {
            let login = credentials.as_deref().map(read_login).transpose()?;
            let own = certificate.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
            let tls = tls.then(|| tls::client(ca.as_deref(), own)).transpose()?;
            let tls = tls.map(|config| TlsConfiguration::Rustls(Arc::new(config)));
            Ok((None, Upstream::External(BrokerAddress { host, port, login, tls })))
        }
    }
}

/// The port of old agents. One that nobody asked for and that is taken is no reason not to serve the rest.
async fn listen_for_agents(agents: Option<&config::Agents>) -> Result<Option<TcpListener>> {
    let Some(agents) = agents else { return Ok(None) };
    match TcpListener::bind(agents.listen).await {
        Ok(listener) => Ok(Some(listener)),
        Err(e) if !agents.asked => {
            warn!("no port for old agents at {}: {e}; `agents: {{ listen: … }}` names another one, or `off`", agents.listen);
            Ok(None)
        }
        Err(e) => {
            Err(e).with_context(|| format!("agents cannot post to {}; set `agents: {{ listen: … }}` to a free address", agents.listen))
        }
    }
}

/// The port of old agents until `stopped`: its HTTP, and what brings bodies to the store.
async fn serve_agents(
    listener: TcpListener,
    allow: Vec<config::Network>,
    core: ingest::SharedCore,
    live: Arc<Live>,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (router, queue) = ingest::agents::service(allow, live);
    let storing = ingest::agents::run(queue, core, stopped.clone());
    let stop = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let listener = Bounded::new(listener, AGENT_CONNECTIONS);
    let service = router.into_make_service_with_connect_info::<ingest::agents::Peer>();
    let (served, ()) = tokio::join!(axum::serve(listener, service).with_graceful_shutdown(stop), storing);
    served
}

/// As many open files as the system lets this process have: each client of the broker takes three.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || limit.current.is_some_and(|files| files < OPEN_FILES) {
        warn!("this process may have {:?} open files, {OPEN_FILES} let it serve all the clients that it takes", limit.current);
    }
}

fn read_login(file: &Path) -> Result<Login> {
    let text = String::from_utf8(read_secret(file)?).with_context(|| format!("{}: not UTF-8", file.display()))?;
    match text.trim_end_matches(['\n', '\r']).split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.contains('\n') => {
            Ok(Login { user: user.to_owned(), password: password.to_owned() })
        }
        _ => bail!("{}: expected one line `user:password`", file.display()),
    }
}

fn read_secret(file: &Path) -> Result<Vec<u8>> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::open(file)?, MAX_SECRET_BYTES), &mut bytes)?;
        Ok(bytes)
    };
    read().with_context(|| format!("{}: cannot be read", file.display()))
}

/// HTTP until `stopped`.
async fn serve(listener: Bounded, state: api::ApiState, mut stopped: watch::Receiver<bool>) -> std::io::Result<()> {
    let stop = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let service = api::router(state).into_make_service_with_connect_info::<ingest::agents::Peer>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

/// Prints the link for the first user, where there is none yet. Only there: a log may be read by others.
async fn invite(auth: &Auth, config: &Config, http: SocketAddr) -> Result<()> {
    if let Some(secret) = auth.set_up().await? {
        let link = people::link(&people::address(config, http.port()), &secret);
        let told =
            format!("\nNobody has logged in to this server yet. To set it up, open this link (good once, for 24 h):\n\n  {link}\n\n");
        if std::io::stdout().write_all(told.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err() {
            warn!("the set-up link could not be printed; `pattoo-server user link` makes another one");
        }
        info!("waiting for the first user; the set-up link was printed");
    }
    Ok(())
}

/// Keeps what is to be kept, and drops the rest.
async fn retain(store: Arc<dyn Store>, retention: Retention) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    loop {
        ticks.tick().await;
        let store = store.clone();
        match blocking(move || store.retain(&retention, clock::now_ms())).await {
            Ok(Ok(retained)) => tell_retained(&retained, &retention),
            Ok(Err(e)) => error!(error = %e, "old readings were not deleted; trying again in {EXPIRE_EVERY:?}"),
            Err(e) => error!("BUG: deleting old readings: {e}"),
        }
    }
}

fn tell_retained(retained: &Retained, retention: &Retention) {
    if retained.aged > 0 {
        info!(readings = retained.aged, "deleted readings that were older than `retention` says");
    }
    let most = retention.max_bytes.unwrap_or_default();
    for Forced { class, days, bytes, last_day_ms } in &retained.forced {
        let through = jiff::Timestamp::from_millisecond(*last_day_ms).map_or_else(|_| last_day_ms.to_string(), |day| day.to_string());
        warn!(class, days, bytes, through, "the store took more than `retention: max_bytes` ({most} bytes): its oldest days were deleted");
    }
    if let Some(bytes) = retained.over_bytes {
        warn!(bytes, "the store takes more than `retention: max_bytes` ({most} bytes) and has nothing that may be deleted; raise it");
    }
}

/// Says where the server is, once readings can come in.
async fn announce(live: Arc<Live>, addresses: Addresses, ready_file: Option<PathBuf>) {
    // A broker that is out of reach is no reason to be restarted: what is stored is served all the same.
    let subscribed = tokio::time::timeout(READY_WITHIN, live.until(true)).await.is_ok();
    service::ready(&format!(
        "page and API at http://{}{}",
        addresses.http,
        if subscribed { "" } else { "; no connection to the broker yet" }
    ))
    .await;
    live.until(true).await;
    let mqtt = addresses.mqtt.map(|address| address.to_string());
    info!(http = %addresses.http, mqtt = mqtt.as_deref().unwrap_or("external"), "ready");
    if let Some(file) = ready_file
        && let Err(e) = write_whole(&file, &serde_json::to_vec(&addresses).unwrap_or_default())
    {
        error!("ready file {}: {e}", file.display());
    }
}

/// One of an earlier run tells of a server that is gone.
fn forget(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Whoever waits for the file must never see half of it.
fn write_whole(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let half = file.with_extension("half");
    std::fs::File::create(&half)?.write_all(content)?;
    std::fs::rename(half, file)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

async fn finish<T: std::fmt::Debug>(part: &str, task: &mut JoinHandle<T>) {
    // One that has ended already was the reason to stop, and is reported as that.
    if !task.is_finished()
        && let Err(e) = task.await
    {
        error!("{part}: {e}");
    }
}
