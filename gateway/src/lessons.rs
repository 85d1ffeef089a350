//! What polls have taught about the devices, as it is kept across restarts: which registers a device refuses. Pure: bytes in, bytes out.
//!
//! The file is a line that names its version and the checksum of the rest, which is JSON. It is a cache: losing it costs a few requests. Each
//! device has a key made of all that the lessons depend on, so that another profile, link or unit begins anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Device, Transport};
use crate::profile::Table;

/// Largest file that is read, in bytes: a thousand devices that refuse a hundred registers each.
pub const MAX_BYTES: usize = 8 << 20;

const MARK: &str = "pattoo-learned 1";

/// Lessons about one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lessons {
    /// Points that it refuses, by their position in the profile.
    pub refused: BTreeMap<usize, Lesson>,
    /// Addresses that a request may not reach from below: one that begins before them ends before them.
    pub edges: Vec<(Table, u16, Lesson)>,
}

/// One thing that a device refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// With this exception.
    pub code: u8,
    /// How often it has been tried, 1 for the first time.
    pub tries: u8,
    /// Time until it is tried again, in ms of running.
    pub left_ms: u64,
}

/// Lessons about all devices, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pages: BTreeMap<String, Page>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    key: u32,
    lessons: Lessons,
}

/// Why a book cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BookError {
    /// Not a book, or of a later version.
    #[error("found another first line, expected {MARK:?} and a checksum")]
    Mark,
    /// Other bytes than were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// The right bytes of something else.
    #[error("{0}")]
    Content(String),
}

impl Book {
    /// What was learned about this device, as long as nothing about it has changed.
    #[must_use]
    pub fn find(&self, device: &Device, link: &str, transport: &Transport) -> Option<&Lessons> {
        self.pages.get(&device.name).filter(|page| page.key == key(device, link, transport)).map(|page| &page.lessons)
    }

    /// Keeps what was learned; nothing is kept of nothing.
    pub fn keep(&mut self, device: &Device, link: &str, transport: &Transport, lessons: Lessons) {
        if lessons == Lessons::default() {
            self.pages.remove(&device.name);
        } else {
            self.pages.insert(device.name.clone(), Page { key: key(device, link, transport), lessons });
        }
    }

    /// Forgets devices that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.pages.retain(|name, _| is_there(name));
    }

    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Maps of strings and numbers: cannot fail.
        let body = serde_json::to_vec(self).unwrap_or_default();
        [format!("{MARK} {:08x}\n", crc32fast::hash(&body)).as_bytes(), &body].concat()
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It is not what was written, or was written by a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BookError> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(BookError::Mark)?;
        let (head, body) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default());
        let head = std::str::from_utf8(head).map_err(|_| BookError::Mark)?;
        let sum = head.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(' ')).ok_or(BookError::Mark)?;
        if u32::from_str_radix(sum, 16).map_err(|_| BookError::Mark)? != crc32fast::hash(body) {
            return Err(BookError::Checksum);
        }
        serde_json::from_slice(body).map_err(|error| BookError::Content(error.to_string()))
    }
}

/// Of all that lessons depend on; a new version of the program may give another one, and begins anew as well.
fn key(device: &Device, link: &str, transport: &Transport) -> u32 {
    crc32fast::hash(format!("{:?} {link} {transport:?} {}", device.profile, device.unit).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::profile::Profile;

    const PROFILE: &str = "schema: 1\nid: x\nmanufacturer: x\nmodel: x\npoints:\n  - { name: a, read: { holding: 0, type: u16 } }\n";

    fn device(profile: &str, unit: u8) -> Device {
        let profile = Arc::new(Profile::read("x.yaml".as_ref(), profile.as_bytes()).unwrap());
        Device { name: "meter".into(), profile, unit, every: Duration::from_secs(1), labels: Default::default() }
    }

    fn tcp(endpoint: &str) -> Transport {
        Transport::ModbusTcp { endpoint: endpoint.into(), timeout: Duration::from_secs(1) }
    }

    fn book() -> Book {
        let lesson = Lesson { code: 2, tries: 3, left_ms: 240_000 };
        let lessons = Lessons { refused: [(7, lesson)].into(), edges: vec![(Table::Input, 40, lesson)] };
        let mut book = Book::default();
        book.keep(&device(PROFILE, 1), "plc", &tcp("a:502"), lessons);
        book
    }

    #[test]
    fn what_was_learned_is_found_again_unless_something_about_the_device_has_changed() {
        let book = Book::decode(&book().encode()).unwrap();
        let another = PROFILE.replace("holding: 0", "holding: 1");
        for (device, link, endpoint, found) in [
            (device(PROFILE, 1), "plc", "a:502", true),
            (device(&another, 1), "plc", "a:502", false),
            (device(PROFILE, 2), "plc", "a:502", false),
            (device(PROFILE, 1), "roof", "a:502", false),
            (device(PROFILE, 1), "plc", "b:502", false),
            (Device { name: "pump".into(), ..device(PROFILE, 1) }, "plc", "a:502", false),
        ] {
            assert_eq!(book.find(&device, link, &tcp(endpoint)).is_some(), found, "{link} {endpoint} {}", device.unit);
        }
    }

    #[test]
    fn nothing_but_what_was_written_is_read() {
        let good = book().encode();
        assert_eq!(Book::decode(&good).unwrap(), book());
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(Book::decode(&bytes).is_err(), "byte {at}");
            assert!(Book::decode(&good[..at]).is_err(), "cut at {at}");
        }
        let later = String::from_utf8(good).unwrap().replace("learned 1", "learned 2");
        assert_eq!(Book::decode(later.as_bytes()), Err(BookError::Mark));
    }

    #[test]
    fn of_nothing_learned_and_of_a_device_that_is_gone_nothing_is_kept() {
        let mut forgotten = book();
        forgotten.keep(&device(PROFILE, 1), "plc", &tcp("a:502"), Lessons::default());
        assert_eq!(forgotten, Book::default());
        let mut gone = book();
        gone.retain(|name| name != "meter");
        assert_eq!(gone, Book::default());
    }
}
