//! Finding the chain of models of a SunSpec device: what to read next, and what was found. Pure: asks nobody.
//!
//! Addresses only grow, models are counted and each step asks for two registers at most, so a walk ends whatever a device says.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use crate::profile::{BASES, Chain, END, MARKER, Model};

/// Most models of a device. Real ones have up to 30.
pub(super) const MAX_MODELS: usize = 64;

/// The last register that there is.
const LAST: u32 = u16::MAX as u32;

/// What a walk wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// These holding registers.
    Ask { address: u16, count: u16 },
    /// Nothing more: this is the chain.
    Found(Chain),
    /// Nothing more: at none of the standard's places there is a marker.
    Nowhere,
}

/// A walk as far as it has come.
#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    /// Bases that were not looked at yet, the next one last.
    bases: Vec<u16>,
}

#[derive(Debug)]
enum State {
    /// Is the marker at this base?
    Marker(u16),
    /// What is behind the last model? Asked for as two registers, or one where a device does not give two there.
    Header(Chain, u16),
    Done(Chain),
    Nowhere,
}

impl Walk {
    /// A walk that looks at this one of the bases first.
    pub(super) fn new(first: usize) -> Self {
        let mut bases = BASES;
        bases.rotate_left(first % BASES.len());
        bases.reverse();
        let mut walk = Self { state: State::Nowhere, bases: bases.to_vec() };
        walk.next_base();
        walk
    }

    /// What it wants now.
    pub(super) fn next(&self) -> Step {
        match &self.state {
            State::Marker(base) => Step::Ask { address: *base, count: 2 },
            State::Header(chain, count) => match chain.end() {
                Some(address) => Step::Ask { address, count: *count },
                None => Step::Found(chain.clone()),
            },
            State::Done(chain) => Step::Found(chain.clone()),
            State::Nowhere => Step::Nowhere,
        }
    }

    /// Takes the registers that it wanted; none where the device has no such registers.
    pub(super) fn hear(&mut self, words: Option<&[u16]>) {
        match std::mem::replace(&mut self.state, State::Nowhere) {
            State::Marker(base) if words == Some(&MARKER) => {
                self.state = header(Chain { base, models: Vec::new(), complete: false });
            }
            State::Marker(_) => self.next_base(),
            // The map may end with the end's id, without its length.
            State::Header(chain, 2) if words.is_none() => self.state = State::Header(chain, 1),
            State::Header(chain, _) => self.state = behind(chain, words),
            other => self.state = other,
        }
    }

    fn next_base(&mut self) {
        self.state = self.bases.pop().map_or(State::Nowhere, State::Marker);
    }
}

/// What follows when this was found behind the last model.
fn behind(mut chain: Chain, words: Option<&[u16]>) -> State {
    match (chain.end(), words) {
        (_, Some([END, ..])) => {
            chain.complete = true;
            State::Done(chain)
        }
        (Some(start), Some(&[id, len])) if is_model(start, id, len) && chain.models.len() < MAX_MODELS => {
            chain.models.push(Model { id, start, len });
            header(chain)
        }
        _ => State::Done(chain),
    }
}

/// No model has the id 0, nor more registers than there are: that is no chain any more.
fn is_model(start: u16, id: u16, len: u16) -> bool {
    id != 0 && u32::from(start) + 1 + u32::from(len) <= LAST
}

/// At the last register there is no room for a length.
fn header(chain: Chain) -> State {
    let count = if chain.end() == Some(u16::MAX) { 1 } else { 2 };
    State::Header(chain, count)
}
