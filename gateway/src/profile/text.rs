//! Registers <-> texts, dates and times of day.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use pattoo_wire::Reason;

use super::Layout;

/// A year of two digits is counted from here.
const CENTURY: u16 = 2000;

/// Text of these words up to its first NUL, without the spaces at its end. What is not UTF-8 or not printable shows as U+FFFD.
/// Nothing but NUL, or nothing but set bits, is how devices say that there is no text.
pub(super) fn decode(words: &[u16]) -> Result<String, Reason> {
    if words.iter().all(|word| *word == 0) || words.iter().all(|word| *word == u16::MAX) {
        return Err(Reason::NotAValue);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).take_while(|byte| *byte != 0).collect();
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(' ').chars().map(clean).collect())
}

/// As many of its characters as so many registers hold, with NUL behind.
pub(super) fn encode(text: &str, registers: u16) -> Vec<u16> {
    let room = usize::from(registers) * 2;
    let end = text.char_indices().map(|(start, c)| start + c.len_utf8()).take_while(|end| *end <= room).last().unwrap_or(0);
    let mut bytes = text.as_bytes().get(..end).unwrap_or_default().to_vec();
    bytes.resize(room, 0);
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// A moment as a calendar and a clock show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    year: u16,
    month: u16,
    day: u16,
    hour: u16,
    minute: u16,
    ms: u16,
}

impl Moment {
    /// A month 13 or a 30th of February is no moment.
    fn is_possible(self) -> bool {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days = match self.month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => 0,
        };
        self.year >= 1 && self.year <= 9999 && (1..=days).contains(&self.day) && self.hour < 24 && self.minute < 60 && self.ms < 60_000
    }
}

/// The date and time in these words, in ISO 8601 without a zone.
pub(super) fn decode_time(words: &[u16], layout: Layout) -> Result<String, Reason> {
    let high = |word: u16| word >> 8;
    let low = |word: u16| word & 0xFF;
    let full = |year: u16| if year < 100 { CENTURY + year } else { year };
    let ms = |second: u16| second.saturating_mul(1000);
    let moment = match (layout, words) {
        (Layout::Iec, [_, _, minute, _]) if minute & 0x80 != 0 => return Err(Reason::NotAValue),
        (Layout::Iec, [year, date, time, ms]) => Moment {
            year: CENTURY + (year & 0x7F),
            month: high(*date) & 0x0F,
            day: date & 0x1F,
            hour: high(*time) & 0x1F,
            minute: time & 0x3F,
            ms: *ms,
        },
        (Layout::Six, [year, month, day, hour, minute, second]) => {
            Moment { year: full(*year), month: *month, day: *day, hour: *hour, minute: *minute, ms: ms(*second) }
        }
        (Layout::Three, [a, b, c]) => {
            Moment { year: CENTURY + high(*a), month: low(*a), day: high(*b), hour: low(*b), minute: high(*c), ms: ms(low(*c)) }
        }
        _ => return Err(Reason::Malformed),
    };
    // A year of three digits from the high byte of a word is as wrong as a 13th month.
    let short = layout != Layout::Six && moment.year >= CENTURY + 100;
    if short || !moment.is_possible() {
        return Err(Reason::NotAValue);
    }
    let Moment { year, month, day, hour, minute, ms } = moment;
    let seconds = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", ms / 1000);
    Ok(if layout == Layout::Iec { format!("{seconds}.{:03}", ms % 1000) } else { seconds })
}

/// The words for a date and time as [`decode_time`] writes them; none for another text.
pub(super) fn encode_time(text: &str, layout: Layout) -> Option<Vec<u16>> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let pair = |high: u16, low: u16| high << 8 | low;
    let words = match layout {
        Layout::Iec => {
            let ms = second * 1000 + text.get(20..).map_or(Some(0), |ms| if ms.is_empty() { Some(0) } else { ms.parse().ok() })?;
            vec![year.checked_sub(CENTURY)?, pair(month, day), pair(hour, minute), ms]
        }
        Layout::Six => vec![year, month, day, hour, minute, second],
        Layout::Three => vec![pair(year.checked_sub(CENTURY)?, month), pair(day, hour), pair(minute, second)],
    };
    // What does not come back as it went is not what these registers mean.
    decode_time(&words, layout).ok().filter(|back| back.starts_with(text) || text.starts_with(back.as_str())).map(|_| words)
}
