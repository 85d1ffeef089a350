//! One TCP connection to a Modbus device that is thrown away as soon as anything about it is in doubt. Decodes no values.
//!
//! After a late or doubled reply tokio-modbus hands out answers to earlier questions or errors for ever. So a connection lives
//! only while every request on it was answered in full by its own reply or by an exception; a request that is given up, for
//! whatever reason, takes its connection with it.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::SlaveContext as _;
use tokio_modbus::{Error, Request as Pdu, Response, Slave};

use pattoo_wire::Reason;

use super::Clock;
use crate::plan::Request;
use crate::profile::Table;

/// What the device said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As many registers as asked, or bits as 0 and 1.
    Words(Vec<u16>),
    /// An exception with this code.
    Refused(u8),
}

/// Why there is no answer. The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection could be made.
    Unreachable,
    /// The connection ended before the reply did.
    Closed,
    /// Nothing, or not all, in time.
    Timeout,
    /// Something that is no reply to this request.
    Malformed,
}

impl Failure {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Unreachable | Self::Closed => Reason::LinkDown,
            Self::Timeout => Reason::Timeout,
            Self::Malformed => Reason::Malformed,
        }
    }
}

/// An answer or a failure, and the middle between question and answer in ms since 1970.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) at_ms: i64,
    pub(super) result: Result<Answer, Failure>,
}

/// The way to one endpoint.
pub(super) struct Session {
    endpoint: String,
    timeout: Duration,
    clock: Clock,
    /// Taken out while a request is under way, so that a request that is dropped half-way drops it too.
    context: Option<Context>,
    /// When the last request ended.
    quiet_since: Option<Instant>,
}

impl Session {
    pub(super) fn new(endpoint: String, timeout: Duration, clock: Clock) -> Self {
        Self { endpoint, timeout, clock, context: None, quiet_since: None }
    }

    /// Longest wait for a connection and for a reply.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Asks once; a second time on a new connection where the first one had been used before, for that one may have gone stale
    /// while it was idle: closed by the device, or with a doubled reply still in it. That shows at once, so that what took long is
    /// not tried again.
    pub(super) async fn ask(&mut self, unit: u8, request: &Request, min_gap: Duration) -> Exchange {
        let (used, start) = (self.context.is_some(), Instant::now());
        let first = self.attempt(unit, request, min_gap).await;
        match first.result {
            Err(Failure::Closed | Failure::Malformed) if used && start.elapsed() < min_gap + self.timeout => {
                self.attempt(unit, request, min_gap).await
            }
            _ => first,
        }
    }

    async fn attempt(&mut self, unit: u8, request: &Request, min_gap: Duration) -> Exchange {
        if let Some(quiet_since) = self.quiet_since {
            sleep_until(quiet_since + min_gap).await;
        }
        let mut start = self.now_ms();
        let context = match self.context.take() {
            Some(context) => Ok(context),
            None => connect(&self.endpoint, self.timeout).await,
        };
        let result = match context {
            Err(failure) => Err(failure),
            Ok(mut context) => {
                start = self.now_ms();
                let result = call(&mut context, unit, request, self.timeout).await;
                if result.is_ok() {
                    self.context = Some(context);
                }
                result
            }
        };
        self.quiet_since = Some(Instant::now());
        if let Err(failure) = result {
            tracing::debug!(endpoint = %self.endpoint, unit, address = request.address, ?failure, "Modbus connection dropped");
        }
        Exchange { at_ms: start.midpoint(self.now_ms()), result }
    }
}

async fn connect(endpoint: &str, limit: Duration) -> Result<Context, Failure> {
    let stream = match timeout(limit, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) | Err(_) => return Err(Failure::Unreachable),
    };
    // Only speed: requests are far smaller than a segment and must not wait for the acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    Ok(tcp::attach_slave(stream, Slave(0)))
}

async fn call(context: &mut Context, unit: u8, request: &Request, limit: Duration) -> Result<Answer, Failure> {
    let (address, count) = (request.address, request.count);
    let pdu = match request.table {
        Table::Coil => Pdu::ReadCoils(address, count),
        Table::Discrete => Pdu::ReadDiscreteInputs(address, count),
        Table::Holding => Pdu::ReadHoldingRegisters(address, count),
        Table::Input => Pdu::ReadInputRegisters(address, count),
    };
    context.set_slave(Slave(unit));
    match timeout(limit, context.call(pdu)).await {
        Ok(Ok(Ok(response))) => words(request, response),
        Ok(Ok(Err(exception))) => Ok(Answer::Refused(exception.into())),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(Failure::Timeout),
    }
}

/// Exactly what was asked for, or the reply is not taken.
fn words(request: &Request, response: Response) -> Result<Answer, Failure> {
    let count = usize::from(request.count);
    match (request.table, response) {
        (Table::Holding, Response::ReadHoldingRegisters(words)) | (Table::Input, Response::ReadInputRegisters(words))
            if words.len() == count =>
        {
            Ok(Answer::Words(words))
        }
        // Bits come in whole bytes, the last one filled up.
        (Table::Coil, Response::ReadCoils(bits)) | (Table::Discrete, Response::ReadDiscreteInputs(bits))
            if bits.len() == count.div_ceil(8) * 8 =>
        {
            Ok(Answer::Words(bits.into_iter().take(count).map(u16::from).collect()))
        }
        _ => Err(Failure::Malformed),
    }
}

/// The library's own complaints have a kind and no errno. A closed connection has whatever errno was last set, so its kind says
/// nothing.
fn classify(error: &Error) -> Failure {
    use std::io::ErrorKind;
    match error {
        Error::Protocol(_) => Failure::Malformed,
        Error::Transport(io) if io.raw_os_error().is_some() => Failure::Closed,
        Error::Transport(io) => match io.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => Failure::Malformed,
            _ => Failure::Closed,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// What a request makes of these bytes, after which the connection ends.
    fn hear(table: Table, count: u16, bytes: &[u8]) -> Result<Answer, Failure> {
        let request = Request { table, address: 5, count, points: vec![] };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(70_000);
            let mut context = tcp::attach_slave(near, Slave(0));
            let mut asked = [0; 12];
            let device = async {
                tokio::io::AsyncReadExt::read_exact(&mut far, &mut asked).await.unwrap();
                far.write_all(bytes).await.unwrap();
                drop(far);
            };
            tokio::join!(call(&mut context, 9, &request, Duration::from_secs(10)), device).0
        })
    }

    #[test]
    fn bits_are_taken_from_exactly_as_many_bytes_as_they_need() {
        let reply = |bytes: &[u8]| {
            let (count, length) = (u8::try_from(bytes.len()).unwrap(), u8::try_from(bytes.len() + 3).unwrap());
            hear(Table::Coil, 10, &[&[0, 0, 0, 0, 0, length, 9, 1, count], bytes].concat())
        };
        let bits = vec![1, 0, 1, 1, 0, 0, 0, 0, 0, 1];
        assert_eq!(reply(&[0b0000_1101, 0b1111_1110]), Ok(Answer::Words(bits)));
        assert_eq!(reply(&[0b0000_1101]), Err(Failure::Malformed));
        assert_eq!(reply(&[0, 0, 0]), Err(Failure::Malformed));
    }

    #[test]
    fn a_table_asks_with_its_own_function() {
        for (table, function) in [(Table::Coil, 1), (Table::Discrete, 2), (Table::Holding, 3), (Table::Input, 4)] {
            for answered in 1..=4 {
                let result = hear(table, 8, &[0, 0, 0, 0, 0, 3, 9, answered | 0x80, 4]);
                let expected = if answered == function { Ok(Answer::Refused(4)) } else { Err(Failure::Malformed) };
                assert_eq!(result, expected, "{table:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_another_number_of_words(
            table in prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]),
            count in 1..=125u16,
            header in prop::sample::select(vec![vec![0, 0, 0, 0], vec![0, 0, 0, 1], vec![]]),
            length in prop::option::of(0..300u16),
            function in prop::option::of(0..=255u8),
            rest in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = header;
            bytes.extend(length.map_or(u16::try_from(rest.len()).unwrap() + 2, |l| l).to_be_bytes());
            bytes.push(9);
            bytes.push(function.unwrap_or(match table { Table::Coil => 1, Table::Discrete => 2, Table::Holding => 3, Table::Input => 4 }));
            bytes.extend(rest);
            if let Ok(Answer::Words(words)) = hear(table, count, &bytes) {
                prop_assert_eq!(words.len(), usize::from(count));
            }
        }
    }
}
