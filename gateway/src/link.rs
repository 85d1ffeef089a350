//! Ways to a device: TCP connections and serial lines. A shell file: sockets and ports.
//!
//! Opens and carries bytes; knows no protocol, retries nothing and never decides that a link is bad: that is its driver's.

pub mod port;
pub mod serial;

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Anything that carries bytes both ways: a socket, a serial port, a pipe in memory for tests.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Stream for T {}

/// Connects to `host:port`.
///
/// # Errors
/// No connection within `limit`.
pub async fn connect(endpoint: &str, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, TcpStream::connect(endpoint)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Only speed: requests are far smaller than a segment and must not wait for the acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
