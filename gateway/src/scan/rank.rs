//! Which profiles fit what a device said, the best first, and why. Pure.

use pattoo_wire::Sample;
use serde::Serialize;

use super::dossier::{Dossier, place};
use crate::config::Profiles;
use crate::profile::{Check, Profile, Signature, contains};

/// What the marker says of a profile for all `SunSpec` devices.
const SUNSPEC_SCORE: u32 = 20;
/// Names that the profile itself asks for.
const IDENTITY_SCORE: u32 = 20;
/// A word of the profile's model that only one model has, in the name that the device gives.
const MODEL_SCORE: u32 = 10;
/// The same of its manufacturer; alone it says nothing of the model.
const VENDOR_SCORE: u32 = 3;
/// Shorter words of a model are of many.
const MIN_MODEL_CHARS: usize = 4;

/// A profile that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ranked {
    /// Its id.
    pub profile: String,
    /// How much speaks for it; what is equal cannot be told apart.
    pub score: u32,
    /// What speaks for it.
    pub why: Vec<String>,
}

/// All profiles that something speaks for.
pub(super) fn rank(dossier: &Dossier, profiles: &Profiles) -> Vec<Ranked> {
    let mut ranked: Vec<_> = profiles.values().filter_map(|profile| judge(dossier, profile)).collect();
    ranked.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.profile.cmp(&b.profile)));
    ranked
}

fn judge(dossier: &Dossier, profile: &Profile) -> Option<Ranked> {
    let (mut score, mut why) = (0, Vec::new());
    let signature = profile.signature.as_ref();
    if let (Some(true), Some(sunspec)) = (signature.map(|own| own.sunspec), &dossier.sunspec) {
        score += SUNSPEC_SCORE;
        why.push(format!("SunSpec marker at {}", sunspec.base));
    }
    let name = by_name(dossier, profile);
    let named = matches!(&name, Name::Fits(own, _) if *own >= MODEL_SCORE);
    match name {
        Name::Other => return None,
        Name::Unknown => {}
        Name::Fits(own, text) => {
            score += own;
            why.push(text);
        }
    }
    for check in signature.map(|own| own.registers.as_slice()).unwrap_or_default() {
        match dossier.holds(check) {
            Some(true) => {
                score += check.weight();
                why.push(shown(dossier, check));
            }
            // All of them must, unless it says itself what it is.
            _ if !named => return None,
            _ => {}
        }
    }
    // A manufacturer has many models.
    (score > VENDOR_SCORE).then(|| Ranked { profile: profile.id.clone(), score, why })
}

enum Name {
    /// The device gives a name, and it is another's.
    Other,
    Unknown,
    Fits(u32, String),
}

fn by_name(dossier: &Dossier, profile: &Profile) -> Name {
    let Some((vendor, product)) = dossier.names() else { return Name::Unknown };
    if let Some(Signature { vendor: own_vendor, product: own_product, .. }) =
        profile.signature.as_ref().filter(|own| own.vendor.is_some() || own.product.is_some())
    {
        let fits = |part: &Option<String>, text: &str| part.as_ref().is_none_or(|part| contains(text, part));
        return match fits(own_vendor, &vendor) && fits(own_product, &product) {
            true => Name::Fits(IDENTITY_SCORE, format!("calls itself {vendor} {product}")),
            false => Name::Other,
        };
    }
    let told = letters(&format!("{vendor} {product}"));
    let by_vendor = profile.manufacturer.split_whitespace().next().map(letters).filter(|word| word.len() > 2 && told.contains(word));
    let mut words = profile.model.split(|c: char| !c.is_alphanumeric()).map(letters);
    let model = words.find(|word| word.len() >= MIN_MODEL_CHARS && word.contains(|c: char| c.is_ascii_digit()) && told.contains(word));
    let score = u32::from(by_vendor.is_some()) * VENDOR_SCORE + u32::from(model.is_some()) * MODEL_SCORE;
    if score == 0 { Name::Unknown } else { Name::Fits(score, format!("calls itself {vendor} {product}")) }
}

/// Letters and digits alone, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// `input 70 = 49.98`.
fn shown(dossier: &Dossier, check: &Check) -> String {
    let words = dossier.read.get(&place(check)).cloned().flatten().unwrap_or_default();
    let value = match check.read.decode(&words, None) {
        Sample::Good(value) => value.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        _ => String::new(),
    };
    format!("{} {} = {value}", check.read.table, check.read.address)
}
