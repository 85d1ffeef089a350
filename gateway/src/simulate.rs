//! Serves profiles as Modbus devices over TCP, on a serial line or behind a serial server, for demos, commissioning and tests. Shell.
//! Reads no real device. What is written to writable points stays until the end.

pub mod bacnet;
mod device;
pub mod values;
mod written;

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_modbus::server::Service;
use tokio_modbus::server::{rtu, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Response, SlaveRequest};

use self::device::Simulated;
use crate::link::serial::SerialLine;
use crate::profile::Profile;

/// Most connections at a time; a further one is closed at once. Real meters take one to five.
pub const MAX_CONNECTIONS: usize = 32;

/// Wait after the system could not give a connection (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a network connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// Modbus TCP. A unit that is not there is answered with exception 0B, as a TCP gateway does.
    Tcp,
    /// Modbus RTU frames, as a serial server carries them. A unit that is not there is silent.
    Rtu,
}

enum Server {
    Tcp(tcp::Server),
    Rtu(rtu_over_tcp::Server),
}

/// Serves these units until `shutdown` is done; the unit is the seed of its values.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    frames: Frames,
    units: Vec<(u8, Arc<Profile>)>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> io::Result<()> {
    let units = simulated(units);
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let on_connected = |stream: TcpStream, peer| {
        let (units, free) = (Arc::clone(&units), Arc::clone(&free));
        async move {
            let Ok(permit) = free.try_acquire_owned() else {
                tracing::warn!(%peer, limit = MAX_CONNECTIONS, "connection refused: the simulator has no more to give");
                return Ok(None);
            };
            let _ = stream.set_nodelay(true);
            Ok(Some((Units { units, silent: frames == Frames::Rtu, _permit: Some(permit) }, stream)))
        }
    };
    let on_error = |error: io::Error| tracing::debug!(%error, "simulated connection ended");
    let server = match frames {
        Frames::Tcp => Server::Tcp(tcp::Server::new(listener)),
        Frames::Rtu => Server::Rtu(rtu_over_tcp::Server::new(listener)),
    };
    tokio::pin!(shutdown);
    loop {
        let serving = async {
            match &server {
                Server::Tcp(server) => server.serve(&on_connected, on_error).await,
                Server::Rtu(server) => server.serve(&on_connected, on_error).await,
            }
        };
        let ended = tokio::select! {
            () = &mut shutdown => return Ok(()),
            ended = serving => ended,
        };
        let Err(error) = ended else { return Ok(()) };
        tracing::warn!(%error, "simulator could not accept a connection");
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
        }
    }
}

/// Serves these units on a serial line until `shutdown` is done. Other units of the line are left alone: they may be real. After garbage
/// that its codec cannot get over, the port is opened anew.
///
/// # Errors
/// The port cannot be opened, or its other end is gone.
pub async fn serve_serial(line: &SerialLine, units: Vec<(u8, Arc<Profile>)>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let units = simulated(units);
    tokio::pin!(shutdown);
    loop {
        let port = line.open().map_err(io::Error::other)?;
        let service = Units { units: Arc::clone(&units), silent: true, _permit: None };
        let ended = tokio::select! {
            () = &mut shutdown => return Ok(()),
            ended = rtu::Server::new(port).serve_forever(service) => ended,
        };
        match ended {
            Ok(()) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end of the line is gone")),
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(error) => tracing::debug!(%error, "simulated line begins anew"),
        }
    }
}

fn simulated(units: Vec<(u8, Arc<Profile>)>) -> Arc<BTreeMap<u8, Simulated>> {
    let start = Instant::now();
    let simulated = |(unit, profile)| (unit, Simulated::new(u64::from(unit), profile, start));
    Arc::new(units.into_iter().map(simulated).collect())
}

/// All units at one connection or line; its permit comes back when it ends.
struct Units {
    units: Arc<BTreeMap<u8, Simulated>>,
    /// Whether a unit that is not there says nothing.
    silent: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(match self.units.get(&request.slave) {
            Some(unit) => unit.answer(&request.request).map(Some),
            None if self.silent => Ok(None),
            None => Err(ExceptionCode::GatewayTargetDevice),
        })
    }
}

#[cfg(test)]
mod tests;
