//! Messages of Prometheus' remote write, as VictoriaMetrics takes them: protobuf in Snappy. Pure.
//!
//! ```text
//! WriteRequest = TimeSeries as field 1, repeated      Label  = name as field 1, value as field 2
//! TimeSeries   = Label as 1, Sample as 2, repeated    Sample = value as field 1 (double), ms since 1970 as field 2 (varint)
//! ```
//! Four messages of two fields each: written here by hand, because a protobuf crate would bring a code generator and say no more.

use snap::raw::Encoder;

/// Most samples of one message: VictoriaMetrics takes messages of 32 MiB, and one of this many has a few hundred KiB.
pub const MAX_SAMPLES: usize = 10_000;

/// First bytes of the fields: number and type.
const FIELD_1_BYTES: u8 = 1 << 3 | 2;
const FIELD_2_BYTES: u8 = 2 << 3 | 2;
const FIELD_1_DOUBLE: u8 = 1 << 3 | 1;
const FIELD_2_NUMBER: u8 = 2 << 3;

/// A message that grows series by series.
#[derive(Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
    series: Vec<u8>,
    samples: usize,
}

impl Message {
    /// Adds samples (value, ms since 1970) of the series with these labels (name, value).
    pub fn put<L: AsRef<str>>(&mut self, labels: impl IntoIterator<Item = (L, L)>, samples: impl IntoIterator<Item = (f64, i64)>) {
        self.series.clear();
        for (name, value) in labels {
            let (name, value) = (name.as_ref(), value.as_ref());
            self.series.push(FIELD_1_BYTES);
            put(&mut self.series, (field_bytes(name.len()) + field_bytes(value.len())) as u64);
            for (field, text) in [(FIELD_1_BYTES, name), (FIELD_2_BYTES, value)] {
                self.series.push(field);
                put(&mut self.series, text.len() as u64);
                self.series.extend_from_slice(text.as_bytes());
            }
        }
        for (value, at_ms) in samples {
            self.series.push(FIELD_2_BYTES);
            // A double and its field, and the time and its field. A negative time is ten bytes, as a large unsigned one.
            self.series.push((9 + 1 + number_bytes(at_ms as u64)) as u8);
            self.series.push(FIELD_1_DOUBLE);
            self.series.extend_from_slice(&value.to_le_bytes());
            self.series.push(FIELD_2_NUMBER);
            put(&mut self.series, at_ms as u64);
            self.samples += 1;
        }
        self.bytes.push(FIELD_1_BYTES);
        put(&mut self.bytes, self.series.len() as u64);
        self.bytes.extend_from_slice(&self.series);
    }

    /// Samples so far.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The body of a request; the message is empty again.
    ///
    /// # Errors
    /// Larger than Snappy can be, which is 4 GiB.
    pub fn take(&mut self) -> Result<Vec<u8>, snap::Error> {
        let body = Encoder::new().compress_vec(&self.bytes);
        self.bytes.clear();
        self.samples = 0;
        body
    }
}

fn field_bytes(length: usize) -> usize {
    1 + number_bytes(length as u64) + length
}

fn number_bytes(number: u64) -> usize {
    ((u64::BITS - (number | 1).leading_zeros()) as usize).div_ceil(7)
}

/// 7 bits a byte, lowest first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_the_specification_of_protobuf_says() {
        let mut message = Message::default();
        message.put([("__name__", "x"), ("l", "ü")], [(1.0, 300), (-2.5, -1)]);
        message.put([("__name__", "y")], []);
        assert_eq!(message.samples(), 2);
        let body = message.take().unwrap();
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let expected = [
            &[0x0a, 60][..],
            &[0x0a, 13, 0x0a, 8],
            b"__name__",
            &[0x12, 1],
            b"x",
            &[0x0a, 7, 0x0a, 1],
            b"l",
            &[0x12, 2],
            "ü".as_bytes(),
            &[0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02],
            &[0x12, 20, 0x09, 0, 0, 0, 0, 0, 0, 0x04, 0xc0, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0a, 15, 0x0a, 13, 0x0a, 8],
            b"__name__",
            &[0x12, 1],
            b"y",
        ]
        .concat();
        assert_eq!(bytes, expected);
        assert_eq!((message.samples(), snap::raw::Decoder::new().decompress_vec(&message.take().unwrap()).unwrap()), (0, vec![]));
    }

    #[test]
    fn numbers_have_the_bytes_that_are_counted_for_them() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(out.len(), number_bytes(number), "{number}");
        }
    }
}
