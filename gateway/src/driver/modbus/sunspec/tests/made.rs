//! SunSpec devices out of random numbers, and what they say by a walker that is as simple as can be.

use std::collections::BTreeMap;

use pattoo_wire::Reason;
use proptest::prelude::*;

pub(super) type Memory = BTreeMap<u16, u16>;

/// Names of series, with values or why there are none.
pub(super) type Readings = BTreeMap<String, Result<String, Reason>>;

/// What a device with this memory says, worked out as simply as can be: names with their values, or that a value is impossible.
pub(super) fn naive(memory: &Memory) -> Readings {
    let at = |address: u32| u16::try_from(address).ok().and_then(|address| memory.get(&address)).copied();
    let mut readings = Readings::new();
    let Some(base) = [40_000u32, 50_000, 0].into_iter().find(|base| (at(*base), at(*base + 1)) == (Some(0x5375), Some(0x6E53))) else {
        return readings;
    };
    let (mut place, mut models, mut seen) = (base + 2, 0, BTreeMap::<&str, usize>::new());
    let all: Vec<u16> = chain_ids(memory, base);
    while let (Some(id), Some(len)) = (at(place), at(place + 1)) {
        if id == 0xFFFF || id == 0 || models == 64 || place + 1 + u32::from(len) > 65_535 {
            break;
        }
        models += 1;
        let inside = |offset: u32, size: u32| offset + size <= u32::from(len) + 2;
        let mut put = |name: &'static str, row: Option<u32>, value: Option<Result<String, Reason>>| {
            let nth = *seen.get(name).unwrap_or(&0) + 1;
            let identity = match (nth, row) {
                (1, None) => String::new(),
                (1, Some(row)) => format!("[{row}]"),
                (nth, None) => format!("[{nth}]"),
                (nth, Some(row)) => format!("[{nth}.{row}]"),
            };
            value.map(|value| readings.insert(format!("{name}{identity}"), value));
        };
        let word = |offset: u32| at(place + offset).unwrap();
        match id {
            1 => {
                let bytes: Vec<u8> = (2..6).filter(|_| inside(2, 4)).flat_map(|i| word(i).to_be_bytes()).take_while(|b| *b != 0).collect();
                put("maker", None, (!bytes.is_empty()).then(|| Ok(String::from_utf8(bytes).unwrap())));
                *seen.entry("maker").or_default() += 1;
            }
            101 | 103 => {
                let raw = |o: u32| i64::from(word(o).cast_signed());
                put("power", None, (inside(14, 2) && raw(14) != -32_768).then(|| times(raw(14), raw(15))).flatten());
                let energy = || i64::from(word(24)) << 16 | i64::from(word(25));
                put("energy", None, (inside(24, 3) && energy() != 0).then(|| times(energy(), raw(26))).flatten());
                *seen.entry("power").or_default() += 1;
                *seen.entry("energy").or_default() += 1;
            }
            113 if !all.contains(&101) && !all.contains(&103) => {
                let float = || f32::from_bits(u32::from(word(22)) << 16 | u32::from(word(23)));
                // Halves of a cent are written exactly by the generator: no rounding to speak of.
                put("power", None, (inside(22, 2) && float().is_finite()).then(|| Ok(format!("{:.2}", float()))));
                *seen.entry("power").or_default() += 1;
            }
            160 => {
                for row in 0.. {
                    if !inside(10 + row * 20, 20) {
                        break;
                    }
                    let raw = word(20 + row * 20);
                    put("string", Some(row + 1), (raw != 0xFFFF).then(|| times(raw.into(), word(3).cast_signed().into())).flatten());
                }
                *seen.entry("string").or_default() += 1;
            }
            203 => {
                let raw = |o: u32| i64::from(word(o).cast_signed());
                put("meter", None, (inside(90, 1) && raw(90) != -32_768).then(|| times(raw(90), raw(22))).flatten());
                put("meter_near", None, (inside(22, 1) && raw(20) != -32_768).then(|| times(raw(20), raw(22))).flatten());
                *seen.entry("meter").or_default() += 1;
                *seen.entry("meter_near").or_default() += 1;
            }
            _ => {}
        }
        place += 2 + u32::from(len);
    }
    readings
}

fn chain_ids(memory: &Memory, base: u32) -> Vec<u16> {
    let at = |address: u32| u16::try_from(address).ok().and_then(|address| memory.get(&address)).copied();
    let (mut place, mut ids) = (base + 2, Vec::new());
    while let (Some(id @ 1..=0xFFFE), Some(len)) = (at(place), at(place + 1)) {
        if place + 1 + u32::from(len) > 65_535 || ids.len() == 64 {
            break;
        }
        ids.push(id);
        place += 2 + u32::from(len);
    }
    ids
}

/// `raw * 10^power` to two decimals, half away from zero; none where there is no power.
fn times(raw: i64, power: i64) -> Option<Result<String, Reason>> {
    match power {
        -32_768 => None,
        -10..=10 => {
            let number = i128::from(raw) * 10i128.pow(u32::try_from(power + 10).unwrap());
            let cents = (number.abs() + 50_000_000) / 100_000_000;
            let sign = if number < 0 && cents > 0 { "-" } else { "" };
            Some(Ok(format!("{sign}{}.{:02}", cents / 100, cents % 100)))
        }
        _ => Some(Err(Reason::OutOfRange)),
    }
}

/// A chain as registers, from random ones.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) base: u16,
    pub(super) models: Vec<(u16, u16)>,
    /// 0: the whole end, 1: its id only, 2: nothing, 3: zeros, 4: a length past the last register.
    pub(super) end: u8,
    pub(super) seed: u64,
}

impl Made {
    pub(super) fn memory(&self) -> Memory {
        let mut memory = Memory::new();
        memory.extend([(self.base, 0x5375), (self.base + 1, 0x6E53)]);
        let mut place = self.base + 2;
        for (number, (id, len)) in self.models.iter().enumerate() {
            memory.extend([(place, *id), (place + 1, *len)]);
            for offset in 2..len + 2 {
                memory.insert(place + offset, self.word(number, *id, offset));
            }
            place += 2 + len;
        }
        let end: &[u16] = match self.end {
            0 => &[0xFFFF, 0],
            1 => &[0xFFFF],
            2 => &[],
            3 => &[0, 0],
            _ => &[103, 0xFFFF],
        };
        memory.extend((place..).zip(end.iter().copied()));
        memory
    }

    /// Powers of ten are mostly that, texts letters, floats halves; everything may be "not implemented".
    fn word(&self, number: usize, id: u16, offset: u16) -> u16 {
        let random = crate::mix::mix(self.seed ^ (number as u64) << 32 ^ u64::from(offset) ^ u64::from(id) << 16);
        let is_power = matches!((id, offset), (101 | 103, 15 | 26) | (160, 3) | (203, 22));
        match (id, offset, random % 8) {
            (1, ..) => {
                u16::from_be_bytes([b'A' + (random >> 8) as u8 % 26, b'a' + (random >> 16) as u8 % 26])
                    * u16::from(!self.seed.is_multiple_of(5))
            }
            (113, 22, 0) => 0x7FC0,
            (113, 22, _) => {
                (((random >> 8) as u16 % 2000) as f32 / 2.0).to_bits().to_be_bytes()[..2].iter().fold(0, |w, b| w << 8 | u16::from(*b))
            }
            (113, 23, _) => 0,
            (_, _, 0) if is_power => 0x8000,
            (_, _, 1) if is_power => 11,
            _ if is_power => ((random >> 8) as i16 % 6 - 3).cast_unsigned(),
            (101 | 103, 24, 2..) => 0,
            (101 | 103, 25, 2) => 0,
            (_, _, 0) => 0x8000,
            (_, _, 1) => 0xFFFF,
            _ => (random >> 8) as u16,
        }
    }
}

pub(super) fn made() -> impl Strategy<Value = Made> {
    let model = prop_oneof![
        prop_oneof![Just(65u16), Just(66)].prop_map(|len| (1, len)),
        (prop_oneof![Just(101u16), Just(103)], prop_oneof![3 => Just(50u16), 1 => 0u16..50]),
        Just((113, 60)),
        (0u16..6, 0u16..2).prop_map(|(rows, rest)| (160, 8 + rows * 20 + rest * 7)),
        prop_oneof![3 => Just(105u16), 1 => 15u16..105].prop_map(|len| (203, len)),
        (prop_oneof![Just(2u16), Just(64_000), Just(65_534)], 0u16..150),
    ];
    let base = prop_oneof![Just(40_000u16), Just(50_000), Just(0)];
    (base, proptest::collection::vec(model, 0..8), 0u8..5, any::<u64>()).prop_map(|(base, models, end, seed)| Made {
        base,
        models,
        end,
        seed,
    })
}
