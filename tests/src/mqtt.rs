//! An MQTT client that does what no honest one does: it builds each packet by hand, and may stop anywhere.
//!
//! Blocking, over TCP or TLS, from any loopback address. Knows as much of MQTT 5 and 3.1.1 as the tests need.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Longest wait for an answer of the broker.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks at a socket.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Kinds of packets, as the first half of their first byte.
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// Reason codes of MQTT 5.
pub mod code {
    pub const SUCCESS: u8 = 0x00;
    pub const GRANTED_1: u8 = 0x01;
    pub const NO_SUBSCRIBERS: u8 = 0x10;
    pub const UNSUPPORTED_VERSION: u8 = 0x84;
    pub const CLIENT_ID: u8 = 0x85;
    pub const BAD_LOGIN: u8 = 0x86;
    pub const NOT_AUTHORIZED: u8 = 0x87;
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// What follows its length.
    pub body: Vec<u8>,
}

/// What a CONNECT says.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// Client id.
    pub id: &'a str,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
    /// Topic and payload of a retained last will.
    pub will: Option<(&'a str, &'a [u8])>,
    /// Protocol version: 5, or 4 for 3.1.1.
    pub version: u8,
}

impl<'a> Connect<'a> {
    /// With this id and nothing else.
    #[must_use]
    pub fn as_id(id: &'a str) -> Self {
        Self { id, login: None, will: None, version: 5 }
    }

    /// With an account.
    #[must_use]
    pub fn login(self, user: &'a str, password: &'a str) -> Self {
        Self { login: Some((user, password)), ..self }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = 0x02;
        let v5 = self.version == 5;
        let mut payload = text(self.id);
        if let Some((topic, message)) = self.will {
            flags |= 0x04 | 0x20;
            payload.extend(if v5 { vec![0] } else { vec![] });
            payload.extend([text(topic), binary(message)].concat());
        }
        if let Some((user, password)) = self.login {
            flags |= 0xc0;
            payload.extend([text(user), text(password)].concat());
        }
        let mut body = [text("MQTT"), vec![self.version, flags, 0, 60]].concat();
        body.extend(if v5 { vec![0] } else { vec![] });
        packet(kind::CONNECT << 4, &[body, payload].concat())
    }
}

/// A packet with this first byte.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [header(first, body.len()), body.to_vec()].concat()
}

/// First byte and length of a packet whose body may never come.
#[must_use]
pub fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = length;
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        bytes.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if more == 0 {
            return bytes;
        }
    }
}

/// A PUBLISH of MQTT 5 with QoS 1.
#[must_use]
pub fn publish(topic: &str, id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let first = kind::PUBLISH << 4 | 0x02 | u8::from(retain);
    packet(first, &[text(topic), id.to_be_bytes().to_vec(), vec![0], payload.to_vec()].concat())
}

fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes(), bytes].concat()
}

/// A TCP connection from a given address of this machine.
///
/// # Errors
/// Nobody listens there, or the address is not of this machine.
pub fn connect_from(from: &str, to: SocketAddr) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse()?, 0))?;
        anyhow::Ok(socket.connect(to).await?.into_std()?)
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A connection.
pub struct Raw {
    stream: Stream,
    buffer: Vec<u8>,
    next_id: u16,
    /// Messages that came while something else was waited for: topic and payload.
    pub messages: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// Over this connection.
    ///
    /// # Errors
    /// It has gone already.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Stream::Plain(stream), buffer: Vec::new(), next_id: 0, messages: Vec::new() })
    }

    /// Without TLS.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn plain(to: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect(to)?)
    }

    /// With TLS, to the server's name `localhost`; the handshake is over when this is back.
    ///
    /// # Errors
    /// The handshake fails. What is refused after it shows at the first answer.
    pub fn tls(to: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        Self::tls_over(TcpStream::connect(to)?, config)
    }

    /// The same over this connection.
    ///
    /// # Errors
    /// The same.
    pub fn tls_over(stream: TcpStream, config: &Arc<ClientConfig>) -> Result<Self> {
        let mut raw = Self::over(stream)?;
        let Stream::Plain(mut stream) = raw.stream else { bail!("it is plain") };
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        raw.stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(raw)
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// The broker has closed, or does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes)?,
            Stream::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// The next packet; none where the broker closed.
    ///
    /// # Errors
    /// Neither comes in time.
    pub fn receive(&mut self) -> Result<Option<Packet>> {
        let start = Instant::now();
        let mut chunk = [0; 4096];
        loop {
            if let Some(packet) = self.buffered() {
                return Ok(Some(packet));
            }
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut chunk),
                Stream::Tls(stream) => stream.read(&mut chunk),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                // A reset, or an alert of TLS: it closed.
                Err(_) => return Ok(None),
            }
            ensure!(start.elapsed() < ANSWER_WITHIN, "no packet within {ANSWER_WITHIN:?}");
        }
    }

    fn buffered(&mut self) -> Option<Packet> {
        let first = *self.buffer.first()?;
        let (mut length, mut used) = (0, 1);
        loop {
            let byte = *self.buffer.get(used)?;
            length |= usize::from(byte & 0x7f) << (7 * (used - 1));
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = self.buffer.get(used..used + length)?.to_vec();
        self.buffer.drain(..used + length);
        Some(Packet { kind: first >> 4, flags: first & 0x0f, body })
    }

    /// The next packet of that kind; messages before it are kept.
    ///
    /// # Errors
    /// It does not come in time, or the broker closes first.
    pub fn wait(&mut self, kind: u8) -> Result<Packet> {
        loop {
            let packet = self.receive()?.with_context(|| format!("the broker closed before a packet of kind {kind}"))?;
            if packet.kind == kind {
                return Ok(packet);
            }
            ensure!(packet.kind == kind::PUBLISH, "waited for a packet of kind {kind}, got {packet:?}");
            self.keep(&packet)?;
        }
    }

    /// A message came, QoS 1 or 0 of MQTT 5: keeps and acknowledges it.
    fn keep(&mut self, packet: &Packet) -> Result<()> {
        let body = packet.body.as_slice();
        let (length, rest) = body.split_at_checked(2).context("no topic")?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into()?))).context("no topic")?;
        let with_id = packet.flags & 0x06 != 0;
        let (id, rest) = rest.split_at_checked(if with_id { 2 } else { 0 }).context("no id")?;
        let (properties, rest) = rest.split_first().context("no properties")?;
        let payload = rest.get(usize::from(*properties)..).context("no payload")?;
        self.messages.push((String::from_utf8_lossy(topic).into_owned(), payload.to_vec()));
        match with_id {
            true => self.send(&self::packet(kind::PUBACK << 4, id)),
            false => Ok(()),
        }
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// None comes in time, or the broker closes.
    pub fn message(&mut self) -> Result<(String, Vec<u8>)> {
        loop {
            if !self.messages.is_empty() {
                return Ok(self.messages.remove(0));
            }
            let packet = self.receive()?.context("the broker closed before a message")?;
            if packet.kind == kind::PUBLISH {
                self.keep(&packet)?;
            }
        }
    }

    /// Sends CONNECT; gives the reason code of the answer, none where the broker closed without one.
    ///
    /// # Errors
    /// Neither comes in time.
    pub fn connect(&mut self, connect: Connect<'_>) -> Result<Option<u8>> {
        if self.send(&connect.bytes()).is_err() {
            return Ok(None);
        }
        match self.receive()? {
            Some(Packet { kind: kind::CONNACK, body, .. }) => Ok(body.get(1).copied()),
            Some(other) => bail!("expected CONNACK, got {other:?}"),
            None => Ok(None),
        }
    }

    /// Sends CONNECT, which must be accepted.
    ///
    /// # Errors
    /// It is not.
    pub fn connected(mut self, connect: Connect<'_>) -> Result<Self> {
        let answer = self.connect(connect)?;
        ensure!(answer == Some(code::SUCCESS), "{connect:?} was answered by {answer:02x?}");
        Ok(self)
    }

    /// Publishes with QoS 1; gives the reason code.
    ///
    /// # Errors
    /// No answer.
    pub fn publish(&mut self, topic: &str, retain: bool, payload: &[u8]) -> Result<u8> {
        self.next_id = self.next_id % 60_000 + 1;
        self.send(&publish(topic, self.next_id, retain, payload))?;
        Ok(self.wait(kind::PUBACK)?.body.get(2).copied().unwrap_or(code::SUCCESS))
    }

    /// Subscribes with QoS 1; gives the reason code.
    ///
    /// # Errors
    /// No answer.
    pub fn subscribe(&mut self, filter: &str) -> Result<u8> {
        self.subscribe_with(filter, 1)
    }

    /// Subscribes with this QoS; gives the reason code.
    ///
    /// # Errors
    /// No answer.
    pub fn subscribe_with(&mut self, filter: &str, qos: u8) -> Result<u8> {
        self.send(&packet(kind::SUBSCRIBE << 4 | 0x02, &[vec![0, 1, 0], text(filter), vec![qos]].concat()))?;
        self.wait(kind::SUBACK)?.body.last().copied().context("an empty SUBACK")
    }

    /// How long it takes until the broker has closed.
    ///
    /// # Errors
    /// It does not close within the bound.
    pub fn closed_after(&mut self, bound: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            if let Ok(None) = self.receive() {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < bound, "not closed within {bound:?}");
        }
    }

    /// Closes as a program that was killed does.
    pub fn drop_dead(self) {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        };
        let _ = stream.shutdown(Shutdown::Both);
    }
}
