//! Numbers of any length in bytes, and a reader that never goes past its end. Knows nothing of parts.

use super::PartError;

/// A number of 7 bits a byte, the lowest first; the top bit says that more follow.
pub(in crate::store) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A signed number: near zero is short.
pub(in crate::store) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, zigzag(number));
}

pub(in crate::store) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// What is left to read of a piece, and where it lies in the part: errors name the place.
#[derive(Clone)]
pub(in crate::store) struct Reader<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Reader<'a> {
    pub(in crate::store) fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at }
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(in crate::store) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::store) fn damaged(&self, what: &'static str) -> PartError {
        PartError::Damaged { at: self.at, what }
    }

    pub(in crate::store) fn take(&mut self, bytes: usize, what: &'static str) -> Result<&'a [u8], PartError> {
        let (taken, rest) = self.bytes.split_at_checked(bytes).ok_or_else(|| self.damaged(what))?;
        self.bytes = rest;
        self.at += bytes as u64;
        Ok(taken)
    }

    /// Ends after so many bytes.
    pub(in crate::store) fn keep(&mut self, bytes: usize) {
        self.bytes = self.bytes.get(..bytes).unwrap_or(self.bytes);
    }

    pub(in crate::store) fn rest(&mut self) -> &'a [u8] {
        self.at += self.bytes.len() as u64;
        std::mem::take(&mut self.bytes)
    }

    pub(in crate::store) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PartError> {
        self.take(N, what)?.try_into().map_err(|_| self.damaged(what))
    }

    pub(in crate::store) fn byte(&mut self, what: &'static str) -> Result<u8, PartError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(in crate::store) fn number(&mut self, what: &'static str) -> Result<u64, PartError> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.damaged(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged(what))
    }

    pub(in crate::store) fn signed(&mut self, what: &'static str) -> Result<i64, PartError> {
        let number = self.number(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A length of at most `limit`.
    pub(in crate::store) fn length(&mut self, limit: usize, what: &'static str) -> Result<usize, PartError> {
        let length = self.number(what)?;
        usize::try_from(length).ok().filter(|length| *length <= limit).ok_or_else(|| self.damaged(what))
    }
}
