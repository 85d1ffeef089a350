//! Bytes as they come -> lines. Holds at most one line that is not complete.

use super::MAX_LINE_BYTES;

/// A line that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Which one of its source, from 1.
    pub number: u64,
    /// Without what ends it; none where it was longer than [`MAX_LINE_BYTES`].
    pub bytes: Option<Vec<u8>>,
}

/// Cuts what comes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    number: u64,
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes some bytes; gives the lines that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Cut> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.begin(line);
            lines.push(self.end());
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.begin(bytes);
        lines
    }

    /// The last line, where nothing ended it.
    pub fn finish(&mut self) -> Option<Cut> {
        (self.too_long || !self.begun.is_empty()).then(|| self.end())
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.too_long || self.begun.len() + bytes.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn end(&mut self) -> Cut {
        self.number += 1;
        let mut bytes = std::mem::take(&mut self.begun);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Cut { number: self.number, bytes: (!std::mem::take(&mut self.too_long)).then_some(bytes) }
    }
}
