//! A link that fails on demand: a TCP relay that can be cut, redirected, and made deaf, slow or late in each direction.
//!
//! What it does to a connection is set from outside and holds for open connections at once. Works on bytes; only a [`Cut`] looks
//! at the packets of MQTT in them.

pub mod cut;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use self::cut::{Cut, Framing};

/// Most bytes that are passed on as one.
const PIECE_BYTES: usize = 4096;
/// Pieces of one direction that are on their way; more wait in the sender's own system.
const PIECES_UNDER_WAY: usize = 64;
/// A slow link passes this many pieces each second.
const PIECES_PER_S: u32 = 20;

/// A direction of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the one who connected to the target.
    Up,
    /// Back.
    Down,
}

/// How one direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// Bytes are taken and never come out, nor does the end of the connection. TCP loses nothing in the middle, so that a
    /// connection that was once treated so stays so.
    pub swallow: bool,
    /// Nothing is taken: the sender's window closes. Goes on where it stood when this ends.
    pub stall: bool,
    /// Time that each byte is under way.
    pub delay: Duration,
    /// Most bytes each second.
    pub bytes_per_s: Option<u32>,
}

impl Way {
    /// Bytes are taken and never come out.
    pub const SWALLOW: Self = Self { swallow: true, ..Self::OPEN };
    /// Nothing is taken.
    pub const STALL: Self = Self { stall: true, ..Self::OPEN };
    /// As good as no relay.
    pub const OPEN: Self = Self { swallow: false, stall: false, delay: Duration::ZERO, bytes_per_s: None };

    fn piece_bytes(&self) -> usize {
        self.bytes_per_s.map_or(PIECE_BYTES, |rate| usize::try_from(rate / PIECES_PER_S).unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES))
    }
}

/// Relays connections to a target that may change, and does to them what it is told.
#[derive(Clone)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    open: Vec<TcpStream>,
    up: Way,
    down: Way,
    plan: Option<Cut>,
    /// Planned cuts that were made.
    cuts: usize,
    /// Connections that were accepted.
    accepted: usize,
}

impl State {
    fn way(&self, direction: Direction) -> Way {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }
}

impl Relay {
    /// Listens on a free loopback port; until there is a target, connections are closed at once.
    ///
    /// # Errors
    /// No port can be had.
    pub fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self { address: listener.local_addr()?, shared: Arc::default() };
        let shared = Arc::clone(&relay.shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be relayed is a cut one.
                let _ = join(client, &shared);
            }
        });
        Ok(relay)
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends later connections there; `None` refuses them.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn set_target(&self, target: Option<SocketAddr>) -> Result<()> {
        self.lock()?.target = target;
        Ok(())
    }

    /// Cuts every open connection, in the middle of whatever it carries.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn cut(&self) -> Result<()> {
        for stream in self.lock()?.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// Makes both directions so, for open connections and later ones.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn set_ways(&self, up: Way, down: Way) -> Result<()> {
        let mut state = self.lock()?;
        (state.up, state.down) = (up, down);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Cuts the first connection that gets to this point, once.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn plan(&self, cut: Cut) -> Result<()> {
        self.lock()?.plan = Some(cut);
        Ok(())
    }

    /// How many planned cuts were made.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn cuts(&self) -> Result<usize> {
        Ok(self.lock()?.cuts)
    }

    /// How many connections were accepted.
    ///
    /// # Errors
    /// A relay thread has died.
    pub fn accepted(&self) -> Result<usize> {
        Ok(self.lock()?.accepted)
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.shared.state.lock().map_err(|_| anyhow!("a relay thread has died"))
    }
}

/// What both directions of a connection know of it.
#[derive(Clone, Default)]
struct Connection {
    /// Bytes of it were swallowed: its end is no longer told either.
    broken: Arc<AtomicBool>,
}

fn join(client: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    let mut state = shared.state.lock().map_err(|_| anyhow!("a relay thread has died"))?;
    let target = state.target.ok_or_else(|| anyhow!("no target"))?;
    let connection = Connection::default();
    state.accepted += 1;
    state.open.push(client.try_clone()?);
    if state.up.swallow {
        // Not even the first packet arrives: the target never hears of it.
        connection.broken.store(true, Ordering::Relaxed);
        std::thread::spawn(move || swallow_all(client));
        return Ok(());
    }
    let server = TcpStream::connect(target)?;
    state.open.push(server.try_clone()?);
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    for (direction, from, to) in [(Direction::Up, &client, &server), (Direction::Down, &server, &client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (line, far_end) = sync_channel(PIECES_UNDER_WAY);
        let (shared, connection) = (Arc::clone(shared), connection.clone());
        let ends = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            take_in(from, direction, &shared, &connection, &line);
            if !connection.broken.load(Ordering::Relaxed) {
                let _ = line.send(Piece { due: Instant::now(), bytes: Vec::new() });
            }
        });
        std::thread::spawn(move || give_out(to, &far_end, &ends));
    }
    Ok(())
}

fn swallow_all(mut from: TcpStream) {
    let mut bytes = [0; PIECE_BYTES];
    while let Ok(1..) = from.read(&mut bytes) {}
}

/// Bytes on their way; none of them is the end of the connection.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

/// Reads one side until it ends, or the connection is to be cut.
fn take_in(mut from: TcpStream, direction: Direction, shared: &Shared, connection: &Connection, line: &SyncSender<Piece>) {
    let mut framing = Framing::default();
    let mut bytes = [0; PIECE_BYTES];
    let mut free_at = Instant::now();
    let mut swallowed = false;
    loop {
        let size = shared.once_open(direction).piece_bytes();
        let Ok(count @ 1..) = from.read(bytes.get_mut(..size).unwrap_or_default()) else { return };
        let mut came = bytes.get(..count).unwrap_or_default();
        // It may have changed while this waited for bytes.
        let way = shared.once_open(direction);
        swallowed |= way.swallow;
        if swallowed {
            connection.broken.store(true, Ordering::Relaxed);
            continue;
        }
        let cut = shared.cut_in(direction, &mut framing, came);
        came = came.get(..cut.unwrap_or(count)).unwrap_or_default();
        let takes = way.bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * u32::try_from(count).unwrap_or(1) / rate.max(1));
        free_at = free_at.max(Instant::now()) + takes;
        if !came.is_empty() && line.send(Piece { due: free_at + way.delay, bytes: came.to_vec() }).is_err() || cut.is_some() {
            return;
        }
    }
}

/// Writes each piece to the other side when it is due.
fn give_out(mut to: TcpStream, line: &Receiver<Piece>, ends: &(TcpStream, TcpStream)) {
    for piece in line {
        wait_until(piece.due);
        if piece.bytes.is_empty() || to.write_all(&piece.bytes).is_err() {
            let _ = (ends.0.shutdown(Shutdown::Both), ends.1.shutdown(Shutdown::Both));
            return;
        }
    }
}

fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

impl Shared {
    /// How a direction is, once it takes bytes.
    fn once_open(&self, direction: Direction) -> Way {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.changed.wait_while(state, |state| state.way(direction).stall);
        open.unwrap_or_else(PoisonError::into_inner).way(direction)
    }

    /// How many of these bytes still pass, where the plan says to cut within them.
    fn cut_in(&self, direction: Direction, framing: &mut Framing, bytes: &[u8]) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, byte) in bytes.iter().enumerate() {
            let place = framing.step(*byte);
            let State { plan, cuts, .. } = &mut *state;
            let Some(passes_byte) = plan.as_mut().filter(|plan| plan.direction == direction).and_then(|plan| plan.passes(&place)) else {
                continue;
            };
            *plan = None;
            *cuts += 1;
            return Some(index + usize::from(passes_byte));
        }
        None
    }
}
