//! What of a certificate both programs must know: when it ends. A reader of as much DER as that needs.
//!
//! It proves nothing: signature and chain are what TLS has checked before anything here is believed.

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`: the version, which version 1 leaves out.
const VERSION: u8 = 0xa0;
const DAY_S: i64 = 24 * 3600;

/// Bytes in DER that are still to be read.
#[derive(Debug, Clone, Copy)]
pub struct Der<'a>(
    /// The bytes.
    pub &'a [u8],
);

impl<'a> Der<'a> {
    /// The next element: its tag and content; none where there is no whole one.
    pub fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        let (found, content) = self.element()?;
        (found == tag).then_some(Der(content))
    }
}

/// What of a certificate (RFC 5280) lies around its names.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The names of the issuer.
    pub issuer: Der<'a>,
    /// When it ends, ms since 1970.
    pub ends_ms: i64,
    /// The names of the subject.
    pub subject: Der<'a>,
}

impl<'a> Frame<'a> {
    /// Reads it; nothing where it is not as X.509 has it.
    #[must_use]
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let mut body = Der(der).expect(SEQUENCE)?.expect(SEQUENCE)?;
        let (tag, _) = Der(body.0).element()?;
        if tag == VERSION {
            body.element()?;
        }
        // Serial number, signature algorithm.
        body.element()?;
        body.element()?;
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = body.expect(SEQUENCE)?;
        validity.element()?;
        let (tag, until) = validity.element()?;
        let ends_ms = time_ms(tag, until)?;
        Some(Self { issuer, ends_ms, subject: body.expect(SEQUENCE)? })
    }
}

/// When a certificate ends, ms since 1970; nothing where it cannot be read.
#[must_use]
pub fn ends_ms(der: &[u8]) -> Option<i64> {
    Frame::read(der).map(|frame| frame.ends_ms)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that RFC 5280 allows.
fn time_ms(tag: u8, text: &[u8]) -> Option<i64> {
    let (century, text) = match tag {
        GENERALIZED_TIME => {
            let (century, rest) = text.split_at_checked(2)?;
            (digits(century)?, rest)
        }
        UTC_TIME => (if text.first()? >= &b'5' { 19 } else { 20 }, text),
        _ => return None,
    };
    let digit_pairs = text.strip_suffix(b"Z")?;
    if digit_pairs.len() != 12 {
        return None;
    }
    let fields: Vec<i64> = digit_pairs.chunks_exact(2).map(digits).collect::<Option<_>>()?;
    let &[year, month, day, hour, minute, second] = fields.as_slice() else { return None };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(century * 100 + year, month, day);
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) * 1000)
}

fn digits(pair: &[u8]) -> Option<i64> {
    std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Days from 1970-01-01 in the Gregorian calendar; years begin in March here, so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `openssl req -x509 -newkey ed25519 -subj /CN=x -days 3650` made it on 2026-11-30.
    const MADE: &[u8] = include_bytes!("../tests/certificate.der");
    /// As `openssl x509 -enddate` has it.
    const MADE_ENDS_MS: i64 = 2_111_416_548_000;

    #[test]
    fn times_are_read_as_the_calendar_has_them() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000_000)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (GENERALIZED_TIME, "20001329120000Z", None),
            (GENERALIZED_TIME, "20000229120000", None),
            (GENERALIZED_TIME, "2000022912000+Z", None),
            (UTC_TIME, "", None),
            (0x04, "700101000000Z", None),
        ] {
            assert_eq!(time_ms(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_that_somebody_else_made_is_read() {
        assert_eq!(ends_ms(MADE), Some(MADE_ENDS_MS));
        assert_eq!(ends_ms(&MADE[..MADE.len() - 1]), None, "cut off");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let _ = ends_ms(&bytes);
            let mut der = MADE.to_vec();
            let at = at.index(der.len());
            der[at] = with;
            let _ = ends_ms(&der);
        }
    }
}
