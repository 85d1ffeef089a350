//! Shell: a listener that holds a bounded number of connections, with TLS or without. One more waits in the kernel's queue until
//! another ends; one that says nothing, or is one of too many from its address, has to go.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::config::Network;
use crate::ingest::agents::Peer;
use crate::users::lockout::Source;

/// Most HTTP connections at once: far below the 1024 open files that a process may have by default.
pub const MAX_CONNECTIONS: usize = 256;
/// Most of those from one address of another machine.
const MAX_EACH: u32 = 64;
/// A connection has so long to say its first word, TLS included.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);
/// One on which nothing goes either way for so long ends. Whoever follows live values hears something every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// Connections by address.
type Counts = Arc<Mutex<HashMap<Source, u32>>>;

/// A TCP listener with a limit.
pub struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    each: Counts,
    proxies: Vec<Network>,
}

impl Bounded {
    /// Lets at most `limit` connections be open.
    #[must_use]
    pub fn new(listener: TcpListener, limit: usize) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(limit)), tls: None, each: Arc::default(), proxies: Vec::new() }
    }

    /// Speaks TLS, each connection with what is current when it comes.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<watch::Receiver<Arc<ServerConfig>>>) -> Self {
        self.tls = tls;
        self
    }

    /// Stands behind these proxies, which come for many and so have no limit of their own.
    #[must_use]
    pub fn behind(mut self, proxies: &[Network]) -> Self {
        self.proxies = proxies.to_vec();
        self
    }
}

impl Listener for Bounded {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        // The semaphore is never closed; without a permit there is simply no limit left to keep.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            let Some(place) = Place::take(&self.each, peer, &self.proxies) else { continue };
            // The handshake is part of the connection, so that a slow one holds up nobody.
            let io = match &self.tls {
                None => Io::Open(Stream::Plain(stream)),
                Some(tls) => Io::Greeting(Box::new(TlsAcceptor::from(tls.borrow().clone()).accept(stream))),
            };
            let quiet = Box::pin(tokio::time::sleep(FIRST_WORD_WITHIN));
            return (Counted { io, quiet, _place: place, _permit: permit }, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection of an address; it counts until it is dropped.
struct Place(Option<(Counts, Source)>);

impl Place {
    fn take(each: &Counts, peer: SocketAddr, proxies: &[Network]) -> Option<Self> {
        let address = peer.ip().to_canonical();
        if address.is_loopback() || proxies.iter().any(|proxy| proxy.contains(address)) {
            return Some(Self(None));
        }
        let mut counts = each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer.into()).or_default();
        if *count >= MAX_EACH {
            return None;
        }
        *count += 1;
        Some(Self(Some((each.clone(), peer.into()))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((each, source)) = &self.0 else { return };
        let mut counts = each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(source);
            }
        }
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection that gives its place back when it ends.
pub struct Counted {
    io: Io,
    /// When it has been silent for too long.
    quiet: Pin<Box<Sleep>>,
    _place: Place,
    _permit: Option<OwnedSemaphorePermit>,
}

enum Io {
    Greeting(Box<Accept<TcpStream>>),
    Open(Stream),
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Counted {
    /// What carries the bytes, once TLS is agreed on.
    fn stream(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Stream>> {
        if let Io::Greeting(accept) = &mut self.io {
            let agreed = match Pin::new(accept.as_mut()).poll(context) {
                Poll::Ready(agreed) => agreed?,
                Poll::Pending => return self.wait(context),
            };
            self.io = Io::Open(Stream::Tls(Box::new(agreed)));
        }
        match &mut self.io {
            Io::Open(stream) => Poll::Ready(Ok(stream)),
            Io::Greeting(_) => Poll::Pending,
        }
    }

    /// Nothing goes now; that must not last.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.quiet.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn went(&mut self) {
        self.quiet.as_mut().reset(Instant::now() + MAX_SILENCE);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = match ready!(self.stream(context))? {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        };
        match read {
            Poll::Pending => self.wait(context),
            done => {
                self.went();
                done
            }
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match ready!(self.stream(context))? {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        };
        match written {
            Poll::Pending => self.wait(context),
            done => {
                self.went();
                done
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.stream(context))? {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            // Nothing was said: there is nothing to end.
            Io::Greeting(_) => Poll::Ready(Ok(())),
            Io::Open(Stream::Plain(stream)) => Pin::new(stream).poll_shutdown(context),
            Io::Open(Stream::Tls(stream)) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_waits_for_another_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = Bounded::new(listener, 1);
        let _clients = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (first, _) = bounded.accept().await;
        let second = tokio::time::timeout(Duration::from_millis(50), bounded.accept()).await;
        assert!(second.is_err(), "a second connection was taken beside the first");
        drop(first);
        tokio::time::timeout(Duration::from_secs(10), bounded.accept()).await.expect("the place of the first is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_has_to_go() {
        use tokio::io::AsyncReadExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = Bounded::new(listener, 1);
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut taken, _) = bounded.accept().await;
        let began = Instant::now();
        let error = taken.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, FIRST_WORD_WITHIN.as_secs()));
    }

    #[test]
    fn too_many_of_one_address_are_turned_away_and_others_are_not() {
        let each = Counts::default();
        let peer = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let mut places: Vec<_> = (0..MAX_EACH).map(|_| Place::take(&each, peer(1), &[]).unwrap()).collect();
        assert!(Place::take(&each, peer(1), &[]).is_none() && Place::take(&each, peer(2), &[]).is_some());
        assert!(Place::take(&each, peer(1), &["10.0.0.1".parse().unwrap()]).is_some(), "a proxy comes for many");
        places.pop();
        assert!(Place::take(&each, peer(1), &[]).is_some());
        drop(places);
        assert!(each.lock().unwrap().is_empty(), "nothing is remembered of who has gone");
        assert!((0..1000).all(|_| Place::take(&each, SocketAddr::from(([127, 0, 0, 1], 1)), &[]).is_some()));
    }
}
