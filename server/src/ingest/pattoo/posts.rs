//! Shell: the port of old agents. HTTP requests -> bodies that wait -> groups that become durable as one -> answers.
//!
//! It answers 200 only once what the body tells is on stable storage. Old agents have no login: from where they may post is the
//! operator's word (`agents.allow`), loopback unless it says more.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tower_http::timeout::TimeoutLayer;
use tracing::{error, warn};

use crate::clock;
use crate::config::Network;
use crate::ingest::SharedCore;
use crate::ingest::core::posts::{Post, Posted};
use crate::live::Live;

/// Largest body, in bytes: some 50,000 datapoints, 50 times what an agent of 1000 series posts.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// Bodies in memory at the same time: while they come in, wait and are stored.
const BODIES: usize = 8;
/// Most bodies that become durable as one.
const GROUP_BODIES: usize = 4;
/// How long a request may take in all. Old agents wait for ever.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Refusals told in one answer.
const MAX_TOLD: usize = 10;
/// Longest name of an agent in the path, in bytes.
const MAX_SOURCE_BYTES: usize = 255;

const RECEIVE: &str = "/pattoo/api/v1/agent/receive/{source}";
const STATUS: &str = "/pattoo/api/v1/agent/status";

/// A body and where its answer goes.
type Waiting = (Post, oneshot::Sender<Posted>);

/// The bodies that wait, as seen by the store.
pub struct Queue(mpsc::Receiver<Waiting>);

/// Who posts.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What the routes need.
#[derive(Clone)]
struct Door {
    posts: mpsc::Sender<Waiting>,
    places: Arc<Semaphore>,
    allow: Arc<[Network]>,
    live: Arc<Live>,
}

impl Door {
    /// What to say of a body that did not come in. Where it is too long, the agent may not hear it: it is still sending.
    fn unread(&self, peer: SocketAddr, why: &BytesRejection) -> Response {
        let (code, text) = match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ("too_long", format!("the body has more than {MAX_BODY_BYTES} bytes; post fewer datapoints at once"))
            }
            _ => ("truncated", format!("the body did not come whole: {}", why.body_text())),
        };
        let count = self.live.rejected(None, code);
        if count.is_power_of_two() {
            warn!(%peer, reason = code, count, "not taken from an old agent: {text}");
        }
        told(why.status(), text)
    }
}

/// The routes, and the queue that they fill. `allow` are networks beside loopback.
pub fn service(allow: Vec<Network>, live: Arc<Live>) -> (Router, Queue) {
    let (posts, queue) = mpsc::channel(BODIES);
    let door = Door { posts, places: Arc::new(Semaphore::new(BODIES)), allow: allow.into(), live };
    let router = Router::new()
        .route(RECEIVE, post(receive))
        .route(STATUS, get(status))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(door.clone(), guard))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .with_state(door);
    (router, Queue(queue))
}

/// Stores what waits until `stop` is true; what is in the queue by then is still stored, for it was promised an answer.
pub async fn run(mut queue: Queue, core: SharedCore, mut stop: watch::Receiver<bool>) {
    let stopping = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopping);
    loop {
        let mut group = Vec::with_capacity(GROUP_BODIES);
        let count = tokio::select! {
            count = queue.0.recv_many(&mut group, GROUP_BODIES) => count,
            () = &mut stopping, if !queue.0.is_closed() => {
                queue.0.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        store(group, &core).await;
    }
}

async fn store(group: Vec<Waiting>, core: &SharedCore) {
    let (posts, answers): (Vec<Post>, Vec<_>) = group.into_iter().unzip();
    let core = Arc::clone(core);
    let work = move || {
        let hold = || core.lock().unwrap_or_else(PoisonError::into_inner);
        let now = hold().now(clock::now_ms());
        // Reading takes long, and gateways need the core as well.
        let taken = posts.iter().map(|post| super::read(&post.body, now)).collect();
        hold().take_posts(&posts, taken, now.ms)
    };
    let posted = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        error!("BUG: storing what old agents posted panicked: {e}; nothing of it is acknowledged");
        answers.iter().map(|_| Posted::Unavailable("the server failed; see its log".into())).collect()
    });
    for (answer, posted) in answers.into_iter().zip(posted) {
        // Whoever does not wait any more posts it again.
        let _ = answer.send(posted);
    }
}

async fn receive(
    State(door): State<Door>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    Path(source): Path<String>,
    uri: Uri,
    request: Request,
) -> Result<Response, Response> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(told(
            StatusCode::NOT_FOUND,
            format!("the agent's name has {} bytes, at most {MAX_SOURCE_BYTES} are allowed", source.len()),
        ));
    }
    // Before its first byte: what is in memory is bounded.
    let closed = || told(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping; post it again");
    let _place = Arc::clone(&door.places).acquire_owned().await.map_err(|_| closed())?;
    let body = Bytes::from_request(request, &()).await.map_err(|e| door.unread(peer, &e))?;
    let (answer, answered) = oneshot::channel();
    let post = Post { from: format!("{peer} {}", uri.path()), body: body.into() };
    door.posts.send((post, answer)).await.map_err(|_| closed())?;
    match answered.await.map_err(|_| closed())? {
        Posted::Stored { refused, .. } => {
            // Old agents look at the status only; this is for people.
            let mut text = "OK\n".to_owned();
            let more = refused.len().saturating_sub(MAX_TOLD);
            text.extend(refused.iter().take(MAX_TOLD).map(|refusal| format!("not taken: datapoint {}: {}\n", refusal.number, refusal.why)));
            if more > 0 {
                text += &format!("not taken: {more} more\n");
            }
            Ok(told(StatusCode::OK, text.trim_end()))
        }
        Posted::Refused(why) => Err(told(StatusCode::BAD_REQUEST, why)),
        Posted::Full(why) => Err(told(StatusCode::INSUFFICIENT_STORAGE, why)),
        Posted::Unavailable(why) => Err(told(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

async fn status(State(door): State<Door>) -> Response {
    match door.live.storing() {
        true => told(StatusCode::OK, "The port for agents takes readings."),
        false => told(StatusCode::SERVICE_UNAVAILABLE, "The store takes no readings; see the server's log."),
    }
}

async fn unknown(uri: Uri) -> Response {
    let encrypted =
        ["/key", "/validation", "/encrypted"].iter().any(|route| uri.path().starts_with("/pattoo/") && uri.path().ends_with(route));
    match encrypted {
        true => told(
            StatusCode::NOT_IMPLEMENTED,
            "posts under GPG are not taken here: switch the agent's encryption off, and let it post over a private network",
        ),
        false => {
            told(StatusCode::NOT_FOUND, "agents post to /pattoo/api/v1/agent/receive/<agent id>; status is at /pattoo/api/v1/agent/status")
        }
    }
}

/// Lets in whom the operator lets in, and no page that a browser shows.
async fn guard(
    State(door): State<Door>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let address = peer.ip().to_canonical();
    if !allowed(address, &door.allow) {
        if door.live.rejected(None, "agent_address").is_power_of_two() {
            warn!(%peer, "an agent's post is refused: `agents: {{ allow: [{address}] }}` would let it in");
        }
        return told(StatusCode::FORBIDDEN, format!("{address} is not among the networks that `agents.allow` of the server names"));
    }
    if headers.contains_key(header::ORIGIN) {
        return told(StatusCode::FORBIDDEN, "pages in a browser may not post here");
    }
    next.run(request).await
}

fn allowed(address: IpAddr, allow: &[Network]) -> bool {
    address.is_loopback() || allow.iter().any(|network| network.contains(address))
}

fn told(status: StatusCode, text: impl AsRef<str>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", text.as_ref())).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use axum::extract::connect_info::MockConnectInfo;
    use tokio::net::TcpListener;

    use super::*;
    use crate::ingest::{Core, Letters};
    use crate::store::memory::Memory;

    /// Status of a post from this address, as the server sees it.
    fn ask(server: SocketAddr, headers: &str) -> u16 {
        let mut stream = TcpStream::connect(server).unwrap();
        write!(stream, "POST /pattoo/api/v1/agent/receive/x HTTP/1.0\r\nhost: x\r\n{headers}content-length: 2\r\n\r\n[]").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn case_13_only_addresses_that_the_operator_names_may_post_and_no_page_in_a_browser() {
        let folder = tempfile::tempdir().unwrap();
        let allow: Vec<Network> = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, headers, expected) in [
            ("127.0.0.1:5", "", 400),
            ("[::1]:5", "", 400),
            ("10.1.2.3:5", "", 400),
            ("[::ffff:10.1.2.3]:5", "", 400),
            ("[fd00::1]:5", "", 400),
            ("10.2.2.3:5", "", 403),
            ("[fe80::1]:5", "", 403),
            ("127.0.0.1:5", "origin: https://evil.example\r\n", 403),
        ] {
            let live = Arc::new(Live::default());
            let core = Core::new(Arc::new(Memory::default()), Letters::new(folder.path()), live.clone()).unwrap();
            let (router, queue) = service(allow.clone(), live.clone());
            let router = router.layer(MockConnectInfo(Peer(peer.parse().unwrap())));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = listener.local_addr().unwrap();
            let (stop, stopped) = watch::channel(false);
            let serving = tokio::spawn(async move { axum::serve(listener, router).await });
            let storing = tokio::spawn(run(queue, core.shared(), stopped));
            let headers = headers.to_owned();
            let found = tokio::task::spawn_blocking(move || ask(server, &headers)).await.unwrap();
            assert_eq!(found, expected, "{peer}");
            // Who is not let in never reaches the core.
            assert_eq!(live.strangers().rejects.get("malformed").copied(), (expected == 400).then_some(1), "{peer}");
            stop.send_replace(true);
            storing.await.unwrap();
            serving.abort();
        }
    }
}
