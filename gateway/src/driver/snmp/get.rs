//! Objects that are asked for by name, as many at a time as the agent stands. Knows no point.

use std::collections::{BTreeSet, HashMap, VecDeque};

use pattoo_wire::Reason;

use super::agent::{Agent, Presence, Question, TOO_BIG, refusal};
use super::walk::Cell;
use crate::profile::snmp::Oid;

/// Most objects of one question.
pub(crate) const MAX_OBJECTS: usize = 24;

/// Most objects of one get that cannot be understood and are asked for alone: the rest of a table full of them is not.
const MAX_MALFORMED: usize = 32;

/// What each object is, or why that is not known.
pub(super) type Objects = HashMap<Oid, Result<Cell, Reason>>;

/// Gets these objects. `most` is how many fit an answer, as far as it is known.
///
/// Each answer makes the questions fewer or smaller.
pub(super) async fn get<A: Agent>(agent: &mut A, oids: BTreeSet<Oid>, most: &mut usize, presence: &mut Presence) -> Objects {
    let all: Vec<Oid> = oids.into_iter().collect();
    let mut left: VecDeque<Vec<Oid>> = all.chunks((*most).clamp(1, MAX_OBJECTS)).map(<[Oid]>::to_vec).collect();
    let mut objects = Objects::new();
    let mut malformed = 0;
    while let Some(mut asked) = left.pop_front() {
        if let Presence::Silent(reason) = *presence {
            objects.extend(asked.into_iter().map(|oid| (oid, Err(reason))));
            continue;
        }
        let answer = agent.ask(&Question::Get(asked.clone())).await;
        presence.note(answer.as_ref().map(drop).map_err(|reason| *reason));
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                objects.extend(asked.into_iter().map(|oid| (oid, Err(reason))));
                continue;
            }
        };
        if answer.status == 0 {
            let (at_ms, alone) = (answer.at_ms, asked.len() == 1);
            let mut found: HashMap<_, _> = answer.bindings.into_iter().collect();
            let mut missing = Vec::new();
            for oid in asked {
                match found.remove(&oid) {
                    Some(value) => drop(objects.insert(oid, Ok(Cell { value, at_ms }))),
                    None => missing.push(oid),
                }
            }
            if missing.is_empty() {
                continue;
            }
            agent.miss("malformed");
            malformed += usize::from(alone);
            if alone || malformed >= MAX_MALFORMED {
                objects.extend(missing.into_iter().map(|oid| (oid, Err(Reason::Malformed))));
            } else {
                // A value that cannot be understood hides those behind it: alone it costs only itself.
                left.extend(missing.into_iter().map(|oid| vec![oid]));
            }
            continue;
        }
        let culprit = usize::try_from(answer.index).ok().and_then(|index| index.checked_sub(1)).filter(|place| *place < asked.len());
        match (answer.status, culprit) {
            (status, _) if asked.len() == 1 => objects.extend(asked.into_iter().map(|oid| (oid, Err(refusal(status))))),
            (status, Some(place)) if status != TOO_BIG => {
                objects.insert(asked.remove(place), Err(refusal(status)));
                left.push_front(asked);
            }
            (status, _) => {
                if status == TOO_BIG {
                    agent.miss("too big");
                    *most = (asked.len() / 2).max(1);
                }
                let behind = asked.split_off(asked.len() / 2);
                left.push_front(behind);
                left.push_front(asked);
            }
        }
    }
    objects
}
