//! Reads a log and changes nothing.

use super::recovery::{Recovered, recover};
use super::{Disk, LogError};

/// Gives each record to `take`, as a start would; nothing is set aside, nothing made durable.
///
/// # Errors
/// The disk refuses.
pub fn check(disk: impl Disk, take: &mut dyn FnMut(u64, &[u8])) -> Result<Recovered, LogError> {
    recover(&mut ReadOnly(disk), take)
}

struct ReadOnly<D>(D);

fn never<T>() -> Result<T, LogError> {
    Err(LogError::Disk("BUG: a check writes".into()))
}

impl<D: Disk> Disk for ReadOnly<D> {
    fn segments(&mut self) -> Result<Vec<(u64, u64)>, LogError> {
        self.0.segments()
    }

    fn read(&mut self, segment: u64) -> Result<Vec<u8>, LogError> {
        self.0.read(segment)
    }

    fn sync(&mut self, _: u64) -> Result<(), LogError> {
        Ok(())
    }

    fn create(&mut self, _: u64, _: &[u8]) -> Result<(), LogError> {
        never()
    }

    fn append(&mut self, _: &[u8]) -> Result<(), LogError> {
        never()
    }

    fn remove(&mut self, _: u64) -> Result<(), LogError> {
        never()
    }

    fn set_aside(&mut self, _: u64, _: u64, _: &[u8]) -> Result<String, LogError> {
        Ok(String::new())
    }
}
