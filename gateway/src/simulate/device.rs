//! One simulated device: what it answers to a request. Knows of no connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse as Identification};
use tokio_modbus::{ExceptionCode, Request, Response};

use super::values;
use super::written::{NotWritten, Written};
use crate::profile::{Chain, Check, Encoding, ModbusRead, Point, Profile, Read, Table};

/// Most registers in one request, as the Modbus specification has it.
const MAX_REGISTERS: u16 = 125;

/// Most bits in one request, as the Modbus specification has it.
const MAX_BITS: u16 = 2000;

/// One unit.
pub(super) struct Simulated {
    seed: u64,
    profile: Arc<Profile>,
    start: Instant,
    written: Mutex<Written>,
    /// Holding registers that never change, over those of points: a SunSpec device's chain.
    fixed: BTreeMap<u16, u16>,
}

impl Simulated {
    /// A device that was switched on at this time; the seed makes its values its own.
    pub(super) fn new(seed: u64, profile: Arc<Profile>, start: Instant) -> Self {
        let chain = profile.is_sunspec().then(Chain::typical);
        let fixed = chain.as_ref().map(Chain::registers).unwrap_or_default();
        let profile = chain.map(|chain| profile.laid_out(&chain).plain).unwrap_or(profile);
        Self { seed, profile, start, written: Mutex::default(), fixed }
    }

    pub(super) fn answer(&self, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        match *request {
            Request::ReadCoils(address, count) => Ok(Response::ReadCoils(self.bits(Table::Coil, address, count)?)),
            Request::ReadDiscreteInputs(address, count) => Ok(Response::ReadDiscreteInputs(self.bits(Table::Discrete, address, count)?)),
            Request::ReadHoldingRegisters(address, count) => {
                Ok(Response::ReadHoldingRegisters(self.words(Table::Holding, address, count, MAX_REGISTERS)?))
            }
            Request::ReadInputRegisters(address, count) => {
                Ok(Response::ReadInputRegisters(self.words(Table::Input, address, count, MAX_REGISTERS)?))
            }
            Request::WriteSingleCoil(at, bit) => {
                self.write(Table::Coil, at, &[u16::from(bit)], u16::MAX)?;
                Ok(Response::WriteSingleCoil(at, bit))
            }
            Request::WriteSingleRegister(at, word) => {
                self.write(Table::Holding, at, &[word], u16::MAX)?;
                Ok(Response::WriteSingleRegister(at, word))
            }
            Request::WriteMultipleCoils(at, ref bits) => {
                let words: Vec<u16> = bits.iter().map(|bit| u16::from(*bit)).collect();
                Ok(Response::WriteMultipleCoils(at, self.write(Table::Coil, at, &words, u16::MAX)?))
            }
            Request::WriteMultipleRegisters(at, ref words) => {
                Ok(Response::WriteMultipleRegisters(at, self.write(Table::Holding, at, words, u16::MAX)?))
            }
            Request::MaskWriteRegister(at, and, or) => {
                self.write(Table::Holding, at, &[or], !and)?;
                Ok(Response::MaskWriteRegister(at, and, or))
            }
            Request::ReadDeviceIdentification(code, _) => self.identity(code).ok_or(ExceptionCode::IllegalFunction),
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }

    /// What its profile expects a device of this model to call itself; in the basic objects.
    fn identity(&self, code: ReadCode) -> Option<Response> {
        let signature = self.profile.signature.as_ref().filter(|own| own.vendor.is_some() || own.product.is_some())?;
        let (vendor, product) = (signature.vendor.as_ref(), signature.product.as_ref());
        let texts = [vendor.unwrap_or(&self.profile.manufacturer), product.unwrap_or(&self.profile.model)].map(ToString::to_string);
        let objects = (0u8..).zip(texts).map(|(id, text)| DeviceIdObject { id, value: text.into() });
        Some(Response::ReadDeviceIdentification(Identification {
            read_code: code,
            conformity_level: ConformityLevel::BasicIdentificationStreamOnly,
            more_follows: false,
            next_object_id: 0,
            device_id_objects: objects.collect(),
        }))
    }

    /// What a scan looks for, read alone: some devices have a code at an address that is the middle of a value otherwise.
    fn signature(&self, table: Table, address: u16, count: u16) -> Option<Vec<u16>> {
        let same = |read: &ModbusRead| read.table == table && read.first() == address && read.last() - address + 1 == count;
        // A text says nothing of its own here.
        let is_text = |read: &ModbusRead| matches!(read.encoding, Encoding::Text(_));
        let measured = |read: &ModbusRead| {
            !is_text(read) && self.points(table).any(|(_, own)| own.address == read.address && own.encoding == read.encoding)
        };
        let checks = self.profile.signature.as_ref()?.registers.iter();
        checks.filter(|check| same(&check.read) && !measured(&check.read)).find_map(Check::example)
    }

    /// Writes these bits of registers of writable points; gives how many registers.
    fn write(&self, table: Table, first: u16, words: &[u16], mask: u16) -> Result<u16, ExceptionCode> {
        let count = u16::try_from(words.len()).ok().filter(|count| *count > 0).ok_or(ExceptionCode::IllegalDataValue)?;
        if first.checked_add(count - 1).is_none() {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let now = |at: u16| self.words(table, at, 1, 1).ok().and_then(|words| words.first().copied()).unwrap_or(0);
        // What the registers hold is looked at before the lock is taken: reading takes it too.
        let held: BTreeMap<u16, u16> =
            self.points(table).flat_map(|(_, read)| read.address..=read.own_last()).map(|at| (at, now(at))).collect();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |at: u16| held.get(&at).copied().unwrap_or(0);
        written.write(&self.profile.points, table, first, words, mask, held).map_err(|why| match why {
            NotWritten::Address => ExceptionCode::IllegalDataAddress,
            NotWritten::Value => ExceptionCode::IllegalDataValue,
        })?;
        Ok(count)
    }

    fn bits(&self, table: Table, address: u16, count: u16) -> Result<Vec<bool>, ExceptionCode> {
        Ok(self.words(table, address, count, MAX_BITS)?.into_iter().map(|word| word != 0).collect())
    }

    /// The words of all points in this range; holes between points read as 0 where the profile says that they may be read.
    fn words(&self, table: Table, address: u16, count: u16, most: u16) -> Result<Vec<u16>, ExceptionCode> {
        if count == 0 || count > most {
            return Err(ExceptionCode::IllegalDataValue);
        }
        if let Some(words) = self.signature(table, address, count) {
            return Ok(words);
        }
        let mut words: Vec<Option<u16>> = vec![None; usize::from(count)];
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (point, read) in self.points(table) {
            let value = values::value(self.seed, point, elapsed_ms);
            let Some(own) = values::words(read, &value) else { continue };
            let own = own.into_iter().zip(read.masks()).enumerate().map(|(i, own)| (usize::from(read.address) + i, own));
            let scale = read.scale_at.map(|at| (usize::from(at), (values::scale_register(read), u16::MAX)));
            for (register, (word, mask)) in own.chain(scale) {
                if let Some(slot) = register.checked_sub(usize::from(address)).and_then(|place| words.get_mut(place)) {
                    // Points may share a register; each has its bits.
                    *slot = Some(slot.unwrap_or(0) & !mask | word);
                }
            }
        }
        for (place, word) in words.iter_mut().enumerate().filter(|_| table == Table::Holding) {
            let fixed = u16::try_from(place).ok().and_then(|place| self.fixed.get(&address.checked_add(place)?));
            *word = fixed.copied().or(*word);
        }
        let in_hole = |i: usize| self.in_hole(table, usize::from(address) + i);
        let word = |(i, word): (usize, Option<u16>)| word.or_else(|| in_hole(i).then_some(0)).ok_or(ExceptionCode::IllegalDataAddress);
        let mut words = words.into_iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).over(table, address, &mut words);
        Ok(words)
    }

    fn points(&self, table: Table) -> impl Iterator<Item = (&Point, &ModbusRead)> {
        self.profile.points.iter().filter_map(move |point| match &point.read {
            Read::Modbus(read) if read.table == table => Some((point, read)),
            _ => None,
        })
    }

    /// Whether this register lies between two points of one block, no further apart than the profile allows to read over, or between
    /// a value and its scale.
    fn in_hole(&self, table: Table, register: usize) -> bool {
        let limits = &self.profile.modbus;
        // From its marker to its end a chain has all registers.
        let ends = self.fixed.first_key_value().zip(self.fixed.last_key_value());
        if ends.is_some_and(|((first, _), (last, _))| (usize::from(*first)..=usize::from(*last)).contains(&register)) {
            return true;
        }
        if self.points(table).any(|(_, r)| (usize::from(r.first())..=usize::from(r.last())).contains(&register)) {
            return true;
        }
        let before = self.points(table).map(|(_, r)| usize::from(r.last()) + 1).filter(|end| *end <= register);
        let after = self.points(table).map(|(_, r)| usize::from(r.first())).filter(|start| *start > register);
        let (Some(low), Some(high)) = (before.max(), after.min()) else { return false };
        let in_one_block = match (u16::try_from(low.saturating_sub(1)), u16::try_from(high)) {
            (Ok(low), Ok(high)) => limits.in_one_block(low, high),
            _ => false,
        };
        let per_unit = if matches!(table, Table::Coil | Table::Discrete) { 16 } else { 1 };
        in_one_block && high - low <= usize::from(limits.max_gap) * per_unit
    }
}
