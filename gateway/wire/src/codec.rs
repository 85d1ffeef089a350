//! A cursor over postcard's primitives, for the bodies whose length the schema already tells.

use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;
use crate::envelope::invalid;

/// Writes postcard items one behind the other.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), WireError> {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(item, bytes).map_err(|e| invalid(e.to_string()))?;
        Ok(())
    }

    pub(crate) fn put_len(&mut self, len: usize) -> Result<(), WireError> {
        self.put(&u32::try_from(len).map_err(|_| invalid("a count over 32 bits"))?)
    }
}

/// Reads postcard items one behind the other; never past the end, never by a panic.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads one item; `what` names it in the error.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T, WireError> {
        let (item, rest) = postcard::take_from_bytes(self.rest).map_err(|e| match e {
            postcard::Error::DeserializeUnexpectedEnd => WireError::Truncated(what),
            other => invalid(format!("{what}: {other}")),
        })?;
        self.rest = rest;
        Ok(item)
    }

    /// The same as `take::<u64>`; millions of readings come through here.
    #[inline]
    pub(crate) fn take_u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        /// They hold 63 bits. Longer ones are for postcard to judge.
        const EASY_BYTES: usize = 9;
        let mut number = 0;
        for (place, byte) in self.rest.iter().take(EASY_BYTES).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(place + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        self.take(what)
    }

    /// The same as `take::<u32>`, but that it also takes a number with zeros in front.
    #[inline]
    pub(crate) fn take_u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        u32::try_from(self.take_u64(what)?).map_err(|_| invalid(format!("{what}: a number over 32 bits")))
    }

    /// The same as `take::<i64>`.
    #[inline]
    pub(crate) fn take_i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        let zigzag = self.take_u64(what)?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Reads a count and refuses one above `limit` before anything is allocated for it.
    pub(crate) fn take_len(&mut self, what: &'static str, limit: usize) -> Result<usize, WireError> {
        let len = self.take::<u32>(what)? as usize;
        if len > limit {
            return Err(invalid(format!("{what}: {len}, at most {limit} are allowed")));
        }
        Ok(len)
    }

    pub(crate) fn take_bytes(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(WireError::Trailing(more)),
        }
    }
}
