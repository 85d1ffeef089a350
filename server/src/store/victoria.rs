//! VictoriaMetrics as the place of history: readings as its messages, its answers as readings and buckets, and the way to it ([`remote`]).
//! No backend yet: what one has to keep itself is tested against the real one.
//!
//! # What a reading becomes
//! VictoriaMetrics keeps float64 as decimals, at 12 digits or so, and scales all numbers of a block alike, so that a small one beside a
//! large one becomes 0. Integers up to 2^53 come back exactly. So a reading is sent as an integer, and what it means (type, exponent,
//! quality) is a label of its series ([`plane`]). What no such integer says stays with the server, never rounded.
//!
//! # What a backend must hold itself
//! - What was taken is in memory there, and so is what is shown already: a kill loses the last 5 s of both.
//! - Of two values at one time it keeps one by its own rule, which has changed with its versions: corrections stay with the server.
//! - Times before 1970 or outside its retention are dropped without a word: a reading is there when it was read back.

pub mod plane;
pub mod question;
pub mod remote;
pub mod remote_write;
