//! The `read:` of a point: which registers or which metric, what they hold and how their numbers are meant.
//!
//! | key | meaning |
//! |---|---|
//! | `input`, `holding`, `coil`, `discrete` | 0-based protocol address in that table |
//! | `modicon` | the same as some vendors print it: 00001 coil 0, 10001 discrete input 0, 30001 input and 40001 holding register 0 |
//! | `host` | a metric of this Linux host; no other key goes with it |
//! | `object` | a BACnet object, see [`bacnet`]; none of the other keys below are for it |
//! | `field` | what a line of a program or a script tells, with keys of its own: see [`ListedField`] |
//! | `sunspec` | a SunSpec model, or a list of those that share a layout: `[101, 102, 103]`. The device says where it has it |
//! | `at` | register of a `sunspec` model, 0 for the one with its id; `scale_at` is counted like it |
//! | `rows` | `[first, size]`: the value is there in each row of a table; the first row begins at `first`, `at` lies in it |
//! | `type` | what the registers hold, see [`Encoding`]; `bit` where absent on coils and discrete inputs |
//! | `registers` | length of a `text` |
//! | `words`, `bytes` | `high_first` or `low_first`: ABCD is the default, BADC has low bytes first, CDAB low words, DCBA both |
//! | `bit`, `bits` | one bit of a `u16`, `u32` or `u64` (a boolean), or a few as a number: `bit: 3`, `bits: [4, 6]` |
//! | `scale`, `offset` | exact decimals: value = raw * scale + offset |
//! | `scale_at` | register with a power of ten, -10 to 10, that multiplies as well (SunSpec); always read together with the value |
//! | `decimals` | rounds a float, or a value with `scale_at`, to an exact decimal; without it those are floats and doubles |
//! | `invalid` | raw bits that say "no value"; else those of the type under `modbus: invalid:` hold, and `[]` switches them off |
//!
//! A list of such readings is for SunSpec points: the first one counts whose model the device has.

use super::read::{MAX_ITEMS, pair, register};
use super::sunspec::{END, HEADER};
use super::{ByteOrder, Encoding, Half, Layout, ModbusRead, Place, Read, Table, WordOrder, bacnet};
use crate::driver::host::Metric;
use crate::lines::{FIELD, LineRead, ListedField};
use crate::yaml::{self, Field, Fields, Node, Problems};

/// Most registers of a text: those of one request.
pub(super) const MAX_TEXT_REGISTERS: u16 = 125;

/// Highest register of a SunSpec model that a profile may name. The longest models that are in use have a few hundred.
pub(super) const MAX_AT: u16 = 9_999;

const TABLES: &[(&str, Table)] =
    &[("input", Table::Input), ("holding", Table::Holding), ("coil", Table::Coil), ("discrete", Table::Discrete)];

/// Where a point may be read from.
pub(super) const PLACES: &[&str] = &["input", "holding", "coil", "discrete", "modicon", "host", SUNSPEC];

/// The place that is a model.
pub(super) const SUNSPEC: &str = "sunspec";

/// Keys that only go with [`SUNSPEC`].
pub(super) const IN_MODEL: &[&str] = &["at", "rows"];

/// Keys beside the place.
pub(super) const HOW: &[&str] =
    &["type", "registers", "words", "bytes", "bit", "bits", "scale", "offset", "scale_at", "decimals", "invalid"];

/// Text is as long as `registers` says.
pub(super) const TYPES: &[(&str, Encoding)] = &[
    ("u16", Encoding::U16),
    ("i16", Encoding::I16),
    ("u32", Encoding::U32),
    ("i32", Encoding::I32),
    ("u64", Encoding::U64),
    ("i64", Encoding::I64),
    ("f32", Encoding::F32),
    ("f64", Encoding::F64),
    ("u8_high", Encoding::U8(Half::High)),
    ("u8_low", Encoding::U8(Half::Low)),
    ("i8_high", Encoding::I8(Half::High)),
    ("i8_low", Encoding::I8(Half::Low)),
    ("u24", Encoding::U24),
    ("f16", Encoding::F16),
    ("bcd16", Encoding::Bcd16),
    ("bcd32", Encoding::Bcd32),
    ("mod10_2", Encoding::Mod10(2)),
    ("mod10_3", Encoding::Mod10(3)),
    ("mod10_4", Encoding::Mod10(4)),
    ("text", Encoding::Text(1)),
    ("datetime_iec", Encoding::DateTime(Layout::Iec)),
    ("datetime_6", Encoding::DateTime(Layout::Six)),
    ("datetime_3", Encoding::DateTime(Layout::Three)),
    ("bit", Encoding::Bit),
];

pub(super) const WORDS: &[(&str, WordOrder)] = &[("high_first", WordOrder::HighFirst), ("low_first", WordOrder::LowFirst)];
pub(super) const BYTES: &[(&str, ByteOrder)] = &[("high_first", ByteOrder::HighFirst), ("low_first", ByteOrder::LowFirst)];

/// Name of a type as profiles write it.
pub(super) fn type_name(encoding: Encoding) -> &'static str {
    let same = |other: &Encoding| *other == encoding || matches!((other, encoding), (Encoding::Text(_), Encoding::Text(_)));
    TYPES.iter().find(|(_, other)| same(other)).map_or("", |(name, _)| *name)
}

/// What says "no value" on all points of a type that say nothing else themselves.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(Encoding, Vec<i128>)>);

impl Marks {
    /// `{ u16: 0xFFFF, i32: [0x7FFFFFFF, 0x80000000] }`.
    pub(super) fn read(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let mut marks = Vec::new();
        for (name, at, node) in field.entries("the raw bits of \"no value\" by type, such as { u16: 0xFFFF }", problems)? {
            let types: Vec<_> = TYPES.iter().filter(|(_, encoding)| has_marks(*encoding)).copied().collect();
            let key = Node { at, tree: yaml::Tree::Scalar(name.to_owned()) };
            let encoding = Field::new("modbus, invalid", &key).choice(&types, problems)?;
            marks.push((encoding, raw_marks(&field.entry(name, node), encoding, problems)?));
        }
        Some(Self(marks))
    }

    fn of(&self, read: &ModbusRead) -> Vec<Vec<u16>> {
        let own = self.0.iter().filter(|(encoding, _)| *encoding == read.encoding);
        own.flat_map(|(_, marks)| marks.iter().map(|raw| read.mark(*raw))).collect()
    }
}

/// Reads the `read:` of a point: one place, or those where a SunSpec device may keep it.
pub(super) fn read(node: &Node, what: &str, marks: &Marks, problems: &mut Problems<'_>) -> Option<Read> {
    let what = format!("{what}, read");
    if bacnet::is_one(node) {
        return bacnet::read(node, &what, problems).map(Read::Bacnet);
    }
    if has_key(node, FIELD) {
        return ListedField::read(node, &what, problems).map(|field| Read::Line(LineRead::Listed(field)));
    }
    let yaml::Tree::List(items) = &node.tree else { return read_with(node, &what, &[], marks, problems) };
    let mut places: Vec<Place> = Vec::new();
    for item in items.iter().take(MAX_ITEMS) {
        let Read::SunSpec(own) = read_with(item, &what, &[], marks, problems)? else {
            problems.add(item.at, format!("{what}: only places in SunSpec models go into a list, expected one of them or no list"));
            return None;
        };
        if let (Some(a), Some(b)) = (places.first(), own.first())
            && a.read.repr() != b.read.repr()
        {
            let text = "is represented in another way than in the place before: a device may have either, expected the same decimals";
            problems.add(item.at, format!("{what}: {text}"));
            return None;
        }
        places.extend(own);
    }
    if places.is_empty() {
        problems.add(node.at, format!("{what}: found an empty list, expected places in SunSpec models"));
        return None;
    }
    Some(Read::SunSpec(places))
}

/// Whether it is a mapping with this key.
fn has_key(node: &Node, key: &str) -> bool {
    matches!(&node.tree, yaml::Tree::Map(entries) if entries.iter().any(|(own, _)| own.tree == yaml::Tree::Scalar(key.to_owned())))
}

/// Reads one place among keys that are another's.
pub(super) fn read_with(node: &Node, what: &str, others: &[&str], marks: &Marks, problems: &mut Problems<'_>) -> Option<Read> {
    let fields = Fields::read(node, what, &[PLACES, IN_MODEL, HOW, others].concat(), problems)?;
    let places: Vec<_> = PLACES.iter().filter_map(|key| Some((*key, fields.optional(key)?))).collect();
    let [(place, field)] = places.as_slice() else {
        let found =
            if places.is_empty() { "none".to_owned() } else { places.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(" and ") };
        problems.add(node.at, format!("{what}: found {found}, expected exactly one of {}, oid, table", PLACES.join(", ")));
        return None;
    };
    if let Some(extra) = IN_MODEL.iter().find_map(|key| fields.optional(key)).filter(|_| *place != SUNSPEC) {
        extra.problem("is for a register of a SunSpec model", problems);
        return None;
    }
    if *place == "host" {
        let metric = field.choice(Metric::NAMES, problems)?;
        if let Some(extra) = HOW.iter().find_map(|key| fields.optional(key)) {
            extra.problem("is for registers, a host metric has none", problems);
            return None;
        }
        return Some(Read::Host(metric));
    }
    let (table, address) = match *place {
        SUNSPEC => {
            let at = fields.required("at", "the register of the model, counted from the one with its id", problems)?;
            (Table::Holding, register(&at, HEADER, MAX_AT, "a register of the model behind id and length,", problems)?)
        }
        _ => address(place, field, problems)?,
    };
    let mut read = ModbusRead::new(table, address, encoding(&fields, table, problems)?);
    if usize::from(address) + usize::from(read.encoding.len()) > 1 + usize::from(u16::MAX) {
        let text = format!("a value of {} registers at {address} ends past register 65535, the last one", read.encoding.len());
        field.problem(&text, problems);
        return None;
    }
    order(&mut read, &fields, problems)?;
    numbers(&mut read, place, &fields, problems)?;
    read.invalid = match fields.optional("invalid") {
        Some(field) => own_marks(&field, &read, problems)?,
        None => marks.of(&read),
    };
    if *place == SUNSPEC {
        let (models, rows) = (models(field, problems)?, rows(&read, &fields, problems)?);
        return Some(Read::SunSpec(vec![Place { models, read, rows }]));
    }
    Some(Read::Modbus(read))
}

/// One id of a model or several.
fn models(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<u16>> {
    let ids = match &field.node.tree {
        yaml::Tree::List(items) if !items.is_empty() => items.iter().take(MAX_ITEMS).map(|item| field.item(item)).collect(),
        _ => vec![field.clone()],
    };
    ids.iter().map(|id| register(id, 1, END - 1, "the id of a SunSpec model, such as 103,", problems)).collect()
}

/// Rows of a table in a model: the value lies in the first one.
fn rows(read: &ModbusRead, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Option<(u16, u16)>> {
    let Some(field) = fields.optional("rows") else { return Some(None) };
    let expected = "[register of the model where the first row begins, registers of a row]";
    let (first, size) = pair(&field, expected, problems)?;
    let first = register(&first, HEADER, MAX_AT, "a register of the model", problems)?;
    let size = register(&size, 1, MAX_AT, "the registers of a row", problems)?;
    if read.address < first || u32::from(read.own_last()) >= u32::from(first) + u32::from(size) {
        field.problem(&format!("the value at {} is not inside the first row, expected {expected}", read.address), problems);
        return None;
    }
    Some(Some((first, size)))
}

/// Table and protocol address, from a table's key or from the number that some vendors print: `40001` is holding register 0.
fn address(place: &str, field: &Field<'_>, problems: &mut Problems<'_>) -> Option<(Table, u16)> {
    if let Some((_, table)) = TABLES.iter().find(|(name, _)| *name == place) {
        return Some((*table, register(field, 0, u16::MAX, "a 0-based protocol address", problems)?));
    }
    let expected = "a register as some vendors number them, five or six digits: 00001 is coil 0, 10001 discrete input 0, 30001 input \
                    register 0, 40001 holding register 0";
    let text = field.text(expected, problems)?;
    let found = match (text.len(), text.split_at_checked(1)) {
        (5 | 6, Some((table, number))) if number.bytes().all(|b| b.is_ascii_digit()) => {
            let table = match table {
                "0" => Some(Table::Coil),
                "1" => Some(Table::Discrete),
                "3" => Some(Table::Input),
                "4" => Some(Table::Holding),
                _ => None,
            };
            table.zip(number.parse::<u32>().ok().and_then(|n| n.checked_sub(1)).and_then(|n| u16::try_from(n).ok()))
        }
        _ => None,
    };
    if found.is_none() {
        field.wrong(expected, problems);
    }
    found
}

fn encoding(fields: &Fields<'_>, table: Table, problems: &mut Problems<'_>) -> Option<Encoding> {
    let bits = matches!(table, Table::Coil | Table::Discrete);
    let encoding = match fields.optional("type") {
        None if bits => Encoding::Bit,
        None => {
            let names: Vec<_> = TYPES.iter().filter(|(_, encoding)| *encoding != Encoding::Bit).map(|(name, _)| *name).collect();
            fields.required("type", &format!("one of {}", names.join(", ")), problems)?.choice(TYPES, problems)?
        }
        Some(field) => {
            let encoding = field.choice(TYPES, problems)?;
            if bits != (encoding == Encoding::Bit) {
                let (place, _) = TABLES.iter().find(|(_, other)| *other == table)?;
                let holds = if bits { "bits" } else { "16-bit registers" };
                field.wrong(&format!("a type that fits: {place} holds {holds}"), problems);
                return None;
            }
            encoding
        }
    };
    match (encoding, fields.optional("registers")) {
        (Encoding::Text(_), None) => {
            fields.required("registers", "how many registers the text takes", problems);
            None
        }
        (Encoding::Text(_), Some(field)) => register(&field, 1, MAX_TEXT_REGISTERS, "a number of registers", problems).map(Encoding::Text),
        (_, Some(field)) => {
            field.problem("only a text says how many registers it takes", problems);
            None
        }
        (_, None) => Some(encoding),
    }
}

fn order(read: &mut ModbusRead, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<()> {
    if let Some(field) = fields.optional("words") {
        let why = match read.encoding {
            Encoding::Text(_) | Encoding::DateTime(_) => Some("text and time are always in the order of their registers"),
            encoding if encoding.len() == 1 => Some("there is no order in a single register"),
            _ => None,
        };
        if let Some(why) = why {
            field.problem(why, problems);
            return None;
        }
        read.words = field.choice(WORDS, problems)?;
    }
    if let Some(field) = fields.optional("bytes") {
        let why = match read.encoding {
            Encoding::Bit => Some("a bit has no bytes"),
            Encoding::U8(_) | Encoding::I8(_) => Some("its type says which byte it is"),
            _ => None,
        };
        if let Some(why) = why {
            field.problem(why, problems);
            return None;
        }
        read.bytes = field.choice(BYTES, problems)?;
    }
    Some(())
}

fn numbers(read: &mut ModbusRead, place: &str, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<()> {
    read.bits = bits(read.encoding, fields, problems)?;
    let flag = read.encoding == Encoding::Bit || read.bits.is_some_and(|(_, count)| count == 1);
    let text = matches!(read.encoding, Encoding::Text(_) | Encoding::DateTime(_));
    for key in ["scale", "offset", "scale_at", "decimals"] {
        if let (Some(field), true) = (fields.optional(key), flag || text) {
            field.problem(&format!("a {} has no {key}", if flag { "bit" } else { "text" }), problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("scale") {
        let expected = "a decimal number such as 0.1, not 0 and with at most 18 decimals";
        read.scale = field.decimal(expected, problems)?;
        if read.scale.0 == 0 {
            field.wrong(expected, problems);
            return None;
        }
    }
    if let Some(field) = fields.optional("offset") {
        read.offset = field.decimal("a decimal number such as -40 or 0.5, with at most 18 decimals", problems)?;
    }
    if let Some(field) = fields.optional("scale_at") {
        read.scale_at = Some(scale_at(read, place, &field, fields, problems)?);
    }
    if let Some(field) = fields.optional("decimals") {
        if !read.encoding.is_float() && read.scale_at.is_none() {
            field.problem("only a float or a value with scale_at is rounded to decimals; another integer has a scale", problems);
            return None;
        }
        read.decimals = Some(u8::try_from(field.integer(0, 12, "a number of decimals", problems)?).ok()?);
    }
    Some(())
}

fn bits(encoding: Encoding, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<Option<(u8, u8)>> {
    let (one, several) = (fields.optional("bit"), fields.optional("bits"));
    let Some(field) = one.as_ref().or(several.as_ref()) else { return Some(None) };
    if !matches!(encoding, Encoding::U16 | Encoding::U32 | Encoding::U64) {
        field.problem("only u16, u32 and u64 are divided into bits", problems);
        return None;
    }
    if one.is_some() && several.is_some() {
        field.problem("is there beside bits, expected one of them", problems);
        return None;
    }
    let highest = encoding.len() * 16 - 1;
    let bit = |field: &Field<'_>, problems: &mut Problems<'_>| {
        register(field, 0, highest, "a bit, 0 for the lowest,", problems).and_then(|n| u8::try_from(n).ok())
    };
    if let Some(field) = one {
        return Some(Some((bit(&field, problems)?, 1)));
    }
    let expected = "[lowest bit, highest bit]";
    let (low, high) = pair(field, expected, problems)?;
    let (low, high) = (bit(&low, problems)?, bit(&high, problems)?);
    if low >= high || u16::from(high - low) == highest {
        field.problem(&format!("found [{low}, {high}], expected {expected}, more than one bit and not all of them"), problems);
        return None;
    }
    Some(Some((low, high - low + 1)))
}

fn scale_at(read: &ModbusRead, place: &str, field: &Field<'_>, fields: &Fields<'_>, problems: &mut Problems<'_>) -> Option<u16> {
    let (table, at) = match place {
        SUNSPEC => (Table::Holding, register(field, HEADER, MAX_AT, "a register of the model behind id and length,", problems)?),
        _ => address(place, field, problems)?,
    };
    if read.encoding.integers().is_none() || read.bits.is_some() {
        field.problem("only a whole integer has its scale in a register", problems);
        return None;
    }
    if let Some(offset) = fields.optional("offset") {
        offset.problem("there is no offset to a value whose scale is in a register", problems);
        return None;
    }
    if table != read.table || (read.address..=read.own_last()).contains(&at) {
        field.problem("expected a register of the same table, and not of the value itself", problems);
        return None;
    }
    Some(at)
}

/// Whether raw bits may say "no value".
pub(super) fn has_marks(encoding: Encoding) -> bool {
    encoding.integers().is_some() || encoding.is_float()
}

fn own_marks(field: &Field<'_>, read: &ModbusRead, problems: &mut Problems<'_>) -> Option<Vec<Vec<u16>>> {
    if !has_marks(read.encoding) {
        let why = if read.encoding == Encoding::Bit { "a bit is always a value" } else { "a text without characters is no value anyway" };
        field.problem(why, problems);
        return None;
    }
    Some(raw_marks(field, read.encoding, problems)?.into_iter().map(|raw| read.mark(raw)).collect())
}

fn raw_marks(field: &Field<'_>, encoding: Encoding, problems: &mut Problems<'_>) -> Option<Vec<i128>> {
    let bits = match encoding {
        Encoding::U8(_) | Encoding::I8(_) => 8,
        Encoding::U24 => 24,
        _ => 16 * u32::from(encoding.len()),
    };
    let marks = match &field.node.tree {
        yaml::Tree::List(items) => items.iter().take(MAX_ITEMS).map(|item| field.item(item)).collect(),
        _ => vec![field.clone()],
    };
    let what = format!("the raw {bits} bits of \"no value\", such as 0x{},", "8".to_owned() + &"0".repeat(bits as usize / 4 - 1));
    let low = encoding.integers().map_or(0, |(low, _)| low);
    marks.iter().map(|mark| mark.integer(low, (1 << bits) - 1, &what, problems)).collect()
}
