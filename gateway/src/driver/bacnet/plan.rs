//! Properties -> requests that the device can take, and whose answers fit. Pure. Asks nobody.

use std::collections::BTreeSet;

use super::services::{Property, Segmentation};
use super::tags::ObjectId;

/// Bytes of a request before what it asks for.
const REQUEST_HEADER: usize = 4;
/// Bytes of an answer before what it holds.
const ANSWER_HEADER: usize = 3;
/// Bytes of an object in a request and in an answer: its name, and what opens and closes its properties.
const OBJECT_BYTES: usize = 5 + 2;
/// Bytes of a property in a request: its number and the element.
const ASKED_BYTES: usize = 4 + 3;
/// Fewest bytes of values that an answer is planned for: one property more or less.
const LEAST_ANSWER: usize = 32;
/// Most properties in one request: what small controllers get through before one stops waiting.
const MAX_PROPERTIES: usize = 100;

/// What a device takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Longest APDU, in bytes.
    pub(crate) max_apdu: u16,
    pub(crate) segmentation: Segmentation,
    /// Whether several properties may be asked for at once.
    pub(crate) read_multiple: bool,
    /// Longest answer that it could give, where that was found to be less.
    pub(crate) answer_bytes: Option<usize>,
    /// Objects that it gives only alone.
    pub(crate) alone: BTreeSet<ObjectId>,
}

impl Limits {
    fn answer(&self) -> usize {
        self.answer_bytes.unwrap_or(usize::from(self.max_apdu)).min(usize::from(self.max_apdu))
    }

    /// An answer of about so many bytes was too long.
    pub(crate) fn too_long(&mut self, bytes: usize) {
        self.answer_bytes = Some((bytes / 2).clamp(LEAST_ANSWER, self.answer()));
    }
}

/// Properties that belong together: those of one point.
pub(crate) type Group = Vec<Property>;

/// Bytes of what these properties give, about. A text may be longer: then the device breaks off, and the request is divided.
pub(crate) fn answer_bytes(groups: &[Group]) -> usize {
    ANSWER_HEADER + groups.iter().map(|group| group_bytes(group)).sum::<usize>()
}

fn group_bytes(group: &[Property]) -> usize {
    OBJECT_BYTES + group.iter().map(|property| value_bytes(property.id)).sum::<usize>()
}

/// Number of the property, what opens and closes the value, and the value.
fn value_bytes(property: u32) -> usize {
    use super::names::{OBJECT_NAME, PRESENT_VALUE, STATUS_FLAGS, UNITS};
    6 + match property {
        PRESENT_VALUE | STATUS_FLAGS => 5,
        UNITS => 3,
        OBJECT_NAME => 32,
        _ => 12,
    }
}

/// Requests that ask for each of these groups once, in their order.
pub(crate) fn plan(groups: Vec<Group>, limits: &Limits) -> Vec<Vec<Group>> {
    let mut requests: Vec<Vec<Group>> = Vec::new();
    let (mut asked, mut given, mut properties) = (0, 0, 0);
    for group in groups {
        let (own_asked, own_given) = (OBJECT_BYTES + group.len() * ASKED_BYTES, group_bytes(&group));
        let fits = REQUEST_HEADER + asked + own_asked <= usize::from(limits.max_apdu)
            && ANSWER_HEADER + given + own_given <= limits.answer()
            && properties + group.len() <= MAX_PROPERTIES;
        properties += group.len();
        match requests.last_mut().filter(|_| fits) {
            Some(request) => {
                (asked, given) = (asked + own_asked, given + own_given);
                request.push(group);
            }
            None => {
                (asked, given, properties) = (own_asked, own_given, group.len());
                requests.push(vec![group]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::bacnet::names::{PRESENT_VALUE, STATUS_FLAGS, UNITS};
    use crate::driver::bacnet::services::{multiple_ack, read_multiple};
    use crate::driver::bacnet::tags::{Value, push_closing, push_context_object, push_context_unsigned, push_opening, push_value};

    fn groups(count: u32) -> Vec<Group> {
        let group = |instance| {
            let object = ObjectId::new(0, instance);
            [PRESENT_VALUE, STATUS_FLAGS, UNITS].map(|id| Property::of(object, id)).to_vec()
        };
        (0..count).map(group).collect()
    }

    fn limits(max_apdu: u16) -> Limits {
        Limits { max_apdu, segmentation: Segmentation::None, read_multiple: true, answer_bytes: None, alone: BTreeSet::new() }
    }

    fn answer(request: &[Group]) -> Vec<u8> {
        let mut out = vec![0x30, 1, 14];
        for group in request {
            push_context_object(&mut out, 0, group[0].object);
            push_opening(&mut out, 1);
            for property in group {
                push_context_unsigned(&mut out, 2, property.id);
                push_opening(&mut out, 4);
                push_value(&mut out, &Value::Real(21.5));
                push_closing(&mut out, 4);
            }
            push_closing(&mut out, 1);
        }
        assert!(multiple_ack(&out[3..]).is_ok());
        out
    }

    #[test]
    fn every_group_is_asked_for_once_and_requests_and_answers_fit_the_device() {
        for max_apdu in [50, 128, 206, 480, 1_024, 1_476] {
            let requests = plan(groups(200), &limits(max_apdu));
            assert_eq!(requests.iter().flatten().cloned().collect::<Vec<_>>(), groups(200));
            for request in &requests {
                let question = REQUEST_HEADER + read_multiple(&request.concat()).len();
                assert!(question <= usize::from(max_apdu), "{question} of {max_apdu}");
                // One group is asked for whatever it takes.
                let given = answer(request).len();
                assert!(given <= usize::from(max_apdu) || request.len() == 1, "{given} of {max_apdu}");
            }
        }
        assert!(plan(groups(200), &limits(1_476)).len() <= 8, "large devices are asked for much at once");
    }

    #[test]
    fn an_answer_that_was_too_long_halves_the_next_ones_and_never_to_nothing() {
        let mut limits = limits(480);
        let mut before = plan(groups(50), &limits).len();
        let mut bytes = answer_bytes(&plan(groups(50), &limits)[0]);
        for _ in 0..3 {
            limits.too_long(bytes);
            let requests = plan(groups(50), &limits);
            assert!(requests.len() > before, "{} after {before}", requests.len());
            (before, bytes) = (requests.len(), answer_bytes(&requests[0]));
        }
        for _ in 0..9 {
            limits.too_long(1);
        }
        assert_eq!(limits.answer_bytes, Some(LEAST_ANSWER));
    }
}
