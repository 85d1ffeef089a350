//! The UDP sockets of a link. Shell. Knows no frames.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tracing::warn;

/// The own one, and one for what is sent to all, where the own one does not hear that.
pub(super) struct Sockets {
    own: UdpSocket,
    broadcast: Option<UdpSocket>,
}

impl Sockets {
    /// Binds at this address. A socket of one address does not hear broadcasts: these have one of their own, which other programs of this
    /// machine may have as well.
    pub(super) fn open(local: SocketAddr, broadcast: SocketAddr) -> io::Result<Self> {
        let own = bind(local, false)?;
        let broadcast = if local.ip().is_unspecified() && local.port() == broadcast.port() {
            None
        } else {
            // Without it only devices that answer everybody are not found.
            bind(broadcast, true).inspect_err(|error| warn!(%broadcast, %error, "broadcasts are not heard")).ok()
        };
        Ok(Self { own, broadcast })
    }

    pub(super) async fn receive(&self, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some(broadcast) = &self.broadcast else { return self.own.recv_from(datagram).await };
        loop {
            tokio::select! {
                ready = self.own.readable() => ready?,
                ready = broadcast.readable() => ready?,
            }
            for socket in [&self.own, broadcast] {
                match socket.try_recv_from(datagram) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return received,
                }
            }
        }
    }

    /// Sends at once. What the system has no room for is lost, as anything on the way is.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) {
        // Past the runtime, which knows only later that a new socket takes something: the first datagram would be lost.
        let _ = SockRef::from(&self.own).send_to(datagram, &to.into());
    }
}

fn bind(at: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if shared {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}
