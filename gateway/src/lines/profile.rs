//! Points that are told in lines: `read: { field: temp }` of a profile, and the built-in profile that takes every name.
//!
//! | key | meaning |
//! |---|---|
//! | `field` | the `point` of a JSON line, the field of line protocol |
//! | `measurement` | only of this measurement; of any, where absent |
//! | `type` | `number` (where absent), `integer`, `unsigned` (64 bits, for counters), `bool`, `text` |
//! | `scale` | of `number` and `integer`: an exact decimal that the value is multiplied with |
//! | `decimals` | of `number`: rounds to an exact decimal; without it the value is a double |
//! | `identity` | tags that tell rows apart, in this order; each combination is a series. All other tags become labels |

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use pattoo_wire::{Decimal, Kind, Reason, Repr, Sample, Value};

use super::{MAX_NAME_BYTES, MAX_TAGS, Said};
use crate::profile::{BacnetLimits, ModbusLimits, Point, Profile, Read};
use crate::yaml::{Field, Fields, Node, Problems};

/// Id of the built-in profile that takes every name.
pub const READINGS: &str = "readings";

/// The place that is a field.
pub(crate) const FIELD: &str = "field";
pub(crate) const FIELD_KEYS: &[&str] = &[FIELD, "measurement", "type", "scale", "decimals", "identity"];
pub(crate) const TYPES: &[(&str, Type)] =
    &[("number", Type::Number), ("integer", Type::Integer), ("unsigned", Type::Unsigned), ("bool", Type::Bool), ("text", Type::Text)];
pub(crate) const MAX_DECIMALS: u8 = 12;

/// Where the readings of a point are in lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineRead {
    /// A field that the profile lists.
    Listed(ListedField),
    /// Any name, whose values have this form.
    Any(Form),
}

/// A field that a profile lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedField {
    /// Its name.
    pub field: String,
    /// Only of this measurement.
    pub measurement: Option<String>,
    /// Tags that tell rows apart.
    pub identity: Vec<String>,
    /// What its values are.
    pub kind: Type,
    /// Multiplier: mantissa and power of ten.
    pub scale: (i64, i8),
    /// Rounds to so many decimals.
    pub decimals: Option<u8>,
}

/// What the values of a listed field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// With or without a fraction.
    Number,
    /// Whole, of 64 bits.
    Integer,
    /// Whole and not negative, of 64 bits.
    Unsigned,
    /// True or false.
    Bool,
    /// Text.
    Text,
}

/// What values of a name that no profile lists look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A number.
    Gauge,
    /// A number that only grows.
    Counter,
    /// The same with a fraction.
    FloatCounter,
    /// True or false.
    Flag,
    /// A number that stands for a state.
    State,
    /// Text.
    Text,
}

impl Form {
    /// In the order of the points of the built-in profile.
    pub(super) const ALL: &[Self] = &[Self::Gauge, Self::Counter, Self::FloatCounter, Self::Flag, Self::State, Self::Text];

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Gauge => Kind::Gauge,
            Self::Counter | Self::FloatCounter => Kind::Counter,
            Self::Flag | Self::State => Kind::State,
            Self::Text => Kind::Text,
        }
    }

    fn repr(self) -> Repr {
        self.as_type().repr((1, 0), None)
    }

    fn as_type(self) -> Type {
        match self {
            Self::Gauge | Self::FloatCounter => Type::Number,
            Self::Counter => Type::Unsigned,
            Self::State => Type::Integer,
            Self::Flag => Type::Bool,
            Self::Text => Type::Text,
        }
    }

    /// The form of a value of a name that is new.
    pub(super) fn of(said: &Said, kind: Option<Kind>) -> Result<Self, &'static str> {
        match (said, kind) {
            (Said::Flag(_), None | Some(Kind::State)) => Ok(Self::Flag),
            (Said::Text(_), None | Some(Kind::Text)) => Ok(Self::Text),
            (Said::Unsigned(_) | Said::Integer(_) | Said::Float(_), None | Some(Kind::Gauge)) => Ok(Self::Gauge),
            (Said::Unsigned(_) | Said::Integer(0..), Some(Kind::Counter)) => Ok(Self::Counter),
            (Said::Float(0.0..), Some(Kind::Counter)) => Ok(Self::FloatCounter),
            (Said::Unsigned(_) | Said::Integer(_), Some(Kind::State)) => Ok(Self::State),
            (Said::Nothing, Some(Kind::Gauge)) => Ok(Self::Gauge),
            (Said::Nothing, Some(Kind::Text)) => Ok(Self::Text),
            (Said::Nothing, _) => Err("a value: what this name is for is not known yet"),
            (_, Some(Kind::Gauge)) => Err("a number, as it is a gauge"),
            (_, Some(Kind::Counter)) => Err("a number that is not negative, as it is a counter"),
            (_, Some(Kind::State)) => Err("a whole number, true or false, as it is a state"),
            (_, Some(Kind::Text)) => Err("a text, as it is of kind text"),
        }
    }

    /// A value of a name that is known.
    pub(super) fn sample(self, said: &Said) -> Sample {
        match (self, said) {
            // Numbers are never flags here: a name is for one or the other.
            (Self::Flag, Said::Flag(_)) | (Self::Gauge | Self::Counter | Self::FloatCounter | Self::State | Self::Text, _) => {
                self.as_type().sample(said, (1, 0), None)
            }
            (Self::Flag, _) => Sample::Bad(Reason::Mismatch),
        }
    }
}

impl LineRead {
    /// How its values are represented.
    #[must_use]
    pub fn repr(&self) -> Repr {
        match self {
            Self::Listed(field) => field.kind.repr(field.scale, field.decimals),
            Self::Any(form) => form.repr(),
        }
    }
}

impl ListedField {
    /// Reads the `read:` of a point.
    pub(crate) fn read(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.count();
        let fields = Fields::read(node, what, FIELD_KEYS, problems)?;
        let field = fields.required(FIELD, "the name of a field", problems).and_then(|field| name(&field, problems));
        let measurement = fields.optional("measurement").and_then(|field| name(&field, problems));
        let kind = match fields.optional("type") {
            Some(field) => field.choice(TYPES, problems)?,
            None => Type::Number,
        };
        let scale = fields.optional("scale");
        if let Some(field) = scale.as_ref().filter(|_| !matches!(kind, Type::Number | Type::Integer)) {
            field.problem("found with this type, expected only with number and integer", problems);
        }
        let scale = match scale.map(|field| (field.decimal("a number such as 0.1", problems), field)) {
            Some((Some((0, _)), field)) => {
                field.wrong("a number that is not 0", problems);
                None
            }
            Some((scale, _)) => scale,
            None => Some((1, 0)),
        };
        let decimals = fields.optional("decimals");
        if let Some(field) = decimals.as_ref().filter(|_| kind != Type::Number) {
            field.problem("found with this type, expected only with number", problems);
        }
        let decimals = decimals.map(|field| field.integer(0, MAX_DECIMALS.into(), "a number of decimals", problems));
        let decimals = decimals.map(|found| found.and_then(|n| u8::try_from(n).ok()));
        let identity = fields.optional("identity").map_or_else(|| Some(Vec::new()), |field| identity(&field, problems));
        if problems.count() > before {
            return None;
        }
        Some(Self { field: field?, measurement, identity: identity?, kind, scale: scale?, decimals: decimals.flatten() })
    }

    pub(super) fn sample(&self, said: &Said, states: &BTreeMap<i64, String>) -> Sample {
        // A state may be told by its text.
        let state = |text: &String| states.iter().find(|(_, state)| *state == text).map(|(number, _)| Said::Integer(*number));
        let named = if let Said::Text(text) = said { state(text) } else { None };
        self.kind.sample(named.as_ref().unwrap_or(said), self.scale, self.decimals)
    }
}

fn name(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let expected = format!("a name of at most {MAX_NAME_BYTES} bytes");
    let text = field.text(&expected, problems)?;
    if text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        field.wrong(&expected, problems);
        return None;
    }
    Some(text.to_owned())
}

fn identity(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let expected = format!("a list of 1 to {MAX_TAGS} names of tags, each once, such as [room]");
    let names: Option<Vec<String>> =
        field.list(&expected, problems)?.iter().take(MAX_TAGS + 1).map(|node| name(&field.item(node), problems)).collect();
    let names = names?;
    let twice = names.iter().enumerate().any(|(i, name)| names.iter().take(i).any(|other| other == name));
    if names.is_empty() || names.len() > MAX_TAGS || twice {
        field.problem(&format!("expected {expected}"), problems);
        return None;
    }
    Some(names)
}

/// Largest whole number up to which a double has them all.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Type {
    fn repr(self, scale: (i64, i8), decimals: Option<u8>) -> Repr {
        match (self, decimals) {
            (Self::Number, None) => Repr::F64,
            (Self::Number, Some(decimals)) => Repr::Decimal { exponent: -i8::try_from(decimals.min(MAX_DECIMALS)).unwrap_or_default() },
            (Self::Integer, _) => Repr::Decimal { exponent: scale.1 },
            (Self::Unsigned, _) => Repr::Unsigned,
            (Self::Bool, _) => Repr::Bool,
            (Self::Text, _) => Repr::Text,
        }
    }

    /// The value in this representation; a value of another type is bad, never bent into one.
    fn sample(self, said: &Said, scale: (i64, i8), decimals: Option<u8>) -> Sample {
        let value = match self {
            Self::Number => float(said).and_then(|number| scaled(number, scale, decimals)),
            Self::Integer => integer(said).and_then(|n| {
                let mantissa = n.checked_mul(scale.0.into()).and_then(|n| i64::try_from(n).ok()).ok_or(Reason::Overflow)?;
                Ok(Value::Decimal(Decimal { mantissa, exponent: scale.1 }))
            }),
            Self::Unsigned => integer(said)
                .and_then(|n| u64::try_from(n).map(Value::Unsigned).map_err(|_| if n < 0 { Reason::OutOfRange } else { Reason::Overflow })),
            Self::Bool => match (said, integer(said)) {
                (Said::Flag(flag), _) => Ok(Value::Bool(*flag)),
                (_, Ok(n @ (0 | 1))) => Ok(Value::Bool(n == 1)),
                _ => Err(Reason::Mismatch),
            },
            Self::Text => match said {
                Said::Text(text) => Ok(Value::Text(text.clone())),
                _ => Err(Reason::Mismatch),
            },
        };
        value.map_or_else(Sample::Bad, Sample::Good)
    }
}

/// A number as a double, as long as that keeps all digits of a whole one.
fn float(said: &Said) -> Result<f64, Reason> {
    match said {
        Said::Float(number) => Ok(*number),
        Said::Unsigned(_) | Said::Integer(_) => {
            let number = integer(said)?;
            if number.unsigned_abs() <= EXACT as u128 { Ok(number as f64) } else { Err(Reason::Overflow) }
        }
        _ => Err(Reason::Mismatch),
    }
}

fn integer(said: &Said) -> Result<i128, Reason> {
    match said {
        Said::Unsigned(n) => Ok((*n).into()),
        Said::Integer(n) => Ok((*n).into()),
        Said::Float(n) if n.fract() == 0.0 && n.abs() <= EXACT => Ok(*n as i128),
        Said::Float(n) if n.fract() == 0.0 => Err(Reason::Overflow),
        _ => Err(Reason::Mismatch),
    }
}

fn scaled(number: f64, (mantissa, exponent): (i64, i8), decimals: Option<u8>) -> Result<Value, Reason> {
    // Dividing by a power of ten rounds once, multiplying by its inverse twice.
    let scaled = number * mantissa as f64 / 10f64.powi(-i32::from(exponent));
    let Some(decimals) = decimals else {
        return if scaled.is_finite() { Ok(Value::F64(scaled)) } else { Err(Reason::Overflow) };
    };
    let digits = (scaled * 10f64.powi(decimals.into())).round();
    if digits.abs() > EXACT {
        return Err(Reason::Overflow);
    }
    Ok(Value::Decimal(Decimal { mantissa: digits as i64, exponent: -i8::try_from(decimals).unwrap_or_default() }))
}

/// The built-in profile that takes every name: a point for each form, none of which has a series of its own.
#[must_use]
pub fn readings() -> Arc<Profile> {
    static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
        let point = |form: &Form| Point {
            name: format!("{form:?}").to_lowercase(),
            unit: String::new(),
            kind: form.kind(),
            alarm: false,
            repr: form.repr(),
            every: None,
            states: BTreeMap::new(),
            range: None,
            read: Read::Line(LineRead::Any(*form)),
            writable: None,
        };
        Arc::new(Profile {
            id: READINGS.to_owned(),
            manufacturer: "any".to_owned(),
            model: "readings by name".to_owned(),
            modbus: ModbusLimits::default(),
            bacnet: BacnetLimits::default(),
            signature: None,
            points: Form::ALL.iter().map(point).collect(),
        })
    });
    Arc::clone(&PROFILE)
}
