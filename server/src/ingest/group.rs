//! Joins what several messages came to into one commit and one acknowledgement per stream. Pure.

use std::collections::{BTreeMap, BTreeSet};

use pattoo_wire::{Ack, Gap};

use crate::catalog::Catalog;
use crate::store::{Commit, Receipt, SeriesEntry, SeriesId, StreamState};

/// Messages that become durable as one.
#[derive(Debug, Default)]
pub(super) struct Group {
    commit: Commit,
    series: BTreeMap<SeriesId, SeriesEntry>,
    streams: BTreeMap<(String, u64), StreamState>,
    /// By gateway, stream, first seq and reason, in the order in which they came.
    gaps: BTreeMap<(String, u64, u64, u8), (usize, Gap)>,
    gaps_seen: usize,
    /// By gateway, stream and seq.
    receipts: BTreeMap<(String, u64, u64), Receipt>,
    acks: BTreeSet<(String, u64)>,
}

impl Group {
    /// Adds the commit of one message; later ones win.
    pub(super) fn add(&mut self, commit: Commit) {
        self.series.extend(commit.series.into_iter().map(|entry| (entry.id, entry)));
        for key in &commit.forgotten_streams {
            self.streams.remove(key);
            self.receipts.retain(|(gateway, stream, _), _| (gateway, stream) != (&key.0, &key.1));
        }
        for key in &commit.forgotten_receipts {
            self.receipts.remove(key);
        }
        self.receipts.extend(commit.receipts.into_iter().map(|(gateway, stream, receipt)| ((gateway, stream, receipt.seq), receipt)));
        self.commit.forgotten_receipts.extend(commit.forgotten_receipts);
        self.streams.extend(commit.streams.into_iter().map(|state| ((state.gateway.clone(), state.stream), state)));
        // Within a commit schemas go before others come, so one that came with this group must go here.
        self.commit.schemas.retain(|(gateway, id, _)| !commit.forgotten_schemas.contains(&(gateway.clone(), *id)));
        self.commit.schemas.extend(commit.schemas);
        self.commit.readings.append(commit.readings);
        for (gateway, stream, gap) in &commit.forgotten_gaps {
            self.gaps.remove(&gap_key(gateway, *stream, gap));
        }
        for (gateway, stream, gap) in commit.gaps {
            // Also in the order in which they came, because one takes in others.
            let place = self.gaps_seen;
            self.gaps_seen += 1;
            self.gaps.insert(gap_key(&gateway, stream, &gap), (place, gap));
        }
        self.commit.forgotten_gaps.extend(commit.forgotten_gaps);
        self.commit.forgotten_schemas.extend(commit.forgotten_schemas);
        self.commit.forgotten_streams.extend(commit.forgotten_streams);
    }

    /// Notes that a stream is to be acknowledged.
    pub(super) fn acknowledge(&mut self, gateway: &str, stream: u64) {
        self.acks.insert((gateway.to_owned(), stream));
    }

    /// What to commit, and what to acknowledge after it: how far the streams are in the catalogue.
    pub(super) fn finish(self, catalog: &Catalog) -> (Commit, Vec<(String, Ack)>) {
        let Self { mut commit, series, streams, gaps, receipts, acks, .. } = self;
        commit.series = series.into_values().collect();
        commit.streams = streams.into_values().collect();
        commit.receipts = receipts.into_iter().map(|((gateway, stream, _), receipt)| (gateway, stream, receipt)).collect();
        let mut gaps: Vec<_> = gaps.into_iter().map(|((gateway, stream, ..), (place, gap))| (place, (gateway, stream, gap))).collect();
        gaps.sort_by_key(|(place, _)| *place);
        commit.gaps = gaps.into_iter().map(|(_, gap)| gap).collect();
        let acks = acks.into_iter().filter_map(|(gateway, stream)| {
            let standing = catalog.standing(&gateway, stream)?;
            let ack = Ack { stream, seq: standing.contiguous, ahead: standing.ahead };
            (ack.seq > 0 || !ack.ahead.is_empty()).then_some((gateway, ack))
        });
        (commit, acks.collect())
    }
}

fn gap_key(gateway: &str, stream: u64, gap: &Gap) -> (String, u64, u64, u8) {
    (gateway.to_owned(), stream, gap.first_seq, gap.reason.code())
}
