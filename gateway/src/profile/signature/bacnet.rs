//! The `bacnet:` of a profile's `match:`: how a scan recognises a BACnet device of this model. Pure; asks nobody.
//!
//! | key | meaning |
//! |---|---|
//! | `vendor_id` | number of its maker, as ASHRAE gives them out |
//! | `model` | part of its model-name, or several, of which one must be there; letter case does not matter |
//! | `names` | names of objects that it must all have |

use super::{contains, several, text};
use crate::yaml::{Field, Fields, Problems};

pub(in crate::profile) const BACNET_KEYS: &[&str] = &["vendor_id", "model", "names"];
/// Most names that one profile is recognised by.
pub(in crate::profile) const MAX_NAMES: usize = 32;

/// How a BACnet device of this model shows itself. All that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BacnetSignature {
    /// Number of its maker.
    pub vendor_id: Option<u16>,
    /// Parts of its model-name, of which one must be there; nothing for any.
    pub model: Vec<String>,
    /// Names of objects that it has.
    pub names: Vec<String>,
}

impl BacnetSignature {
    /// Whether it has this vendor and model.
    #[must_use]
    pub fn fits(&self, vendor_id: Option<u32>, model: &str) -> bool {
        let vendor = self.vendor_id.is_none_or(|own| vendor_id == Some(own.into()));
        vendor && (self.model.is_empty() || self.model.iter().any(|part| contains(model, part)))
    }
}

/// Reads the `bacnet:` of a `match:`.
pub(super) fn read(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<BacnetSignature> {
    let before = problems.count();
    let fields = Fields::read(field.node, "match, bacnet", BACNET_KEYS, problems)?;
    let mut signature = BacnetSignature::default();
    if let Some(field) = fields.optional("vendor_id") {
        let id = field.integer(0, u16::MAX.into(), "the number of a vendor", problems);
        signature.vendor_id = id.and_then(|id| u16::try_from(id).ok());
    }
    if let Some(field) = fields.optional("model") {
        signature.model = several(&field, |field| text(&field, problems)).unwrap_or_default();
    }
    if let Some(field) = fields.optional("names") {
        signature.names = names(&field, problems).unwrap_or_default();
    }
    if problems.count() == before && signature == BacnetSignature::default() {
        field.problem("found nothing to recognise a device by, expected vendor_id, model or names", problems);
    } else if problems.count() == before && signature.model.is_empty() && signature.names.is_empty() {
        field.problem("found the vendor alone, who has many models: expected model or names too", problems);
    }
    (problems.count() == before).then_some(signature)
}

fn names(field: &Field<'_>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let items = field.list("a list of names of objects, such as [DA-T, RA-T]", problems)?;
    if items.is_empty() || items.len() > MAX_NAMES {
        field.problem(&format!("found {} names, expected 1 to {MAX_NAMES}", items.len()), problems);
        return None;
    }
    items.iter().map(|node| text(&field.item(node), problems)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn read(signature: &str) -> Result<BacnetSignature, String> {
        let text = format!(
            "schema: 1\nid: m\nmanufacturer: x\nmodel: x\nmatch: {{ bacnet: {signature} }}\npoints: [{{ name: a, read: {{ object: analog-input, instance: 0 }} }}]\n"
        );
        let profile = Profile::read("m.yaml".as_ref(), text.as_bytes());
        let told = |all: Vec<crate::yaml::Problem>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        profile.map_err(told).map(|profile| profile.signature.unwrap().bacnet.unwrap())
    }

    #[test]
    fn a_device_fits_by_its_vendor_and_a_part_of_its_model() {
        let signature = read("{ vendor_id: 36, model: [bac-4021, BAC-9001] }").unwrap();
        for (vendor, model, fits) in [
            (Some(36), "KMC BAC-4021C rev A", true),
            (Some(36), "BAC-9001", true),
            (Some(36), "BAC-5901", false),
            (Some(5), "BAC-9001", false),
            (None, "BAC-9001", false),
        ] {
            assert_eq!(signature.fits(vendor, model), fits, "{vendor:?} {model}");
        }
        assert_eq!(read("{ names: [DA-T, RA-T] }").unwrap().names, ["DA-T", "RA-T"]);
    }

    #[test]
    fn what_recognises_nothing_or_too_much_is_refused() {
        for (signature, says) in [
            ("{}", "m.yaml:5:18: match, bacnet: found nothing to recognise a device by"),
            ("{ vendor_id: 36 }", "found the vendor alone"),
            ("{ vendor_id: 70000, model: x }", "the number of a vendor"),
            ("{ names: [] }", "found 0 names, expected 1 to 32"),
            ("{ vendor: 36 }", "did you mean `vendor_id`"),
        ] {
            let error = read(signature).unwrap_err();
            assert!(error.contains(says), "{signature}: {error}");
        }
    }
}
