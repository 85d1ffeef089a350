//! A link that fails on demand: a TCP relay that can be cut and redirected.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};

/// Relays connections to a target that may change, and cuts them when told.
#[derive(Clone)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    open: Vec<TcpStream>,
}

impl Relay {
    /// Listens on a free loopback port; until there is a target, connections are closed at once.
    ///
    /// # Errors
    /// No port can be had.
    pub fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self { address: listener.local_addr()?, state: Arc::default() };
        let state = Arc::clone(&relay.state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be relayed is a cut one.
                let _ = join(client, &state);
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

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| anyhow!("a relay thread has died"))
    }
}

fn join(client: TcpStream, state: &Arc<Mutex<State>>) -> Result<()> {
    let mut state = state.lock().map_err(|_| anyhow!("a relay thread has died"))?;
    let target = state.target.ok_or_else(|| anyhow!("no target"))?;
    let server = TcpStream::connect(target)?;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || pump(from, to));
    }
    state.open.extend([client, server]);
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
