//! Points of SunSpec devices: given by model, put to registers once it is known where a device keeps its models. Asks no device.
//!
//! A SunSpec device has, from one of [`BASES`] on, the two registers `SunS` and then a chain of models: id, length, that many registers, the
//! next model. Which models, and so at which addresses, is up to the device. A profile gives each point by model and by register of that
//! model; [`Profile::laid_out`] turns a profile and a chain into plain points at plain addresses, which planner and driver read as any
//! others. Among them are the headers of the models: what is read from a model counts only where its header still says what it said.

use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Kind, Labels};

use super::{Encoding, MAX_POINTS, ModbusLimits, ModbusRead, Point, Profile, Read, Table};
use crate::reading::{PointIndex, Row};

/// Where a chain may begin, in the order in which the standard has a client look.
pub const BASES: [u16; 3] = [40_000, 50_000, 0];

/// What the two registers at the base hold: `SunS`.
pub const MARKER: [u16; 2] = [0x5375, 0x6E53];

/// Id of the model that every device has first: who made it.
pub const COMMON: u16 = 1;

/// Id in the header behind the last model.
pub const END: u16 = 0xFFFF;

/// Registers of a header: id and length.
pub(crate) const HEADER: u16 = 2;

/// One place where a device may keep a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Ids of the models that share this layout; a device has one of them, or none.
    pub models: Vec<u16>,
    /// What to read; its addresses count from the register that holds the model's id.
    pub read: ModbusRead,
    /// The value is there again in each row of a table that takes the rest of the model: first register of the first row, counted
    /// like the addresses, and registers of a row.
    pub rows: Option<(u16, u16)>,
}

/// One model of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// What it is.
    pub id: u16,
    /// The register that holds its id.
    pub start: u16,
    /// Registers behind id and length.
    pub len: u16,
}

impl Model {
    /// The last register of it.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.start.saturating_add(1).saturating_add(self.len)
    }
}

/// Where a device keeps its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The register of the marker.
    pub base: u16,
    /// In the order of their addresses, those that no profile knows included.
    pub models: Vec<Model>,
    /// It ends as the standard has it. Else it broke off: there may be more models.
    pub complete: bool,
}

impl Chain {
    /// Models of these ids and lengths, one behind the other; none that would not fit.
    #[must_use]
    pub fn of(base: u16, models: &[(u16, u16)]) -> Self {
        let mut chain = Self { base, models: Vec::new(), complete: true };
        for (id, len) in models {
            let fits = |start: &u16| u32::from(*start) + 1 + u32::from(*len) <= u32::from(u16::MAX);
            let Some(start) = chain.end().filter(fits) else { break };
            chain.models.push(Model { id: *id, start, len: *len });
        }
        chain
    }

    /// What a three-phase inverter with two trackers has, and a model that no profile knows: for predictions and simulated devices.
    #[must_use]
    pub fn typical() -> Self {
        Self::of(40_000, &[(COMMON, 66), (64_900, 12), (103, 50), (120, 26), (160, 48)])
    }

    /// The registers that tell of the chain: marker, headers, end.
    #[must_use]
    pub fn registers(&self) -> BTreeMap<u16, u16> {
        let marker = (self.base..).zip(MARKER);
        let headers = self.models.iter().flat_map(|model| (model.start..).zip([model.id, model.len]));
        let end = self.end().into_iter().flat_map(|end| (end..).zip([END, 0]));
        marker.chain(headers).chain(end).collect()
    }

    /// The register behind the last model: that of the end's header. None where that would be past the last one.
    #[must_use]
    pub fn end(&self) -> Option<u16> {
        self.models.last().map_or_else(|| self.base.checked_add(HEADER), |model| model.last().checked_add(1))
    }
}

/// What a plain point of a [`Layout`] is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Use {
    /// Id and length of the model, as one number.
    Header,
    /// A power of ten that lies too far from the values that it scales to be read with them.
    Factor,
    /// A reading of the profile's point.
    Reading {
        /// Which.
        point: PointIndex,
        /// Which row of it, where it has rows or the device has more than one such model.
        row: Option<Arc<Row>>,
        /// What it is and the plain point with its power of ten, where that is read by itself and the plain point is only a number.
        apart: Option<(ModbusRead, PointIndex)>,
    },
}

/// A profile put to the registers of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Plain points; no request reads across models.
    pub plain: Arc<Profile>,
    /// What each plain point is for, and which model of the chain it lies in.
    pub(crate) uses: Vec<(Use, usize)>,
    /// The number that each header must be.
    pub(crate) headers: BTreeMap<usize, (PointIndex, i64)>,
    /// Points beyond the limit that were left out.
    pub(crate) left_out: usize,
}

impl Profile {
    /// Whether its points are given by SunSpec models.
    #[must_use]
    pub fn is_sunspec(&self) -> bool {
        matches!(self.points.first().map(|point| &point.read), Some(Read::SunSpec(_)))
    }

    /// Its points where this chain has them. Of a point's places the first one counts that the device has; points of models that it
    /// does not have are not there, nor are those that a model is too short for.
    #[must_use]
    pub fn laid_out(&self, chain: &Chain) -> Layout {
        let mut made = Maker { profile: self, points: Vec::new(), uses: Vec::new(), headers: BTreeMap::new(), factors: BTreeMap::new() };
        let mut left_out = 0;
        for (index, point) in self.points.iter().enumerate() {
            let Read::SunSpec(places) = &point.read else { continue };
            let has = |place: &&Place| chain.models.iter().any(|model| place.models.contains(&model.id));
            let Some(place) = places.iter().find(has) else { continue };
            let models = chain.models.iter().enumerate().filter(|(_, model)| place.models.contains(&model.id));
            for (nth, (at, model)) in models.enumerate() {
                left_out += made.add(PointIndex(index), point, place, nth, (at, model));
            }
        }
        let blocks = made.headers.keys().filter_map(|at| chain.models.get(*at)).map(|model| (model.start, model.last())).collect();
        let modbus = ModbusLimits { blocks, ..self.modbus.clone() };
        let plain = Arc::new(Self { modbus, points: made.points, ..self.without_points() });
        Layout { plain, uses: made.uses, headers: made.headers, left_out }
    }

    fn without_points(&self) -> Self {
        let (id, manufacturer, model) = (self.id.clone(), self.manufacturer.clone(), self.model.clone());
        Self {
            id,
            manufacturer,
            model,
            signature: self.signature.clone(),
            modbus: ModbusLimits::default(),
            bacnet: self.bacnet,
            points: Vec::new(),
        }
    }
}

impl Layout {
    /// The plain points that give readings of these points, and the headers that vouch for them.
    #[must_use]
    pub fn asked(&self, points: &[PointIndex]) -> Vec<PointIndex> {
        let wanted = |(wanted, _): &&(Use, usize)| matches!(wanted, Use::Reading { point, .. } if points.contains(point));
        let mut asked: Vec<PointIndex> = Vec::new();
        for (plain, (used, at)) in self.uses.iter().enumerate().filter(|(_, used)| wanted(used)) {
            asked.push(PointIndex(plain));
            asked.extend(self.headers.get(at).map(|(header, _)| *header));
            if let Use::Reading { apart: Some((_, factor)), .. } = used {
                asked.push(*factor);
            }
        }
        asked.sort();
        asked.dedup();
        asked
    }

    /// What there may be readings of: points, and which row of each.
    pub(crate) fn series(&self) -> impl Iterator<Item = (PointIndex, Option<Arc<Row>>)> {
        self.uses.iter().filter_map(|(used, _)| match used {
            Use::Reading { point, row, .. } => Some((*point, row.clone())),
            Use::Header | Use::Factor => None,
        })
    }

    /// How many readings a read of these points gives.
    #[must_use]
    pub fn readings(&self, points: &[PointIndex]) -> usize {
        self.series().filter(|(point, _)| points.contains(point)).count()
    }
}

/// A layout as far as it has come.
struct Maker<'p> {
    profile: &'p Profile,
    points: Vec<Point>,
    uses: Vec<(Use, usize)>,
    headers: BTreeMap<usize, (PointIndex, i64)>,
    /// By register.
    factors: BTreeMap<u16, PointIndex>,
}

impl Maker<'_> {
    /// Adds a point of one model with all its rows; says how many there was no room for.
    fn add(&mut self, index: PointIndex, point: &Point, place: &Place, nth: usize, (at, model): (usize, &Model)) -> usize {
        let mut left_out = 0;
        for (number, offset) in rows(place, model).into_iter().enumerate() {
            if self.points.len() + 3 > MAX_POINTS {
                left_out += 1;
                continue;
            }
            let row = identity(nth, place.rows.map(|_| number)).map(|identity| Arc::new(Row::new(identity, Labels::new())));
            let name = point.name.clone() + &row.as_ref().map(|row| format!("[{}]", row.identity)).unwrap_or_default();
            let scale_at = place.read.scale_at.map(|scale_at| model.start + scale_at);
            let read = ModbusRead { address: model.start + offset, scale_at, ..place.read.clone() };
            self.header(at, model);
            let far = scale_at.filter(|_| read.last() - read.first() >= self.profile.modbus.max_registers);
            let plain = match far {
                Some(_) => Point { name, repr: bare(&read).repr(), range: None, read: Read::Modbus(bare(&read)), ..point.clone() },
                None => Point { name, read: Read::Modbus(read.clone()), ..point.clone() },
            };
            let apart = far.map(|register| (read, self.factor(at, register)));
            self.points.push(plain);
            self.uses.push((Use::Reading { point: index, row, apart }, at));
        }
        left_out
    }

    fn header(&mut self, at: usize, model: &Model) {
        if !self.headers.contains_key(&at) {
            let read = ModbusRead::new(Table::Holding, model.start, Encoding::U32);
            let index = self.own_point(format!("header_{at}"), read, Use::Header, at);
            self.headers.insert(at, (index, i64::from(model.id) << 16 | i64::from(model.len)));
        }
    }

    fn factor(&mut self, at: usize, register: u16) -> PointIndex {
        if let Some(index) = self.factors.get(&register) {
            return *index;
        }
        let read = ModbusRead::new(Table::Holding, register, Encoding::I16);
        let index = self.own_point(format!("factor_{register}"), read, Use::Factor, at);
        self.factors.insert(register, index);
        index
    }

    /// A plain point that no point of the profile stands for.
    fn own_point(&mut self, name: String, read: ModbusRead, used: Use, at: usize) -> PointIndex {
        let (repr, states, unit) = (read.repr(), BTreeMap::new(), String::new());
        let read = Read::Modbus(read);
        self.points.push(Point {
            name,
            unit,
            kind: Kind::Gauge,
            alarm: false,
            repr,
            every: None,
            states,
            range: None,
            read,
            writable: None,
        });
        self.uses.push((used, at));
        PointIndex(self.points.len() - 1)
    }
}

/// Where the value of each row begins, counted from the model's id: of rows that are inside the model with all their registers.
fn rows(place: &Place, model: &Model) -> Vec<u16> {
    let size = u32::from(model.len) + u32::from(HEADER);
    let (first, end) = (u32::from(place.read.address), u32::from(place.read.own_last()) + 1);
    let rows = match place.rows {
        _ if place.read.scale_at.is_some_and(|at| u32::from(at) >= size) => 0,
        Some((first_row, row)) => size.saturating_sub(u32::from(first_row)) / u32::from(row.max(1)),
        None => u32::from(end <= size),
    };
    let row = place.rows.map_or(0, |(_, row)| u32::from(row));
    (0..rows).filter_map(|nth| u16::try_from(first + nth * row).ok()).collect()
}

/// The first model of its kind has its points without rows, so that a second one that is found later changes no series.
fn identity(nth: usize, row: Option<usize>) -> Option<String> {
    match (nth, row) {
        (0, None) => None,
        (0, Some(row)) => Some((row + 1).to_string()),
        (nth, None) => Some((nth + 1).to_string()),
        (nth, Some(row)) => Some(format!("{}.{}", nth + 1, row + 1)),
    }
}

/// The same registers as a plain number, to be decoded when its power of ten has come as well.
fn bare(read: &ModbusRead) -> ModbusRead {
    ModbusRead { scale: (1, 0), scale_at: None, decimals: None, invalid: Vec::new(), ..read.clone() }
}

#[cfg(test)]
mod tests;
