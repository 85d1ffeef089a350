//! Two serial ports joined by a wire, as pseudo terminals: what is sent into one comes out of the other.
//!
//! A pseudo terminal takes any speed and ignores it; here bytes arrive damaged while the two ends are set differently. Of the parities only
//! `odd` can be told from the others, because the kernel forgets that there is any.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::Result;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};

/// The wire; it ends when both ports were closed and this value is gone.
pub struct Wire {
    /// One port.
    pub left: String,
    /// The other one.
    pub right: String,
}

struct End {
    far: File,
    near: File,
    path: String,
}

impl Wire {
    /// Makes both ports.
    ///
    /// # Errors
    /// The system has no pseudo terminal to give.
    pub fn start() -> Result<Self> {
        let ends = [Arc::new(End::open()?), Arc::new(End::open()?)];
        let [left, right] = &ends;
        for (from, to) in [(left, right), (right, left)] {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            // Ends with the test that it belongs to.
            std::thread::spawn(move || carry(&from, &to));
        }
        Ok(Self { left: left.path.clone(), right: right.path.clone() })
    }
}

impl End {
    fn open() -> Result<Self> {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&far)?;
        unlockpt(&far)?;
        let path = ptsname(&far, Vec::new())?.into_string()?;
        // Kept open, so that nobody is hung up on when a program closes its port.
        let near = File::options().read(true).write(true).open(&path)?;
        let mut settings = tcgetattr(near.as_fd())?;
        settings.make_raw();
        tcsetattr(near.as_fd(), OptionalActions::Now, &settings)?;
        Ok(Self { far: File::from(far), near, path })
    }

    /// Speed, and whether parity is odd.
    fn settings(&self) -> Option<(u32, bool)> {
        let settings = tcgetattr(self.near.as_fd()).ok()?;
        Some((settings.output_speed(), settings.control_modes.contains(ControlModes::PARODD)))
    }
}

fn carry(from: &End, to: &End) {
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = (&from.far).read(&mut bytes) {
        let garble = if from.settings() == to.settings() { 0 } else { 0x5A };
        let sent: Vec<u8> = bytes.iter().take(count).map(|byte| byte ^ garble).collect();
        if (&to.far).write_all(&sent).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pattoo_gateway::link::serial::SerialLine;
    use pattoo_gateway::profile::Parity;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_arrive_whole_only_between_ends_that_are_set_alike() {
        let wire = Wire::start().unwrap();
        for (left, right, whole) in [
            ((9600, Parity::None), (9600, Parity::None), true),
            ((9600, Parity::None), (19_200, Parity::None), false),
            ((19_200, Parity::Odd), (19_200, Parity::None), false),
            ((19_200, Parity::Odd), (19_200, Parity::Odd), true),
        ] {
            let mut near = SerialLine::new(wire.left.clone().into(), left.0, left.1).open().unwrap();
            let mut far = SerialLine::new(wire.right.clone().into(), right.0, right.1).open().unwrap();
            AsyncWriteExt::write_all(&mut near, b"hello").await.unwrap();
            let mut heard = [0; 5];
            AsyncReadExt::read_exact(&mut far, &mut heard).await.unwrap();
            assert_eq!(&heard == b"hello", whole, "{left:?} {right:?}");
        }
    }
}
