//! The store for more history than one machine holds: the newest days here, all before in VictoriaMetrics.
//!
//! ```text
//! commit -> recent (embedded, fsync) -> answer          recent -> forwarder -> VictoriaMetrics -> read back -> recent lets go of the day
//!                                                       what it cannot keep -> beside (embedded)
//! data   = pattoo.redb, log/, parts/ (recent) | beside/ (the same again)
//! ```
//! - **Recent** is a whole embedded store: what is acknowledged is in it, and series, schemas, streams, receipts and gap records always stay
//!   in it. Readings stay for [`Settings::keep`], rounded up to days of UTC, and until VictoriaMetrics was seen to have them.
//! - **A day is let go of** when each of its readings was read back as it is, no sooner than [`Settings::settle`] after it was sent:
//!   VictoriaMetrics acknowledges into memory, and shows what a kill still takes away. A reading that came meanwhile makes the day wait.
//! - **Beside** has what VictoriaMetrics cannot keep: text, floats of more than 15 digits and the like ([`plane`]), times before 1971, and
//!   corrections, because of two values at one time it shows one by a rule that has changed with its versions, or with its merges. It also has the newest
//!   reading of each series that recent has none of any more, so that the latest values need no question.
//! - **Answers** join all three; of the same time recent wins over beside, and that over VictoriaMetrics. A bucket that only one has
//!   readings of is taken as it is; one that several have is folded anew from their readings. So aggregation is done over there, but for
//!   the few buckets where late readings or corrections are.
//! - **Away**: commits go on; charts are drawn from what is here and say so; all else that needs the history is an error. What could not be
//!   sent is found by comparing, day by day.
//!
//! # What a reading becomes
//! VictoriaMetrics keeps float64 as decimals, at 12 digits or so, and scales all numbers of a block alike, so that a small one beside a
//! large one becomes 0. Integers up to 2^53 come back exactly. So a reading is sent as an integer, and what it means (type, exponent,
//! quality) is a label of its series ([`plane`]). What no such integer says stays here, never rounded. For the same reason there are no
//! rollups over there: their sums are no such integers.
//!
//! # Limits
//! [`Settings::max_bytes`] on disk here, above which commits with readings are refused; a million readings in memory on their way; one
//! request at a time.

pub mod backend;
pub mod compare;
mod correction;
mod forwarder;
mod history;
mod letting_go;
pub mod plane;
pub mod question;
pub mod remote;
pub mod remote_write;

pub use backend::{Settings, Victoria};
pub use letting_go::Round;
