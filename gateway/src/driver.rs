//! What every protocol driver offers, and the list of them.
//!
//! To add a protocol: write `driver/<protocol>.rs`, its `mod` line here, a variant of [`crate::profile::Read`] and of
//! [`crate::config::Transport`], and one line in [`open`]. Drivers know nothing of buffer or uplink, nor of each other.

pub mod bacnet;
pub mod exec;
pub mod host;
pub mod inputs;
pub mod modbus;
pub mod snmp;
pub mod trap;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pattoo_wire::Outcome;

use self::modbus::ear::Ear;
use crate::clock;
use crate::command::{Write, Written};
use crate::config::{Config, Device, Transport};
use crate::health::Waiting;
use crate::lessons::Lessons;
use crate::reading::{DeviceIndex, PointIndex, Row, Transaction};

/// Gives the time that transactions are stamped with, in ms: [`boot_clock`] in the daemon, [`wall_clock`] for a single look.
pub type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// Whether something waits that must not wait for all of a read.
pub type Hurry = Box<dyn Fn() -> bool + Send + Sync>;

/// What came without having been asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Readings that came by themselves. A device that has gone quiet gives bad ones.
    pub transactions: Vec<Transaction>,
    /// What is to be read now, out of turn, of devices of any link.
    pub hasten: Vec<(DeviceIndex, Vec<PointIndex>)>,
}

/// Reads the devices of one link.
pub trait Driver: Send {
    /// Reads these points of this device now, each exactly once; a point that has rows once for each, and one that this device does not
    /// have not at all. A device that fails gives bad readings, never an error, and those that did answer stay good. Building a driver does
    /// no I/O; it connects here, when it must.
    fn read<'a>(
        &'a mut self,
        index: DeviceIndex,
        device: &'a Device,
        points: &'a [PointIndex],
    ) -> Pin<Box<dyn Future<Output = Vec<Transaction>> + Send + 'a>>;

    /// Waits for what comes by itself: notifications, traps, lines of a program; for ever where nothing does. It may be dropped at any
    /// moment and loses nothing by that; between two calls as much as the driver has room for waits in it.
    fn hear<'a>(&'a mut self, _config: &'a Config) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        Box::pin(std::future::pending())
    }

    /// From now on a read ends between two requests while this says so. Each read gets on, so that the rest of it comes to an end.
    fn hurry_when(&mut self, _hurry: Hurry) {}

    /// The points that the last read did not come to: they have no reading yet.
    fn left(&mut self) -> Vec<PointIndex> {
        Vec::new()
    }

    /// Writes one point of this device now, at most once, and reads it back. A device that fails gives an outcome, never an error.
    fn write<'a>(
        &'a mut self,
        _index: DeviceIndex,
        _device: &'a Device,
        _write: &'a Write,
    ) -> Pin<Box<dyn Future<Output = Written> + Send + 'a>> {
        Box::pin(std::future::ready(Written::not(Outcome::NotWritable, "this protocol cannot write")))
    }

    /// What was learned of this device in an earlier run.
    fn recall(&mut self, _index: DeviceIndex, _lessons: &Lessons) {}

    /// What is known of this device and worth keeping across restarts, if that is another than when this was asked last.
    fn learned(&mut self, _index: DeviceIndex) -> Option<Lessons> {
        None
    }

    /// How long this device is waited for at present, and what went wrong; nothing where its driver does not measure that.
    fn waiting(&self, _device: &Device) -> Waiting {
        Waiting::default()
    }

    /// The series that these points have on this device, to say on each why the device is left alone: one for each point, where the
    /// driver knows of no others.
    fn series(&self, _index: DeviceIndex, _device: &Device, points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
        plain(points)
    }
}

fn plain(points: &[PointIndex]) -> Vec<(PointIndex, Option<Arc<Row>>)> {
    points.iter().map(|point| (*point, None)).collect()
}

/// What the parts of a link have together: nothing, or the socket that all of its devices share.
#[derive(Clone, Default)]
pub(crate) struct Common(Option<Arc<bacnet::port::Port>>);

impl Common {
    /// Of this link. Does no I/O.
    pub(crate) fn of(transport: &Transport) -> Self {
        match transport {
            Transport::Bacnet(bacnet) => Self(Some(Arc::new(bacnet::port::Port::new(bacnet)))),
            _ => Self::default(),
        }
    }
}

/// The driver of a link, with an ear at it where one is given. Does no I/O.
pub(crate) fn open(transport: &Transport, clock: Clock, ear: Option<Arc<dyn Ear>>) -> Box<dyn Driver> {
    open_part(transport, &Common::of(transport), clock, ear)
}

/// The driver of one part of a link.
pub(crate) fn open_part(transport: &Transport, common: &Common, clock: Clock, ear: Option<Arc<dyn Ear>>) -> Box<dyn Driver> {
    match transport {
        Transport::ModbusTcp { .. } | Transport::ModbusTls { .. } | Transport::RtuOverTcp { .. } | Transport::ModbusRtu { .. } => {
            let driver = modbus::Modbus::new(transport, clock);
            Box::new(match ear {
                Some(ear) => driver.heard_by(ear),
                None => driver,
            })
        }
        Transport::Snmp(agent) => Box::new(snmp::Snmp::new((**agent).clone(), clock)),
        Transport::SnmpTraps(traps) => Box::new(trap::TrapListener::new(traps, clock)),
        Transport::Host => Box::new(host::Host::new(clock)),
        Transport::Bacnet(settings) => {
            let port = common.0.clone().unwrap_or_else(|| Arc::new(bacnet::port::Port::new(settings)));
            Box::new(bacnet::Bacnet::new(settings, port, clock))
        }
        Transport::Exec(program) => Box::new(exec::Exec::new((**program).clone(), clock)),
        Transport::Input(input) => Box::new(inputs::Inputs::new((**input).clone(), clock)),
    }
}

/// Time since this machine started: see [`crate::timebase`].
#[must_use]
pub fn boot_clock() -> Clock {
    Box::new(clock::boot_ms)
}

/// UTC as the system has it.
#[must_use]
pub fn wall_clock() -> Clock {
    Box::new(clock::now_ms)
}
