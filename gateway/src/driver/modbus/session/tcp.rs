//! Modbus TCP: one connection at a time, thrown away as soon as anything about it is in doubt.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_modbus::Slave;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::{Request as Pdu, SlaveContext as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::ear::{Ear, Overheard};
use super::{Answer, Attempt, Clock, Failure, judge};
use crate::config::Security;
use crate::link::{self, Stream};
use crate::tls::{self, Shown};

/// Longest waits.
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

/// The connection to one endpoint.
pub(super) struct Tcp {
    to: To,
    /// Taken out while a request is under way, so that a request that is dropped half-way drops it too.
    context: Option<Context>,
    /// Why TLS cannot be spoken, as last said in the log: once is enough.
    said: Option<String>,
    pub(super) ear: Option<Arc<dyn Ear>>,
}

enum To {
    Network(String),
    Secured(String, Security),
    /// A device in this process, on virtual time.
    #[cfg(test)]
    Memory(Box<dyn FnMut() -> tokio::io::DuplexStream + Send>),
}

impl Tcp {
    pub(super) fn new(endpoint: String) -> Self {
        Self { to: To::Network(endpoint), context: None, said: None, ear: None }
    }

    pub(super) fn secured(endpoint: String, security: Security) -> Self {
        Self { to: To::Secured(endpoint, security), context: None, said: None, ear: None }
    }

    pub(super) fn endpoint(&self) -> &str {
        match &self.to {
            To::Network(endpoint) | To::Secured(endpoint, _) => endpoint,
            #[cfg(test)]
            To::Memory(_) => "in memory",
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.context.is_some()
    }

    pub(super) async fn ask(&mut self, unit: u8, question: &Pdu<'static>, limits: Limits, clock: &Clock) -> Attempt {
        let mut start_ms = clock();
        let context = match self.context.take() {
            Some(context) => Ok(context),
            None => self.connect(limits.connect).await,
        };
        let mut context = match context {
            Ok(context) => context,
            Err(failure) => return Attempt { start_ms, took: None, result: Err(failure) },
        };
        start_ms = clock();
        let start = Instant::now();
        let result = call(&mut context, unit, question, limits.answer).await;
        if result.is_ok() {
            self.context = Some(context);
        }
        Attempt { start_ms, took: Some(start.elapsed()), result }
    }

    async fn connect(&mut self, limit: Duration) -> Result<Context, Failure> {
        let stream: Box<dyn Stream> = match &mut self.to {
            To::Network(endpoint) => Box::new(link::connect(endpoint, limit).await.map_err(|_| Failure::Unreachable)?),
            To::Secured(endpoint, security) => match secured(endpoint, security, limit).await {
                Ok(stream) => {
                    self.said = None;
                    Box::new(stream)
                }
                Err(why) => {
                    if self.said.as_ref() != Some(&why) {
                        tracing::warn!("{endpoint}: {why}");
                        self.said = Some(why);
                    }
                    return Err(Failure::Unreachable);
                }
            },
            #[cfg(test)]
            To::Memory(dial) => Box::new(dial()),
        };
        Ok(tcp::attach_slave(Overheard::new(stream, self.ear.clone()), Slave(0)))
    }
}

/// What Modbus/TCP Security asks for: TLS 1.2 or newer, and a certificate of the client's. The files are read for each connection, so that
/// new ones count.
async fn secured(endpoint: &str, security: &Security, limit: Duration) -> Result<Secured, String> {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
    let name = security.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server: set `server_name`"))?;
    let stream = link::connect(endpoint, limit).await.map_err(|error| error.to_string())?;
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let config =
        tls::client(Some(&security.ca), Some(&security.identity), &versions, &Shown::default()).map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = timeout(limit, handshake).await.map_err(|_| "no TLS handshake in time".to_owned())?;
    Ok(Secured { stream: stream.map_err(|error| format!("TLS: {error}"))?, endpoint: endpoint.to_owned(), heard: false })
}

/// A TLS connection whose errors are those of a connection that ends: with TLS 1.3 a device refuses a certificate only behind the handshake,
/// and what TLS says of that would be taken for a bad frame.
#[derive(Debug)]
struct Secured {
    stream: TlsStream<TcpStream>,
    endpoint: String,
    /// Anything came over it.
    heard: bool,
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.heard |= !buf.filled().is_empty();
        Poll::Ready(read.map_err(|error| {
            // One that has been good may end as it likes.
            if !self.heard {
                let endpoint = &self.endpoint;
                tracing::warn!(
                    "{endpoint}: the device ended the TLS connection ({error}); does it know the authority of this certificate?"
                );
            }
            io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string())
        }))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn call(context: &mut Context, unit: u8, question: &Pdu<'static>, limit: Duration) -> Result<Answer, Failure> {
    context.set_slave(Slave(unit));
    match timeout(limit, context.call(question.clone())).await {
        Ok(result) => judge(question, result),
        Err(_) => Err(Failure::Timeout),
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
