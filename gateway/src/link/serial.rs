//! Serial ports: opening one with its settings, and how long bytes take on it. A shell file.
//!
//! Does not frame, wait or retry. RS-485 direction control is left to the kernel: toggling RTS from a program is too late by
//! milliseconds on a busy machine, and the next device's reply is then cut.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serial2::rs4xx::Rs485Config;
use thiserror::Error;
use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt as _, SerialStream, StopBits};

use crate::profile::Parity;

/// Above this speed the silence between frames no longer shrinks: Modbus over serial line 1.02, §2.5.1.1.
const FAST_BAUD: u32 = 19_200;
const FAST_GAP: Duration = Duration::from_micros(1750);

/// How a serial line is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialLine {
    /// Device file; a name under `/dev/serial/by-id` stays the same adapter whatever else is plugged in.
    pub path: PathBuf,
    /// Bits per second, 300 to 1 000 000.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
    /// One or two stop bits.
    pub stop_bits: u8,
    /// The kernel switches the transmitter on for each frame and off behind it.
    pub rs485: bool,
    /// The adapter hears what it sends itself.
    pub echo: bool,
}

/// Why a port cannot be used.
#[derive(Debug, Error)]
pub enum SerialError {
    /// It cannot be opened.
    #[error("serial port {}: {what}{}", path.display(), hint(*kind))]
    Open {
        /// Device file.
        path: PathBuf,
        /// What the system said.
        what: String,
        /// The kind of it.
        kind: io::ErrorKind,
    },
    /// Its driver has no RS-485 mode.
    #[error("serial port {}: its driver cannot switch RS-485 by itself ({error}): leave out `rs485` where the adapter does it", path.display())]
    Rs485 {
        /// Device file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "; is the adapter plugged in? See /dev/serial/by-id",
        io::ErrorKind::PermissionDenied => "; this user must be in group dialout",
        _ => "",
    }
}

impl SerialLine {
    /// A line as most are: one stop bit, no RS-485 mode, no echo.
    #[must_use]
    pub fn new(path: PathBuf, baud: u32, parity: Parity) -> Self {
        Self { path, baud, parity, stop_bits: 1, rs485: false, echo: false }
    }

    /// Bits that one byte takes on the line: start, eight data, parity and stop bits.
    #[must_use]
    pub fn bits_per_byte(&self) -> u32 {
        1 + 8 + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits)
    }

    /// Time that these bytes take on the line.
    #[must_use]
    pub fn time_of(&self, bytes: u32) -> Duration {
        let bits = u64::from(bytes) * u64::from(self.bits_per_byte());
        Duration::from_nanos(bits * 1_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// Silence that separates two frames: 3.5 characters of 11 bits, 1.75 ms above 19200 baud.
    #[must_use]
    pub fn frame_gap(&self) -> Duration {
        if self.baud > FAST_BAUD { FAST_GAP } else { Duration::from_nanos(38_500_000_000 / u64::from(self.baud.max(1))) }
    }

    /// Opens the port for this process alone.
    ///
    /// # Errors
    /// It is not there, not allowed, in use, or has no RS-485 mode where one is asked for.
    pub fn open(&self) -> Result<SerialStream, SerialError> {
        if self.rs485 {
            set_rs485(&self.path)?;
        }
        let parity = match self.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let stop_bits = if self.stop_bits == 2 { StopBits::Two } else { StopBits::One };
        let builder = tokio_serial::new(self.path.to_string_lossy(), self.baud)
            .data_bits(DataBits::Eight)
            .parity(parity)
            .stop_bits(stop_bits)
            .flow_control(FlowControl::None);
        builder.open_native_async().map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &tokio_serial::Error) -> SerialError {
        let kind = match error.kind {
            tokio_serial::ErrorKind::Io(kind) => kind,
            _ => io::ErrorKind::Other,
        };
        SerialError::Open { path: self.path.clone(), what: error.to_string(), kind }
    }
}

/// Sets the mode through a handle of its own: the kernel keeps it with the port.
fn set_rs485(path: &Path) -> Result<(), SerialError> {
    let at = |error| SerialError::Rs485 { path: path.to_owned(), error };
    let port = serial2::SerialPort::open(path, serial2::KeepSettings).map_err(|error| SerialError::Open {
        path: path.to_owned(),
        what: error.to_string(),
        kind: error.kind(),
    })?;
    port.set_rs4xx_mode(Rs485Config::new()).map_err(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(baud: u32, parity: Parity, stop_bits: u8) -> SerialLine {
        SerialLine { path: "/dev/null".into(), baud, parity, stop_bits, rs485: false, echo: false }
    }

    #[test]
    fn bytes_and_gaps_take_the_time_that_the_standard_says() {
        for (baud, parity, stop_bits, byte_us, gap_us) in [
            (9600, Parity::Even, 1, 1145, 4010),
            (9600, Parity::None, 1, 1041, 4010),
            (9600, Parity::None, 2, 1145, 4010),
            (19_200, Parity::Odd, 1, 572, 2005),
            (115_200, Parity::Even, 1, 95, 1750),
        ] {
            let line = line(baud, parity, stop_bits);
            assert_eq!((line.time_of(1).as_micros(), line.frame_gap().as_micros()), (byte_us, gap_us), "{baud}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_not_there_says_where_to_look() {
        let line = SerialLine { path: "/dev/serial/by-id/none".into(), ..line(9600, Parity::None, 1) };
        let error = line.open().unwrap_err().to_string();
        assert!(error.contains("/dev/serial/by-id/none") && error.contains("plugged in"), "{error}");
        let error = SerialLine { rs485: true, ..line }.open().unwrap_err().to_string();
        assert!(error.contains("plugged in"), "{error}");
    }
    #[test]
    fn a_port_that_may_not_be_opened_names_the_group_that_may() {
        let denied = tokio_serial::Error::new(tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied), "Permission denied");
        let error = line(9600, Parity::None, 1).refused(&denied).to_string();
        assert!(error.contains("/dev/null") && error.contains("Permission denied") && error.contains("group dialout"), "{error}");
    }
}
