//! Which object of a device has which name: asked once, and again after the device was changed. Shell.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::Reason;

use super::fetch::Talk;
use super::names::{DATABASE_REVISION, DEVICE, OBJECT_LIST, OBJECT_NAME};
use super::services::Property;
use super::tags::{ObjectId, Value};

/// Most objects of a device whose names are asked for.
const MAX_OBJECTS: u32 = 10_000;

impl Talk<'_> {
    /// Learns the names of all objects of these types. A device that falls silent on the way is asked again at the next poll.
    pub(super) async fn learn_names(&mut self, types: &BTreeSet<u16>) -> Result<(), Reason> {
        let objects = self.objects().await?;
        let groups = objects.into_iter().filter(|object| types.contains(&object.kind));
        let groups = groups.map(|object| vec![Property::of(object, OBJECT_NAME)]).collect();
        let gotten = self.fetch(groups).await;
        if let Some(reason) = self.given_up {
            return Err(reason);
        }
        let mut names = BTreeMap::new();
        for (property, (_, result)) in gotten {
            if let Ok(Ok(values)) = result
                && let Some(Value::Text(name)) = values.into_iter().next()
            {
                // Names are unique in a device; where they are not, the first object has it.
                names.entry((property.object.kind, name)).or_insert(property.object);
            }
        }
        self.known.names = Some(names);
        self.known.revision = self.revision().await;
        Ok(())
    }

    /// The device has named itself: it may have been started anew, or somebody else has asked who is there.
    pub(super) async fn check_names(&mut self) {
        if self.known.names.is_some() {
            let revision = self.revision().await;
            if revision.is_none() || revision != self.known.revision {
                self.known.names = None;
            }
        }
    }

    async fn revision(&mut self) -> Option<u64> {
        match self.read_one(Property::of(self.own(), DATABASE_REVISION)).await.1 {
            Ok(Ok(values)) => match values.first() {
                Some(Value::Unsigned(number)) => Some(*number),
                _ => None,
            },
            _ => None,
        }
    }

    fn own(&self) -> ObjectId {
        ObjectId::new(DEVICE, self.known.instance())
    }

    /// The list of objects: all of it, where the device can give that, or one by one.
    async fn objects(&mut self) -> Result<Vec<ObjectId>, Reason> {
        let list = Property::of(self.own(), OBJECT_LIST);
        let whole = self.known.limits.as_ref().is_some_and(|limits| limits.segmentation.sends());
        if whole {
            match self.read_one(list).await.1 {
                Ok(Ok(values)) => return Ok(values.iter().filter_map(object).collect()),
                Err(reason) if self.given_up.is_some() => return Err(reason),
                _ => {}
            }
        }
        let count = match self.read_one(Property { index: Some(0), ..list }).await.1? {
            Ok(values) => match values.first() {
                Some(Value::Unsigned(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
                _ => return Err(Reason::Malformed),
            },
            Err(refusal) => return Err(super::sample::refused(refusal)),
        };
        if count > MAX_OBJECTS {
            self.known.miss("objects beyond the limit");
        }
        let elements = (1..=count.min(MAX_OBJECTS)).map(|index| vec![Property { index: Some(index), ..list }]).collect();
        let gotten = self.fetch(elements).await;
        if let Some(reason) = self.given_up {
            return Err(reason);
        }
        let values = gotten.into_values().filter_map(|(_, result)| result.ok()?.ok()?.into_iter().next());
        Ok(values.filter_map(|value| object(&value)).collect())
    }
}

fn object(value: &Value) -> Option<ObjectId> {
    if let Value::Object(object) = value { Some(*object) } else { None }
}
