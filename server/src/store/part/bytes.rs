//! Numbers of any length in bytes, and a reader that never goes past its end. Knows nothing of parts.

use super::PartError;

/// A number of 7 bits a byte, the lowest first; the top bit says that more follow.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A signed number: near zero is short.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, zigzag(number));
}

pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// What is left to read of a piece, and where it lies in the part: errors name the place.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { bytes, at }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn damaged(&self, what: &'static str) -> PartError {
        PartError::Damaged { at: self.at, what }
    }

    pub(super) fn take(&mut self, bytes: usize, what: &'static str) -> Result<&'a [u8], PartError> {
        let (taken, rest) = self.bytes.split_at_checked(bytes).ok_or_else(|| self.damaged(what))?;
        self.bytes = rest;
        self.at += bytes as u64;
        Ok(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.at += self.bytes.len() as u64;
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PartError> {
        self.take(N, what)?.try_into().map_err(|_| self.damaged(what))
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, PartError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, PartError> {
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

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, PartError> {
        let number = self.number(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A length of at most `limit`.
    pub(super) fn length(&mut self, limit: usize, what: &'static str) -> Result<usize, PartError> {
        let length = self.number(what)?;
        usize::try_from(length).ok().filter(|length| *length <= limit).ok_or_else(|| self.damaged(what))
    }
}
