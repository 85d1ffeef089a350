//! Who listens to a link: each exchange as it ends, and each byte as it goes. Keeps nothing and decides nothing.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_modbus::prelude::Request as Pdu;

use super::session::{Answer, Failure};

/// One exchange that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    /// Who was asked.
    pub(crate) unit: u8,
    pub(crate) question: &'a Pdu<'static>,
    pub(crate) result: &'a Result<Answer, Failure>,
    /// From the question to the end of the answer, or until it was given up; with the way to a connection and the wait for a line in
    /// doubt to fall silent, without the gap before each frame.
    pub(crate) took: Duration,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Sent,
    Heard,
}

/// Hears what goes over a link. It is called while the link waits, so it must be quick.
pub(crate) trait Ear: fmt::Debug + Send + Sync {
    /// An exchange has ended.
    fn exchange(&self, told: &Told<'_>);
    /// These bytes went over the link, echoes among them.
    fn bytes(&self, way: Way, bytes: &[u8]);
}

/// A stream with an ear at it.
#[derive(Debug)]
pub(crate) struct Overheard<S> {
    stream: S,
    ear: Option<Arc<dyn Ear>>,
}

impl<S> Overheard<S> {
    pub(crate) fn new(stream: S, ear: Option<Arc<dyn Ear>>) -> Self {
        Self { stream, ear }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let (Some(ear), Some(bytes)) = (&self.ear, buf.filled().get(before..).filter(|bytes| !bytes.is_empty())) {
            ear.bytes(Way::Heard, bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if let Some(ear) = &self.ear {
            ear.bytes(Way::Sent, bytes.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
