//! BACnet's tagged encoding (ASHRAE 135, clause 20.2): bytes <-> elements. Pure. Knows no services.
//!
//! Our own, because the crate's decoders panic on a length above 8, ignore the character set and give up all of a reply for one value
//! that they do not know. Here whatever has a length can be stepped over, so that an odd value costs only itself.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use thiserror::Error;

use super::text;

/// Deepest nesting of constructed values that is stepped over. The deepest of the standard have five.
const MAX_DEPTH: usize = 16;
/// Instance that stands for "any", and the highest that fits.
pub(crate) const ANY_INSTANCE: u32 = 0x3F_FFFF;
/// The device that is asked, whatever its instance (clause 15.5.2).
pub(crate) const ANY_DEVICE: ObjectId = ObjectId { kind: 8, instance: ANY_INSTANCE };

/// Bytes that are no elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("bytes that are no BACnet elements")]
pub(crate) struct Malformed;

/// Names an object of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId {
    /// Type of the object, 0 to 1023.
    pub(crate) kind: u16,
    /// Its number among those of its type, 0 to 4194303.
    pub(crate) instance: u32,
}

impl ObjectId {
    pub(crate) fn new(kind: u16, instance: u32) -> Self {
        Self { kind, instance }
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self { kind: (bits >> 22) as u16, instance: bits & ANY_INSTANCE }
    }

    pub(crate) fn to_bits(self) -> u32 {
        u32::from(self.kind) << 22 | self.instance & ANY_INSTANCE
    }
}

/// What one element holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Real(f32),
    Double(f64),
    Octets(Vec<u8>),
    Text(String),
    Bits(Vec<bool>),
    Enumerated(u32),
    Date([u8; 4]),
    Time([u8; 4]),
    Object(ObjectId),
    /// Something under a context tag, as it is.
    Context(u8, Vec<u8>),
    /// Something between an opening and a closing tag: stepped over.
    Constructed,
    /// Its length or character set is none of its type: stepped over.
    Unreadable,
}

/// Tag of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Type of the value, and its length; of a boolean the value instead.
    Application(u8, usize),
    /// Its place among the parts of a service, and its length.
    Context(u8, usize),
    Opening(u8),
    Closing(u8),
}

/// Steps over elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    /// The next tag, stepped over; its content comes next.
    pub(crate) fn tag(&mut self) -> Result<Tag, Malformed> {
        let first = self.byte()?;
        let number = if first >> 4 == 0xF { self.byte()? } else { first >> 4 };
        let (context, short) = (first & 0x08 != 0, first & 0x07);
        match (context, short) {
            (true, 6) => return Ok(Tag::Opening(number)),
            (true, 7) => return Ok(Tag::Closing(number)),
            (false, 6 | 7) => return Err(Malformed),
            // A boolean has no content: its length is its value.
            (false, _) if number == TAG_BOOLEAN => return Ok(Tag::Application(number, usize::from(short))),
            _ => {}
        }
        let length = match short {
            5 => match self.byte()? {
                254 => self.take(2)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                255 => self.take(4)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                length => usize::from(length),
            },
            short => usize::from(short),
        };
        // Checked here, so that nobody ever makes room for a length that is not there.
        if length > self.rest.len() {
            return Err(Malformed);
        }
        Ok(if context { Tag::Context(number, length) } else { Tag::Application(number, length) })
    }

    /// The next tag, if there is one, without stepping over it.
    pub(crate) fn peek(&self) -> Option<Tag> {
        self.clone().tag().ok()
    }

    /// The content of a context tag that must come next.
    pub(crate) fn context(&mut self, number: u8) -> Result<&'b [u8], Malformed> {
        match self.tag()? {
            Tag::Context(own, length) if own == number => self.take(length),
            _ => Err(Malformed),
        }
    }

    /// The same where it may be missing.
    pub(crate) fn optional(&mut self, number: u8) -> Result<Option<&'b [u8]>, Malformed> {
        match self.peek() {
            Some(Tag::Context(own, _)) if own == number => self.context(number).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn unsigned(&mut self, number: u8) -> Result<u32, Malformed> {
        self.context(number).and_then(unsigned).and_then(|n| u32::try_from(n).map_err(|_| Malformed))
    }

    pub(crate) fn optional_unsigned(&mut self, number: u8) -> Result<Option<u32>, Malformed> {
        match self.peek() {
            Some(Tag::Context(own, _)) if own == number => self.unsigned(number).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn object(&mut self, number: u8) -> Result<ObjectId, Malformed> {
        let bits = self.context(number)?;
        bits.try_into().map(|bits| ObjectId::from_bits(u32::from_be_bytes(bits))).map_err(|_| Malformed)
    }

    /// Whether this opening tag comes next; steps over it if so.
    pub(crate) fn opens(&mut self, number: u8) -> bool {
        self.step(Tag::Opening(number))
    }

    /// Whether this closing tag comes next; steps over it if so.
    pub(crate) fn closes(&mut self, number: u8) -> bool {
        self.step(Tag::Closing(number))
    }

    fn step(&mut self, tag: Tag) -> bool {
        let mut ahead = *self;
        let found = ahead.tag() == Ok(tag);
        if found {
            *self = ahead;
        }
        found
    }

    /// All values up to this closing tag, which is stepped over. What is constructed among them counts as one value and is stepped over.
    pub(crate) fn values_until(&mut self, number: u8) -> Result<Vec<Value>, Malformed> {
        let mut values = Vec::new();
        while !self.closes(number) {
            values.push(self.value()?);
        }
        Ok(values)
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> Result<Value, Malformed> {
        match self.tag()? {
            Tag::Application(TAG_BOOLEAN, value @ 0..=1) => Ok(Value::Boolean(value == 1)),
            Tag::Application(TAG_BOOLEAN, _) => Ok(Value::Unreadable),
            Tag::Application(kind, length) => Ok(application(kind, self.take(length)?)),
            Tag::Context(number, length) => self.take(length).map(|content| Value::Context(number, content.to_vec())),
            Tag::Opening(number) => self.skip(number).map(|()| Value::Constructed),
            Tag::Closing(_) => Err(Malformed),
        }
    }

    /// Steps over the rest of what was opened with this number.
    fn skip(&mut self, number: u8) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            match self.tag()? {
                Tag::Application(TAG_BOOLEAN, _) => {}
                Tag::Application(_, length) | Tag::Context(_, length) => {
                    self.take(length)?;
                }
                Tag::Opening(_) if open.len() >= MAX_DEPTH => return Err(Malformed),
                Tag::Opening(number) => open.push(number),
                Tag::Closing(number) if number == innermost => {
                    open.pop();
                }
                Tag::Closing(_) => return Err(Malformed),
            }
        }
        Ok(())
    }
}

const TAG_BOOLEAN: u8 = 1;

fn application(kind: u8, content: &[u8]) -> Value {
    let found = match kind {
        0 if content.is_empty() => Some(Value::Null),
        2 => unsigned(content).ok().map(Value::Unsigned),
        3 => signed(content).map(Value::Signed),
        4 => content.try_into().ok().map(|bytes| Value::Real(f32::from_be_bytes(bytes))),
        5 => content.try_into().ok().map(|bytes| Value::Double(f64::from_be_bytes(bytes))),
        6 => Some(Value::Octets(content.to_vec())),
        7 => content.split_first().and_then(|(charset, bytes)| text::decode(*charset, bytes)).map(Value::Text),
        8 => bits(content).map(Value::Bits),
        9 => unsigned(content).ok().and_then(|n| u32::try_from(n).ok()).map(Value::Enumerated),
        10 => content.try_into().ok().map(Value::Date),
        11 => content.try_into().ok().map(Value::Time),
        12 => content.try_into().ok().map(|bytes| Value::Object(ObjectId::from_bits(u32::from_be_bytes(bytes)))),
        _ => None,
    };
    found.unwrap_or(Value::Unreadable)
}

/// A number of 1 to 8 bytes.
pub(crate) fn unsigned(content: &[u8]) -> Result<u64, Malformed> {
    if content.is_empty() || content.len() > 8 {
        return Err(Malformed);
    }
    Ok(content.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

pub(crate) fn signed(content: &[u8]) -> Option<i64> {
    let number = unsigned(content).ok()?;
    let unused = 64 - 8 * u32::try_from(content.len()).ok()?;
    Some((number << unused).cast_signed() >> unused)
}

fn bits(content: &[u8]) -> Option<Vec<bool>> {
    let (unused, bytes) = content.split_first()?;
    let count = (bytes.len() * 8).checked_sub(usize::from(*unused)).filter(|_| *unused < 8)?;
    Some(bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).take(count).collect())
}

/// The fewest bytes that hold a number: what is longer is refused by strict devices.
fn shortest(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    bytes.iter().skip(zeros).copied().collect()
}

fn shortest_signed(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xFF } else { 0 };
    // A byte of sign may go as long as the next one shows the same sign.
    let spare = bytes.iter().zip(bytes.iter().skip(1)).take_while(|(byte, next)| **byte == sign && (**next ^ sign) & 0x80 == 0).count();
    bytes.iter().skip(spare).copied().collect()
}

fn push(out: &mut Vec<u8>, class: u8, number: u8, content: &[u8]) {
    let short = u8::try_from(content.len()).ok().filter(|length| *length < 5).unwrap_or(5);
    if number < 15 {
        out.push(number << 4 | class | short);
    } else {
        out.extend([0xF0 | class | short, number]);
    }
    if short == 5 {
        match (u8::try_from(content.len()), u16::try_from(content.len())) {
            (Ok(length @ ..=253), _) => out.push(length),
            (_, Ok(length)) => {
                out.push(254);
                out.extend(length.to_be_bytes());
            }
            _ => {
                out.push(255);
                out.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
    }
    out.extend(content);
}

const CONTEXT: u8 = 0x08;

/// Appends a context tag with this content.
pub(crate) fn push_context(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    push(out, CONTEXT, number, content);
}

pub(crate) fn push_context_unsigned(out: &mut Vec<u8>, number: u8, value: u32) {
    push_context(out, number, &shortest(value.into()));
}

pub(crate) fn push_context_object(out: &mut Vec<u8>, number: u8, object: ObjectId) {
    push_context(out, number, &object.to_bits().to_be_bytes());
}

pub(crate) fn push_opening(out: &mut Vec<u8>, number: u8) {
    out.push(number << 4 | CONTEXT | 6);
}

pub(crate) fn push_closing(out: &mut Vec<u8>, number: u8) {
    out.push(number << 4 | CONTEXT | 7);
}

/// Appends a value under its own tag; what is only ever stepped over gives nothing.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(flag) => out.push(TAG_BOOLEAN << 4 | u8::from(*flag)),
        Value::Unsigned(number) => push(out, 0, 2, &shortest(*number)),
        Value::Signed(number) => push(out, 0, 3, &shortest_signed(*number)),
        Value::Real(number) => push(out, 0, 4, &number.to_be_bytes()),
        Value::Double(number) => push(out, 0, 5, &number.to_be_bytes()),
        Value::Octets(bytes) => push(out, 0, 6, bytes),
        Value::Text(text) => push(out, 0, 7, &[&[text::UTF_8], text.as_bytes()].concat()),
        Value::Bits(bits) => {
            let bytes = bits.chunks(8).map(|chunk| chunk.iter().zip((0..8).rev()).fold(0, |byte, (bit, at)| byte | u8::from(*bit) << at));
            let unused = u8::try_from(bits.len().wrapping_neg() % 8).unwrap_or_default();
            push(out, 0, 8, &std::iter::once(unused).chain(bytes).collect::<Vec<_>>());
        }
        Value::Enumerated(number) => push(out, 0, 9, &shortest((*number).into())),
        Value::Date(bytes) => push(out, 0, 10, bytes),
        Value::Time(bytes) => push(out, 0, 11, bytes),
        Value::Object(object) => push(out, 0, 12, &object.to_bits().to_be_bytes()),
        Value::Context(number, content) => push_context(out, *number, content),
        Value::Constructed | Value::Unreadable => {}
    }
}

#[cfg(test)]
mod tests;
