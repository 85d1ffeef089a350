//! Which profiles fit what a BACnet device said, the best first, and why. Pure.

use super::super::rank::Ranked;
use super::Told;
use crate::config::Profiles;
use crate::driver::bacnet::names;
use crate::profile::{Profile, Read, Which};

/// A model that the profile itself asks for.
const MODEL_SCORE: u32 = 20;
/// One name of an object that it asks for, and most that all of them say.
const NAME_SCORE: u32 = 4;
const MAX_NAME_SCORE: u32 = 20;

/// All profiles that something speaks for.
pub(super) fn rank(told: &Told, profiles: &Profiles) -> Vec<Ranked> {
    let mut ranked: Vec<_> = profiles.values().filter_map(|profile| judge(told, profile)).collect();
    ranked.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.profile.cmp(&b.profile)));
    ranked
}

fn judge(told: &Told, profile: &Profile) -> Option<Ranked> {
    let signature = profile.signature.as_ref()?.bacnet.as_ref()?;
    if !signature.fits(told.vendor_id, &told.model) {
        return None;
    }
    let is_there = |name: &String| told.objects.iter().any(|object| object.name == *name);
    if !signature.names.iter().all(is_there) {
        return None;
    }
    let (mut score, mut why) = (0, Vec::new());
    if !signature.model.is_empty() {
        score += MODEL_SCORE;
        why.push(format!("calls itself {} {}", told.vendor, told.model));
    }
    if !signature.names.is_empty() {
        let count = u32::try_from(signature.names.len()).unwrap_or(u32::MAX);
        score += count.saturating_mul(NAME_SCORE).min(MAX_NAME_SCORE);
        why.push(format!("has {}", signature.names.join(", ")));
    }
    let (found, all) = points(told, profile);
    why.push(format!("{found} of {all} points are there"));
    (found > 0).then(|| Ranked { profile: profile.id.clone(), score, why })
}

/// Points of the profile whose objects this device has, and all.
fn points(told: &Told, profile: &Profile) -> (usize, usize) {
    let reads = profile.points.iter().filter_map(|point| if let Read::Bacnet(read) = &point.read { Some(read) } else { None });
    let is_there = |which: &Which, kind: u16| match which {
        Which::Itself => true,
        Which::Instance(instance) => told.objects.iter().any(|object| (object.id.kind, object.id.instance) == (kind, *instance)),
        Which::Named(name) => told.objects.iter().any(|object| object.id.kind == kind && object.name == *name),
    };
    let found = reads.clone().filter(|read| read.object == names::DEVICE || is_there(&read.which, read.object)).count();
    (found, reads.count())
}
