//! Serves profiles as a Modbus TCP device, for demos, commissioning and tests. Shell. Reads no real device. What is written to writable
//! points stays until the end.

pub mod values;
mod written;

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use self::written::{NotWritten, Written};
use crate::profile::{ModbusRead, Point, Profile, Read, Table};

/// Most connections at a time; a further one is closed at once. Real meters take one to five.
pub const MAX_CONNECTIONS: usize = 32;

/// Most registers in one request, as the Modbus specification has it.
const MAX_REGISTERS: u16 = 125;

/// Most bits in one request, as the Modbus specification has it.
const MAX_BITS: u16 = 2000;

/// Wait after the system could not give a connection (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves these units until `shutdown` is done. A request to any other unit is answered with exception 0B, as a TCP gateway
/// does for a device that is not there; the unit is the seed of its values.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    units: Vec<(u8, Arc<Profile>)>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> io::Result<()> {
    let start = Instant::now();
    let units: Arc<BTreeMap<u8, Simulated>> = Arc::new(
        units
            .into_iter()
            .map(|(unit, profile)| (unit, Simulated { seed: u64::from(unit), profile, start, written: Mutex::default() }))
            .collect(),
    );
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let on_connected = |stream: TcpStream, peer| {
        let (units, free) = (Arc::clone(&units), Arc::clone(&free));
        async move {
            let Ok(permit) = free.try_acquire_owned() else {
                tracing::warn!(%peer, limit = MAX_CONNECTIONS, "connection refused: the simulator has no more to give");
                return Ok(None);
            };
            let _ = stream.set_nodelay(true);
            Ok(Some((Connection { units, _permit: permit }, stream)))
        }
    };
    let on_error = |error: io::Error| tracing::debug!(%error, "simulated connection ended");
    let server = Server::new(listener);
    tokio::pin!(shutdown);
    loop {
        let ended = tokio::select! {
            () = &mut shutdown => return Ok(()),
            ended = server.serve(&on_connected, on_error) => ended,
        };
        let Err(error) = ended else { return Ok(()) };
        tracing::warn!(%error, "simulator could not accept a connection");
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
        }
    }
}

/// One unit.
struct Simulated {
    seed: u64,
    profile: Arc<Profile>,
    start: Instant,
    written: Mutex<Written>,
}

impl Simulated {
    fn answer(&self, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        match *request {
            Request::ReadCoils(address, count) => Ok(Response::ReadCoils(self.bits(Table::Coil, address, count)?)),
            Request::ReadDiscreteInputs(address, count) => Ok(Response::ReadDiscreteInputs(self.bits(Table::Discrete, address, count)?)),
            Request::ReadHoldingRegisters(address, count) => {
                Ok(Response::ReadHoldingRegisters(self.words(Table::Holding, address, count, MAX_REGISTERS)?))
            }
            Request::ReadInputRegisters(address, count) => {
                Ok(Response::ReadInputRegisters(self.words(Table::Input, address, count, MAX_REGISTERS)?))
            }
            Request::WriteSingleCoil(at, bit) => {
                self.write(Table::Coil, at, &[u16::from(bit)], u16::MAX)?;
                Ok(Response::WriteSingleCoil(at, bit))
            }
            Request::WriteSingleRegister(at, word) => {
                self.write(Table::Holding, at, &[word], u16::MAX)?;
                Ok(Response::WriteSingleRegister(at, word))
            }
            Request::WriteMultipleCoils(at, ref bits) => {
                let words: Vec<u16> = bits.iter().map(|bit| u16::from(*bit)).collect();
                Ok(Response::WriteMultipleCoils(at, self.write(Table::Coil, at, &words, u16::MAX)?))
            }
            Request::WriteMultipleRegisters(at, ref words) => {
                Ok(Response::WriteMultipleRegisters(at, self.write(Table::Holding, at, words, u16::MAX)?))
            }
            Request::MaskWriteRegister(at, and, or) => {
                self.write(Table::Holding, at, &[or], !and)?;
                Ok(Response::MaskWriteRegister(at, and, or))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }

    /// Writes these bits of registers of writable points; gives how many registers.
    fn write(&self, table: Table, first: u16, words: &[u16], mask: u16) -> Result<u16, ExceptionCode> {
        let count = u16::try_from(words.len()).ok().filter(|count| *count > 0).ok_or(ExceptionCode::IllegalDataValue)?;
        if first.checked_add(count - 1).is_none() {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let now = |at: u16| self.words(table, at, 1, 1).ok().and_then(|words| words.first().copied()).unwrap_or(0);
        // What the registers hold is looked at before the lock is taken: reading takes it too.
        let held: BTreeMap<u16, u16> =
            self.points(table).flat_map(|(_, read)| read.address..=read.own_last()).map(|at| (at, now(at))).collect();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |at: u16| held.get(&at).copied().unwrap_or(0);
        written.write(&self.profile.points, table, first, words, mask, held).map_err(|why| match why {
            NotWritten::Address => ExceptionCode::IllegalDataAddress,
            NotWritten::Value => ExceptionCode::IllegalDataValue,
        })?;
        Ok(count)
    }

    fn bits(&self, table: Table, address: u16, count: u16) -> Result<Vec<bool>, ExceptionCode> {
        Ok(self.words(table, address, count, MAX_BITS)?.into_iter().map(|word| word != 0).collect())
    }

    /// The words of all points in this range; holes between points read as 0 where the profile says that they may be read.
    fn words(&self, table: Table, address: u16, count: u16, most: u16) -> Result<Vec<u16>, ExceptionCode> {
        if count == 0 || count > most {
            return Err(ExceptionCode::IllegalDataValue);
        }
        let mut words: Vec<Option<u16>> = vec![None; usize::from(count)];
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (point, read) in self.points(table) {
            let value = values::value(self.seed, point, elapsed_ms);
            let Some(own) = values::words(read, &value) else { continue };
            let own = own.into_iter().zip(read.masks()).enumerate().map(|(i, own)| (usize::from(read.address) + i, own));
            let scale = read.scale_at.map(|at| (usize::from(at), (values::scale_register(read), u16::MAX)));
            for (register, (word, mask)) in own.chain(scale) {
                if let Some(slot) = register.checked_sub(usize::from(address)).and_then(|place| words.get_mut(place)) {
                    // Points may share a register; each has its bits.
                    *slot = Some(slot.unwrap_or(0) & !mask | word);
                }
            }
        }
        let in_hole = |i: usize| self.in_hole(table, usize::from(address) + i);
        let word = |(i, word): (usize, Option<u16>)| word.or_else(|| in_hole(i).then_some(0)).ok_or(ExceptionCode::IllegalDataAddress);
        let mut words = words.into_iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).over(table, address, &mut words);
        Ok(words)
    }

    fn points(&self, table: Table) -> impl Iterator<Item = (&Point, &ModbusRead)> {
        self.profile.points.iter().filter_map(move |point| match &point.read {
            Read::Modbus(read) if read.table == table => Some((point, read)),
            _ => None,
        })
    }

    /// Whether this register lies between two points of one block, no further apart than the profile allows to read over, or between
    /// a value and its scale.
    fn in_hole(&self, table: Table, register: usize) -> bool {
        let limits = &self.profile.modbus;
        if self.points(table).any(|(_, r)| (usize::from(r.first())..=usize::from(r.last())).contains(&register)) {
            return true;
        }
        let before = self.points(table).map(|(_, r)| usize::from(r.last()) + 1).filter(|end| *end <= register);
        let after = self.points(table).map(|(_, r)| usize::from(r.first())).filter(|start| *start > register);
        let (Some(low), Some(high)) = (before.max(), after.min()) else { return false };
        let in_one_block = match (u16::try_from(low.saturating_sub(1)), u16::try_from(high)) {
            (Ok(low), Ok(high)) => limits.in_one_block(low, high),
            _ => false,
        };
        let per_unit = if matches!(table, Table::Coil | Table::Discrete) { 16 } else { 1 };
        in_one_block && high - low <= usize::from(limits.max_gap) * per_unit
    }
}

/// One connection; its permit comes back when it ends.
struct Connection {
    units: Arc<BTreeMap<u8, Simulated>>,
    _permit: OwnedSemaphorePermit,
}

impl Service for Connection {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(match self.units.get(&request.slave) {
            Some(unit) => unit.answer(&request.request),
            None => Err(ExceptionCode::GatewayTargetDevice),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pattoo_wire::{Kind, Outcome, Reason, Repr, Sample, Value};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;
    use crate::command::Write;
    use crate::config::Device;
    use crate::config::Transport;
    use crate::driver::Driver as _;
    use crate::driver::modbus::Modbus;
    use crate::profile::{Encoding, Layout, ModbusLimits, WordOrder};
    use crate::reading::{DeviceIndex, PointIndex};

    fn profile() -> Arc<Profile> {
        let read = |table, address, encoding| ModbusRead::new(table, address, encoding);
        let reads = [
            read(Table::Input, 0, Encoding::F32),
            read(Table::Input, 2, Encoding::F64),
            ModbusRead { scale: (1, -1), ..read(Table::Input, 8, Encoding::U16) },
            ModbusRead { words: WordOrder::LowFirst, ..read(Table::Holding, 100, Encoding::U32) },
            ModbusRead { scale: (10, -2), ..read(Table::Holding, 110, Encoding::I64) },
            read(Table::Holding, 120, Encoding::U64),
            read(Table::Coil, 3, Encoding::Bit),
            read(Table::Discrete, 9, Encoding::Bit),
            ModbusRead { scale_at: Some(128), ..read(Table::Holding, 125, Encoding::I16) },
            ModbusRead { bits: Some((3, 1)), ..read(Table::Holding, 130, Encoding::U16) },
            ModbusRead { bits: Some((8, 4)), ..read(Table::Holding, 130, Encoding::U16) },
            read(Table::Holding, 140, Encoding::Text(4)),
            read(Table::Holding, 144, Encoding::DateTime(Layout::Six)),
        ];
        let point = |(i, read): (usize, ModbusRead)| {
            let kind = match read.repr() {
                Repr::Bool => Kind::State,
                Repr::Text => Kind::Text,
                _ => Kind::Gauge,
            };
            let (repr, states, unit) = (read.repr(), BTreeMap::new(), "V".to_owned());
            Point {
                name: format!("p{i}"),
                unit,
                kind,
                alarm: false,
                repr,
                every: None,
                states,
                range: None,
                read: Read::Modbus(read),
                writable: None,
            }
        };
        let points = reads.into_iter().enumerate().map(point).collect();
        let modbus = ModbusLimits { max_gap: 2, ..ModbusLimits::default() };
        Arc::new(Profile { id: "x".into(), manufacturer: "x".into(), model: "x".into(), modbus, points })
    }

    async fn start() -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        (address, stop, tokio::spawn(serve(listener, vec![(1, profile()), (7, profile())], stopped)))
    }

    #[tokio::test]
    async fn the_driver_reads_what_the_simulator_means() {
        let (address, stop, served) = start().await;
        let mut driver =
            Modbus::new(&Transport::ModbusTcp { endpoint: address.to_string(), timeout: Duration::from_secs(5) }, Box::new(|| 0));
        let points: Vec<_> = (0..13).map(PointIndex).collect();
        for unit in [1, 7] {
            let every = Duration::from_secs(1);
            let device = Device { name: "x".into(), profile: profile(), unit, every, labels: BTreeMap::default() };
            let transactions = driver.read(DeviceIndex(0), &device, &points).await;
            let readings: Vec<_> = transactions.into_iter().flat_map(|t| t.readings).collect();
            assert_eq!(readings.len(), 13);
            for reading in readings {
                let point = &device.profile.points[reading.point.0];
                let Sample::Good(got) = &reading.sample else { panic!("{}: {:?}", point.name, reading.sample) };
                // The value of some moment since the start: it was encoded, carried and decoded without a change.
                let Read::Modbus(read) = &point.read else { unreachable!() };
                let carried = |ms| {
                    let mut words = values::words(read, &values::value(u64::from(unit), point, ms))?;
                    if read.scale_at.is_some() {
                        words.extend([0, 0, values::scale_register(read)]);
                    }
                    Some(read.decode(&words, None))
                };
                assert!((0..20_000).any(|ms| carried(ms) == Some(Sample::Good(got.clone()))), "{}: {got}", point.name);
            }
        }
        drop(stop);
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_unit_that_is_not_there_is_a_silent_target_behind_a_gateway() {
        let (address, _stop, _) = start().await;
        let mut driver =
            Modbus::new(&Transport::ModbusTcp { endpoint: address.to_string(), timeout: Duration::from_secs(5) }, Box::new(|| 0));
        let every = Duration::from_secs(1);
        let device = Device { name: "x".into(), profile: profile(), unit: 2, every, labels: BTreeMap::default() };
        let transactions = driver.read(DeviceIndex(0), &device, &[PointIndex(0)]).await;
        assert_eq!(transactions[0].readings[0].sample, Sample::Bad(Reason::Exception(0x0B)));
    }

    #[tokio::test]
    async fn requests_that_the_device_cannot_serve_are_refused() {
        let (address, _stop, _) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for (function, first, count, exception) in [
            (4, 1000, 1, 2),
            (4, 0, 10, 2),
            (4, 10, 1, 2),
            (3, 102, 1, 2),
            (4, 0, 0, 3),
            (4, 0, 126, 3),
            (1, 0, 2001, 3),
            (6, 100, 1, 2),
            (5, 3, 0, 2),
            (7, 0, 0, 1),
        ] {
            let (first, count) = (u16::to_be_bytes(first), u16::to_be_bytes(count));
            let request = [0, 1, 0, 0, 0, 6, 1, function, first[0], first[1], count[0], count[1]];
            stream.write_all(&request).await.unwrap();
            let mut reply = [0; 9];
            stream.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply, [0, 1, 0, 0, 0, 3, 1, function | 0x80, exception], "function {function} at {first:?} for {count:?}");
        }
    }

    /// By every function, through the driver, and what was written stays.
    #[tokio::test]
    async fn what_is_written_to_a_writable_point_is_read_again() {
        let text = "schema: 1\nid: io\nmanufacturer: X\nmodel: X\npoints:
  - { name: relay, read: { coil: 0 }, writable: true }
  - { name: valve, read: { coil: 1 }, writable: { function: 15 } }
  - { name: speed, read: { holding: 0, type: u16, scale: 0.1 }, writable: { min: 0, max: 90 } }
  - { name: level, read: { holding: 2, type: f32 }, writable: { min: 0, max: 90 } }
  - { name: low, read: { holding: 8, type: u16, bits: [0, 2] }, writable: { min: 0, max: 7, function: 22 } }
  - { name: high, read: { holding: 8, type: u16, bit: 15 }, writable: { function: 22 } }
  - { name: fixed, read: { holding: 9, type: u16 } }\n";
        let profile = Arc::new(Profile::read(std::path::Path::new("io.yaml"), text.as_bytes()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, vec![(1, Arc::clone(&profile))], std::future::pending()));
        let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: Duration::from_secs(5) }, Box::new(|| 0));
        let every = Duration::from_secs(1);
        let device = Device { name: "x".into(), profile, unit: 1, every, labels: BTreeMap::default() };
        let mut expected = BTreeMap::new();
        let decimal = |mantissa, exponent| Value::Decimal(pattoo_wire::Decimal { mantissa, exponent });
        for (point, value, outcome) in [
            (0, Value::Bool(true), Outcome::Done),
            (1, Value::Bool(true), Outcome::Done),
            (2, decimal(505, -1), Outcome::Done),
            (2, decimal(901, -1), Outcome::Rejected),
            (3, Value::F32(12.5), Outcome::Done),
            (4, decimal(5, 0), Outcome::Done),
            (5, Value::Bool(true), Outcome::Done),
            (4, decimal(2, 0), Outcome::Done),
            (6, decimal(1, 0), Outcome::NotWritable),
        ] {
            let write = Write { point: PointIndex(point), value: value.clone(), expected: None, read_modify_write: false };
            let written = driver.write(DeviceIndex(0), &device, &write).await;
            assert_eq!(written.outcome, outcome, "{point} {value}: {}", written.detail);
            if outcome == Outcome::Done {
                expected.insert(point, value);
            }
            for transaction in driver.read(DeviceIndex(0), &device, &(0..7).map(PointIndex).collect::<Vec<_>>()).await {
                for reading in transaction.readings {
                    let Some(value) = expected.get(&reading.point.0) else { continue };
                    assert_eq!(reading.sample, Sample::Good(value.clone()), "{}", reading.point.0);
                }
            }
        }
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_the_others_stay() {
        let (address, _stop, _) = start().await;
        let mut open = Vec::new();
        let request = [0, 1, 0, 0, 0, 6, 1, 4, 0, 0, 0, 2];
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request).await.unwrap();
            stream.read_exact(&mut [0; 13]).await.unwrap();
            open.push(stream);
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
        open[0].write_all(&request).await.unwrap();
        open[0].read_exact(&mut [0; 13]).await.unwrap();
    }
}
