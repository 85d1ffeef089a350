//! A byte line that several frames share, one after the other: what came and went on it is watched. A shell file.
//!
//! The codec of tokio-modbus takes its stream away and keeps what it has read; so each request gets a handle of this line, and the
//! line itself stays. It strips the echo of adapters that hear themselves, and remembers the bytes of the exchange that is under way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::Stream;

/// Most bytes that are remembered of one exchange: a frame has at most 256.
const MAX_HEARD: usize = 512;

/// A handle of the line. Handles share it; only one exchange may be under way.
#[derive(Debug, Clone)]
pub struct Port {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug)]
struct Line {
    stream: Box<dyn Stream>,
    echo: bool,
    /// What was sent, and how much of it has come back; only where there is an echo.
    expected_echo: Vec<u8>,
    echoed: usize,
    /// Heard, but not handed out yet.
    left: Vec<u8>,
    heard: Vec<u8>,
    heard_at: Option<Instant>,
}

impl Port {
    /// A line over this stream. `echo`: it hears what it sends.
    #[must_use]
    pub fn new(stream: Box<dyn Stream>, echo: bool) -> Self {
        let line = Line { stream, echo, expected_echo: Vec::new(), echoed: 0, left: Vec::new(), heard: Vec::new(), heard_at: None };
        Self { line: Arc::new(Mutex::new(line)) }
    }

    /// Begins an exchange: forgets what was heard before.
    pub fn begin(&self) {
        let mut line = self.lock();
        line.expected_echo.clear();
        line.echoed = 0;
        line.left.clear();
        line.heard.clear();
        line.heard_at = None;
    }

    /// What was heard since [`Port::begin`], without the echo; the first 512 bytes.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        self.lock().heard.clone()
    }

    /// When the last byte was heard since [`Port::begin`].
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.lock().heard_at
    }

    /// Reads and throws away until nothing has come for `quiet`, at most until `limit`; gives the bytes thrown away.
    ///
    /// # Errors
    /// The line is gone, or still talks at the limit.
    pub async fn drain(&mut self, quiet: Duration, limit: Duration) -> io::Result<usize> {
        self.begin();
        let end = Instant::now() + limit;
        let (mut thrown, mut bytes) = (0, [0; 256]);
        loop {
            let until = (Instant::now() + quiet).min(end);
            match timeout_at(until, self.read(&mut bytes)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(count)) => thrown += count,
                Ok(Err(error)) => return Err(error),
                Err(_) if until < end => return Ok(thrown),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the line never falls silent")),
            }
        }
    }

    /// Reads on for so long after an answer, to hear what follows it.
    ///
    /// # Errors
    /// The line is gone.
    pub async fn linger(&mut self, time: Duration) -> io::Result<()> {
        let (until, mut bytes) = (Instant::now() + time, [0; 256]);
        while let Ok(read) = timeout_at(until, self.read(&mut bytes)).await {
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Takes the echo off the front of what came; what turns out to differ from it is no echo, and all of it counts.
    fn without_echo(&mut self, bytes: &[u8]) -> Vec<u8> {
        let expected = self.expected_echo.get(self.echoed..).unwrap_or_default();
        let (own_echo, rest) = bytes.split_at(expected.len().min(bytes.len()));
        if expected.starts_with(own_echo) {
            self.echoed += own_echo.len();
            return rest.to_vec();
        }
        let held_back = self.expected_echo.get(..self.echoed).unwrap_or_default();
        let all = [held_back, bytes].concat();
        self.expected_echo.clear();
        self.echoed = 0;
        all
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = MAX_HEARD.saturating_sub(self.heard.len());
        self.heard.extend(bytes.iter().take(room));
        self.heard_at = Some(Instant::now());
    }
}

impl AsyncRead for Port {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = self.lock();
        if !line.left.is_empty() {
            let fits = line.left.len().min(buf.remaining());
            buf.put_slice(&line.left.drain(..fits).collect::<Vec<_>>());
            return Poll::Ready(Ok(()));
        }
        let mut chunk = [0; 256];
        loop {
            let most = chunk.len().min(buf.remaining());
            let mut raw = ReadBuf::new(chunk.get_mut(..most).unwrap_or_default());
            match Pin::new(&mut line.stream).poll_read(cx, &mut raw) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let came = raw.filled();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let own = line.without_echo(came);
            if !own.is_empty() {
                line.remember(&own);
                // Bytes held back as a likely echo may be more than asked for; the rest comes with the next read.
                let fits = own.len().min(buf.remaining());
                buf.put_slice(own.get(..fits).unwrap_or_default());
                line.left = own.get(fits..).unwrap_or_default().to_vec();
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut line = self.lock();
        let written = std::task::ready!(Pin::new(&mut line.stream).poll_write(cx, bytes))?;
        if line.echo {
            line.expected_echo.extend(bytes.iter().take(written));
        }
        Poll::Ready(Ok(written))
    }

    /// Does nothing: on a serial port a flush waits in the kernel (`tcdrain`) until the last bit is out, and the whole runtime with it.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn an_echo_is_taken_off_and_what_only_begins_like_one_is_not() {
        for (echo, came, expected) in [
            (true, &[&b"ask-answer"[..]][..], &b"answer"[..]),
            (true, &[b"as", b"k-an", b"swer"], b"answer"),
            (true, &[b"ansWer"], b"ansWer"),
            (true, &[b"as", b"king"], b"asking"),
            (false, &[b"ask-answer"], b"ask-answer"),
        ] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut port = Port::new(Box::new(near), echo);
            port.begin();
            port.write_all(b"ask-").await.unwrap();
            let sent = async {
                for part in came {
                    far.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let mut bytes = vec![0; expected.len()];
            let (_, read) = tokio::join!(sent, port.read_exact(&mut bytes));
            read.unwrap();
            assert_eq!((&bytes[..], &port.heard()[..]), (expected, expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_silence_and_gives_up_on_a_line_that_never_has_any() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut port = Port::new(Box::new(near), false);
        far.write_all(b"old").await.unwrap();
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(80)).await;
            far.write_all(b"late").await.unwrap();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            far
        });
        let start = Instant::now();
        assert_eq!(port.drain(Duration::from_millis(100), Duration::from_secs(1)).await.unwrap(), 7);
        assert_eq!(start.elapsed(), Duration::from_millis(180));
        late.abort();

        let (near, mut far) = tokio::io::duplex(64);
        let mut port = Port::new(Box::new(near), false);
        tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
        });
        let error = port.drain(Duration::from_millis(100), Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("never falls silent"), "{error}");
    }
}
