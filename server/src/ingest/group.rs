//! Joins what several messages came to into one commit and one acknowledgement per stream. Pure.

use std::collections::BTreeMap;

use pattoo_wire::Ack;

use crate::catalog::Progress;
use crate::store::{Commit, SeriesEntry, SeriesId, StreamState};

/// Messages that become durable as one.
#[derive(Debug, Default)]
pub(super) struct Group {
    commit: Commit,
    series: BTreeMap<SeriesId, SeriesEntry>,
    streams: BTreeMap<(String, u64), StreamState>,
    acks: BTreeMap<(String, u64), u64>,
}

impl Group {
    /// Adds the commit of one message; later ones win.
    pub(super) fn add(&mut self, commit: Commit) {
        self.series.extend(commit.series.into_iter().map(|entry| (entry.id, entry)));
        for key in &commit.forgotten_streams {
            self.streams.remove(key);
        }
        self.streams.extend(commit.streams.into_iter().map(|state| ((state.gateway.clone(), state.stream), state)));
        // Within a commit schemas go before others come, so one that came with this group must go here.
        self.commit.schemas.retain(|(gateway, id, _)| !commit.forgotten_schemas.contains(&(gateway.clone(), *id)));
        self.commit.schemas.extend(commit.schemas);
        self.commit.readings.extend(commit.readings);
        self.commit.gaps.extend(commit.gaps);
        self.commit.forgotten_schemas.extend(commit.forgotten_schemas);
        self.commit.forgotten_streams.extend(commit.forgotten_streams);
    }

    /// Notes that a stream is to be acknowledged.
    pub(super) fn acknowledge(&mut self, gateway: &str, progress: Progress) {
        let seq = self.acks.entry((gateway.to_owned(), progress.stream)).or_default();
        *seq = progress.contiguous.max(*seq);
    }

    /// What to commit, and what to acknowledge after it.
    pub(super) fn finish(self) -> (Commit, Vec<(String, Ack)>) {
        let Self { mut commit, series, streams, acks } = self;
        commit.series = series.into_values().collect();
        commit.streams = streams.into_values().collect();
        let ack = |((gateway, stream), seq)| (gateway, Ack::through(stream, seq));
        (commit, acks.into_iter().map(ack).filter(|(_, ack)| ack.seq > 0).collect())
    }
}
