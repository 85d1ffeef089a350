//! Reads what a device says of itself and of all of its objects, for a scan. Shell. Judges nothing, and keeps what was told before it ends.

use std::collections::BTreeMap;

use pattoo_wire::Reason;

use super::fetch::Talk;
use super::guard::MAX_APDU;
use super::known::{self, Known};
use super::names::{DEVICE, OBJECT_LIST, OBJECT_NAME, PRESENT_VALUE, UNITS};
use super::port::Port;
use super::services::{IAm, Property, Segmentation};
use super::tags::{ObjectId, Value};
use super::{Clock, Peer};
use crate::config::BacnetPeer;

/// Most objects of one device that are asked for.
pub(crate) const MAX_OBJECTS: usize = 20_000;
/// Objects that are asked for before it is told how far that has come.
const TELL_EVERY: usize = 64;
pub(crate) const DESCRIPTION: u32 = 28;
pub(crate) const VENDOR_NAME: u32 = 121;
pub(crate) const MODEL_NAME: u32 = 70;
pub(crate) const ACTIVE_TEXT: u32 = 4;
pub(crate) const INACTIVE_TEXT: u32 = 46;
pub(crate) const STATE_TEXT: u32 = 110;

/// What each object of a device says of itself, as far as it was asked.
#[derive(Debug, Default)]
pub(crate) struct Browsed {
    /// Objects in the order of the device's list, itself among them; of one that was not asked, nothing is there.
    pub(crate) objects: BTreeMap<ObjectId, BTreeMap<u32, Vec<Value>>>,
    /// Why not all is there.
    pub(crate) ended: Option<Reason>,
    /// Objects that were left out, because there are too many.
    pub(crate) left_out: usize,
}

impl Browsed {
    /// The only value of a property.
    pub(crate) fn value(&self, object: ObjectId, property: u32) -> Option<&Value> {
        match self.objects.get(&object)?.get(&property)?.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The same where it is a text.
    pub(crate) fn text(&self, object: ObjectId, property: u32) -> String {
        match self.value(object, property) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }
}

/// Asks a device that named itself; `progress` is told how many of how many objects were asked.
pub(crate) async fn browse(
    port: &Port,
    peer: &Peer,
    i_am: &IAm,
    clock: &Clock,
    into: &mut Browsed,
    mut progress: impl FnMut(usize, usize),
) {
    let mut known = Known::new(BacnetPeer { address: Some(peer.address), ..BacnetPeer::of(i_am.device) });
    let segmentation = match i_am.segmentation {
        Segmentation::Both => 0,
        Segmentation::Transmit => 1,
        Segmentation::Receive => 2,
        Segmentation::None => 3,
    };
    known.limits = Some(known::limits(Some(i_am.max_apdu.into()), Some(segmentation), true, MAX_APDU));
    let own = ObjectId::new(DEVICE, i_am.device);
    let mut talk = Talk { port, clock, known: &mut known, peer: peer.clone(), given_up: None };
    ask(&mut talk, vec![group(own, &[OBJECT_NAME, VENDOR_NAME, MODEL_NAME, DESCRIPTION])], into).await;
    let mut objects = list(&mut talk, own).await;
    into.left_out = objects.len().saturating_sub(MAX_OBJECTS);
    objects.truncate(MAX_OBJECTS);
    into.objects.extend(objects.iter().filter(|object| **object != own).map(|object| (*object, BTreeMap::new())));
    let others: Vec<_> = objects.into_iter().filter(|object| *object != own).collect();
    for (done, some) in others.chunks(TELL_EVERY).enumerate() {
        progress(done * TELL_EVERY, others.len());
        ask(&mut talk, some.iter().map(|object| group(*object, properties(object.kind))).collect(), into).await;
    }
    into.ended = talk.given_up;
}

async fn ask(talk: &mut Talk<'_>, groups: Vec<Vec<Property>>, into: &mut Browsed) {
    for (property, (_, result)) in talk.fetch(groups).await {
        if let Ok(Ok(values)) = result {
            into.objects.entry(property.object).or_default().insert(property.id, values);
        }
    }
}

fn group(object: ObjectId, properties: &[u32]) -> Vec<Property> {
    properties.iter().map(|id| Property::of(object, *id)).collect()
}

/// What is worth asking of an object of this type.
fn properties(kind: u16) -> &'static [u32] {
    match kind {
        0..=2 | 12 | 23 | 24 | 45 | 46 | 48 => &[OBJECT_NAME, DESCRIPTION, PRESENT_VALUE, UNITS],
        3..=5 => &[OBJECT_NAME, DESCRIPTION, PRESENT_VALUE, INACTIVE_TEXT, ACTIVE_TEXT],
        13 | 14 | 19 => &[OBJECT_NAME, DESCRIPTION, PRESENT_VALUE, STATE_TEXT],
        40 => &[OBJECT_NAME, DESCRIPTION, PRESENT_VALUE],
        _ => &[OBJECT_NAME],
    }
}

/// All objects: the whole list where it fits into an answer, else by index.
async fn list(talk: &mut Talk<'_>, own: ObjectId) -> Vec<ObjectId> {
    let object = |value: &Value| if let Value::Object(id) = value { Some(*id) } else { None };
    if let (_, Ok(Ok(values))) = talk.read_one(Property::of(own, OBJECT_LIST)).await {
        return values.iter().filter_map(object).collect();
    }
    let count = match talk.read_one(Property::at(own, OBJECT_LIST, 0)).await {
        (_, Ok(Ok(values))) => match values.first() {
            Some(Value::Unsigned(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let most = u32::try_from(MAX_OBJECTS).unwrap_or(u32::MAX).saturating_add(1);
    let groups = (1..=count.min(most)).map(|index| vec![Property::at(own, OBJECT_LIST, index)]).collect();
    let gotten = talk.fetch(groups).await;
    gotten.into_values().filter_map(|(_, result)| result.ok()?.ok()?.first().and_then(object)).collect()
}
