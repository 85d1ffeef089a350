//! Values of a column in memory, all of one representation. Rows and quality are not known here.

use pattoo_wire::{Decimal, Repr, Sample, Value};

const FOREIGN: &str = "BUG: a value in a column of another representation";

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// No value yet, so of no representation yet.
    None,
    /// Mantissas.
    Decimal(i8, Vec<i64>),
    Unsigned(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Text(Texts),
}

/// Texts by their place among those that occur.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Texts {
    pub(super) words: Vec<String>,
    pub(super) picks: Vec<u32>,
    /// Of the words.
    pub(super) bytes: usize,
}

impl Values {
    pub(super) fn of(repr: Repr) -> Self {
        match repr {
            Repr::Decimal { exponent } => Self::Decimal(exponent, Vec::new()),
            Repr::Unsigned => Self::Unsigned(Vec::new()),
            Repr::F32 => Self::F32(Vec::new()),
            Repr::F64 => Self::F64(Vec::new()),
            Repr::Bool => Self::Bool(Vec::new()),
            Repr::Text => Self::Text(Texts::default()),
        }
    }

    pub(super) fn repr(&self) -> Option<Repr> {
        Some(match self {
            Self::None => return None,
            Self::Decimal(exponent, _) => Repr::Decimal { exponent: *exponent },
            Self::Unsigned(_) => Repr::Unsigned,
            Self::F32(_) => Repr::F32,
            Self::F64(_) => Repr::F64,
            Self::Bool(_) => Repr::Bool,
            Self::Text(_) => Repr::Text,
        })
    }

    /// Whether values of this representation, or none, can come here.
    pub(super) fn takes(&self, repr: Option<Repr>) -> bool {
        matches!(self, Self::None) || repr.is_none() || self.repr() == repr
    }

    pub(super) fn push(&mut self, value: &Value) {
        if matches!(self, Self::None) {
            *self = Self::of(value.repr());
        }
        match (self, value) {
            (Self::Decimal(exponent, values), Value::Decimal(d)) if d.exponent == *exponent => values.push(d.mantissa),
            (Self::Unsigned(values), Value::Unsigned(n)) => values.push(*n),
            (Self::F32(values), Value::F32(x)) => values.push(*x),
            (Self::F64(values), Value::F64(x)) => values.push(*x),
            (Self::Bool(values), Value::Bool(b)) => values.push(*b),
            (Self::Text(texts), Value::Text(text)) => texts.push(text),
            _ => unreachable!("{FOREIGN}"),
        }
    }

    /// Adds the values of samples that are all good; says no, and adds none, where one is not. Each representation has a loop of its own:
    /// there are millions of them.
    pub(super) fn extend_good(&mut self, samples: &[Sample]) -> bool {
        let Some(Sample::Good(first)) = samples.first() else { return false };
        if !samples.iter().all(|sample| matches!(sample, Sample::Good(_))) {
            return false;
        }
        if matches!(self, Self::None) {
            *self = Self::of(first.repr());
        }
        match self {
            Self::None => {}
            Self::Decimal(exponent, values) => {
                extend(
                    values,
                    samples,
                    |value| if let Value::Decimal(d) = value { (d.exponent == *exponent).then_some(d.mantissa) } else { None },
                )
            }
            Self::Unsigned(values) => extend(values, samples, |value| if let Value::Unsigned(n) = value { Some(*n) } else { None }),
            Self::F32(values) => extend(values, samples, |value| if let Value::F32(x) = value { Some(*x) } else { None }),
            Self::F64(values) => extend(values, samples, |value| if let Value::F64(x) = value { Some(*x) } else { None }),
            Self::Bool(values) => extend(values, samples, |value| if let Value::Bool(flag) = value { Some(*flag) } else { None }),
            Self::Text(_) => samples.iter().filter_map(Sample::value).for_each(|value| self.push(value)),
        }
        true
    }

    pub(super) fn get(&self, at: usize) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Decimal(exponent, values) => values.get(at).map(|m| Value::Decimal(Decimal { mantissa: *m, exponent: *exponent })),
            Self::Unsigned(values) => values.get(at).map(|n| Value::Unsigned(*n)),
            Self::F32(values) => values.get(at).map(|x| Value::F32(*x)),
            Self::F64(values) => values.get(at).map(|x| Value::F64(*x)),
            Self::Bool(values) => values.get(at).map(|b| Value::Bool(*b)),
            Self::Text(texts) => texts.picks.get(at).and_then(|pick| texts.words.get(*pick as usize)).cloned().map(Value::Text),
        }
    }

    pub(super) fn append(&mut self, later: Self) {
        match (self, later) {
            (_, Self::None) => {}
            (this @ Self::None, later) => *this = later,
            (Self::Decimal(_, values), Self::Decimal(_, more)) => values.extend(more),
            (Self::Unsigned(values), Self::Unsigned(more)) => values.extend(more),
            (Self::F32(values), Self::F32(more)) => values.extend(more),
            (Self::F64(values), Self::F64(more)) => values.extend(more),
            (Self::Bool(values), Self::Bool(more)) => values.extend(more),
            (Self::Text(texts), Self::Text(more)) => {
                let words = more.picks.iter().filter_map(|pick| more.words.get(*pick as usize));
                words.for_each(|word| texts.push(word));
            }
            _ => unreachable!("BUG: columns of different representations joined"),
        }
    }
}

fn extend<T>(values: &mut Vec<T>, samples: &[Sample], of: impl Fn(&Value) -> Option<T>) {
    values.extend(samples.iter().map(|sample| sample.value().and_then(&of).unwrap_or_else(|| unreachable!("{FOREIGN}"))));
}

impl Texts {
    /// Texts that a new one is compared with: states come back, free text does not.
    const LOOK_BACK: usize = 64;

    pub(super) fn push(&mut self, text: &str) {
        let recent = self.words.iter().enumerate().rev().take(Self::LOOK_BACK);
        let pick = recent.into_iter().find(|(_, word)| *word == text).map(|(at, _)| at);
        let pick = pick.unwrap_or_else(|| {
            self.words.push(text.to_owned());
            self.bytes += text.len();
            self.words.len() - 1
        });
        self.picks.push(pick as u32);
    }
}
