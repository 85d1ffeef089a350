//! A bad network for datagrams between a client and a device: loses them, doubles them, brings them too late; seeded, and counted.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

/// Largest datagram.
const MAX_BYTES: usize = 65_536;

/// What happens to so many percent of the datagrams, each way.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// They do not arrive.
    pub lost_percent: u8,
    /// They arrive twice, or late, or twice and the second one late: a third of these each.
    pub troubled_percent: u8,
    /// How much too late: longer than anybody waits.
    pub late_by: Duration,
    /// The same datagrams in the same order have the same fate.
    pub seed: u64,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Datagrams that came from the client.
    pub asked: AtomicU64,
    /// Those that were lost.
    pub lost: AtomicU64,
    /// Those that arrived twice.
    pub doubled: AtomicU64,
    /// Those that arrived late.
    pub late: AtomicU64,
}

/// The link, for as long as this lives.
pub struct UdpLink {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl UdpLink {
    /// A link to this device, on a port of its own.
    ///
    /// # Errors
    /// There is no port.
    pub fn to(device: SocketAddr, faults: Faults) -> Result<Self> {
        let near = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        near.set_nonblocking(true)?;
        let address = near.local_addr()?;
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let fate = Fate { faults, counts: Arc::clone(&counts), random: Mutex::new(fastrand::Rng::with_seed(faults.seed)) };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(near) = UdpSocket::from_std(near) else { return };
                tokio::select! {
                    () = carry(Arc::new(near), device, Arc::new(fate)) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, counts, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the device seems to be.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for UdpLink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Fate {
    faults: Faults,
    counts: Arc<Counts>,
    random: Mutex<fastrand::Rng>,
}

/// Each client has a socket of its own towards the device, which knows it by that.
async fn carry(near: Arc<UdpSocket>, device: SocketAddr, fate: Arc<Fate>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut bytes = vec![0; MAX_BYTES];
    loop {
        // A client that is gone is told so by the system; the others go on.
        let Ok((length, client)) = near.recv_from(&mut bytes).await else { continue };
        if let std::collections::hash_map::Entry::Vacant(place) = clients.entry(client) {
            let Ok(far) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { continue };
            if far.connect(device).await.is_err() {
                continue;
            }
            let far = Arc::new(far);
            place.insert(Arc::clone(&far));
            tokio::spawn(back(far, Arc::clone(&near), client, Arc::clone(&fate)));
        }
        if let Some(far) = clients.get(&client) {
            fate.pass(&bytes[..length], Arc::clone(far), None).await;
        }
    }
}

async fn back(far: Arc<UdpSocket>, near: Arc<UdpSocket>, client: SocketAddr, fate: Arc<Fate>) {
    let mut bytes = vec![0; MAX_BYTES];
    loop {
        if let Ok(length) = far.recv(&mut bytes).await {
            fate.pass(&bytes[..length], Arc::clone(&near), Some(client)).await;
        }
    }
}

impl Fate {
    async fn pass(&self, datagram: &[u8], socket: Arc<UdpSocket>, to: Option<SocketAddr>) {
        let (kind, which) = {
            let mut random = self.random.lock().await;
            (random.u8(0..100), random.u8(0..3))
        };
        let Faults { lost_percent, troubled_percent, late_by, .. } = self.faults;
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if to.is_none() {
            count(&self.counts.asked);
        }
        let (mut now, mut later) = (1, 0);
        if kind < lost_percent {
            count(&self.counts.lost);
            now = 0;
        } else if kind < lost_percent.saturating_add(troubled_percent) {
            (now, later) = [(2, 0), (0, 1), (1, 1)][usize::from(which)];
            if now + later == 2 {
                count(&self.counts.doubled);
            }
            if later == 1 {
                count(&self.counts.late);
            }
        }
        let datagram = datagram.to_vec();
        for _ in 0..now {
            send(&socket, &datagram, to).await;
        }
        if later == 1 {
            tokio::spawn(async move {
                sleep(late_by).await;
                send(&socket, &datagram, to).await;
            });
        }
    }
}

/// Nobody may be there any more.
async fn send(socket: &UdpSocket, datagram: &[u8], to: Option<SocketAddr>) {
    let _ = match to {
        Some(to) => socket.send_to(datagram, to).await,
        None => socket.send(datagram).await,
    };
}
