//! Batches and hellos -> how far each stream is: what of a stream the catalogue takes as arrived, released or missing.

use pattoo_wire::{Batch, Gap, Header, Hello, MAX_ACK_RANGES, MAX_ASK_RANGES};

use super::receipts::{Receipts, receipt};
use super::stream::{Arrived, Changes, covers};
use super::{Catalog, MAX_STREAMS, Refused, Stream};
use crate::store::Commit;

/// Streams of one gateway whose receipts are kept: a box that was wiped may still have messages of its life before under way.
const STREAMS_WITH_RECEIPTS: usize = 2;

/// A batch as it stands in its stream.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Gateway.
    pub gateway: &'a str,
    /// Its number, and what its gateway still holds.
    pub header: Header,
    /// Checksum of its content.
    pub crc: u32,
    /// When it came, UTC, ms since 1970.
    pub now_ms: i64,
}

/// What is known of a batch before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is new.
    New,
    /// It has come before.
    Same,
    /// Its gateway has put on record that it never comes: its readings are counted as lost.
    GivenUp,
    /// Another batch of its number has come: the gateway has thinned it out, or its buffer was put back to an older image.
    Changed,
    /// A batch of its number has come, too long ago to tell whether it was this one.
    Forgotten,
}

/// How far a stream is after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Stream.
    pub stream: u64,
    /// What may be acknowledged once the commit is durable.
    pub contiguous: u64,
    /// Whether that is more than before.
    pub advanced: bool,
}

/// What has arrived of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Nothing at or below is missing.
    pub contiguous: u64,
    /// Ranges beyond it, the lowest, at most [`MAX_ACK_RANGES`].
    pub ahead: Vec<(u64, u64)>,
    /// The highest batch of all.
    pub highest: u64,
}

impl Catalog {
    /// What may be acknowledged of a stream; none of one that is not known.
    #[must_use]
    pub fn standing(&self, gateway: &str, stream: u64) -> Option<Standing> {
        let arrived = self.arrived(gateway, stream)?;
        let ahead = arrived.ahead().iter().take(MAX_ACK_RANGES).copied().collect();
        Some(Standing { contiguous: arrived.contiguous(), ahead, highest: arrived.highest() })
    }

    /// Batches within `from..to` that have not arrived, as ranges, the lowest first, at most [`MAX_ASK_RANGES`].
    #[must_use]
    pub fn missing(&self, gateway: &str, stream: u64, from: u64, to: u64) -> Vec<(u64, u64)> {
        match self.arrived(gateway, stream) {
            Some(arrived) => arrived.missing(from, to, MAX_ASK_RANGES),
            None => Arrived::default().missing(from, to, MAX_ASK_RANGES),
        }
    }

    /// Takes what a gateway says it holds: what is older and has not come, never will. Gives whether the gateway's buffer has turned
    /// out to be an older image of itself.
    ///
    /// # Errors
    /// A gateway too many.
    pub fn take_hello(&mut self, gateway: &str, hello: &Hello, now_ms: i64) -> Result<(Commit, bool), Refused> {
        self.ensure_room(gateway)?;
        let known = self.stream(gateway, hello.stream);
        let mut arrived = known.map(|stream| stream.arrived.clone()).unwrap_or_default();
        // The same hello may come twice, the second time behind batches that were made after it.
        let words = Some((hello.stream, hello.next, hello.sent_ms));
        let again = self.gateways.get(gateway).is_some_and(|gateway| gateway.hello == words);
        let rewound = !again && arrived.highest() >= hello.next;
        if rewound {
            arrived.rewind(hello.next);
        }
        let before = arrived.contiguous();
        let changes = arrived.release_before(hello.oldest, known.map_or(&Receipts::default(), |stream| &stream.receipts), now_ms);
        // A stream begins with its first batch, not with the word of it.
        let commit = match rewound || arrived.contiguous() > before {
            true => self.put_stream(gateway, hello.stream, arrived, changes),
            false => Commit::default(),
        };
        if let Some(gateway) = self.gateways.get_mut(gateway) {
            gateway.hello = words;
        }
        Ok((commit, rewound))
    }

    /// What is known of a batch by its number and checksum.
    #[must_use]
    pub fn known(&self, place: Place<'_>) -> Known {
        let seq = place.header.seq;
        let Some(stream) = self.stream(place.gateway, place.header.stream) else { return Known::New };
        match stream.receipts.get(seq) {
            Some(receipt) if receipt.crc == place.crc => Known::Same,
            Some(_) => Known::Changed,
            None if !stream.arrived.has(seq) => Known::New,
            None if stream.arrived.is_given_up(seq) => Known::GivenUp,
            None => Known::Forgotten,
        }
    }

    /// Takes a batch of which nothing has to be stored any more: the commit holds at most how far the stream is.
    ///
    /// # Errors
    /// A stream too far ahead, or a limit.
    pub fn replayed(&mut self, place: Place<'_>) -> Result<(Commit, Progress), Refused> {
        let (arrived, changes, before) = self.arrive_on_copy(place, &[])?;
        let progress = progress(place, &arrived, before);
        let unchanged = self.stream(place.gateway, place.header.stream).is_some_and(|stream| stream.arrived == arrived);
        let commit = match unchanged {
            true => Commit::default(),
            false => self.put_stream(place.gateway, place.header.stream, arrived, changes),
        };
        Ok((commit, progress))
    }

    /// Takes a batch that can never be read and is kept elsewhere: it counts as arrived, with a record of that.
    ///
    /// # Errors
    /// A stream too far ahead, or a limit.
    pub fn take_unreadable(&mut self, place: Place<'_>, record: Gap) -> Result<(Commit, Progress), Refused> {
        self.arrive(place, &Batch { gaps: vec![record], ..Batch::default() })
    }

    pub(super) fn arrive_on_copy(&self, place: Place<'_>, gaps: &[Gap]) -> Result<(Arrived, Changes, u64), Refused> {
        self.ensure_room(place.gateway)?;
        let known = self.stream(place.gateway, place.header.stream);
        let mut arrived = known.map(|stream| stream.arrived.clone()).unwrap_or_default();
        let before = arrived.contiguous();
        let too_far = |what| Refused::TooFarAhead { gateway: place.gateway.to_owned(), what };
        let none = Receipts::default();
        let receipts = known.map_or(&none, |stream| &stream.receipts);
        let changes = arrived.take(&place.header, gaps, receipts, place.now_ms).map_err(too_far)?;
        Ok((arrived, changes, before))
    }

    /// Notes that a batch is here; the commit has all of it but its readings.
    pub(super) fn arrive(&mut self, place: Place<'_>, batch: &Batch) -> Result<(Commit, Progress), Refused> {
        let Place { gateway, header, .. } = place;
        let (arrived, changes, before) = self.arrive_on_copy(place, &batch.gaps)?;
        let progress = progress(place, &arrived, before);
        let mut commit = self.put_stream(gateway, header.stream, arrived, changes);
        if let Some(stream) = self.stream_mut(gateway, header.stream) {
            // Before the receipt of this batch: its own record may be about what it was before.
            let settled = |gap: &Gap| if covers(gap.reason) { stream.receipts.settled(gap) } else { Some(gap.clone()) };
            commit.gaps.extend(batch.gaps.iter().filter_map(settled).map(|gap| (gateway.to_owned(), header.stream, gap)));
            let (receipt, gone) = stream.receipts.add(receipt(header.seq, place.crc, batch));
            commit.receipts.push((gateway.to_owned(), header.stream, receipt));
            commit.forgotten_receipts.extend(gone.into_iter().map(|seq| (gateway.to_owned(), header.stream, seq)));
        }
        Ok((commit, progress))
    }

    fn put_stream(&mut self, gateway: &str, stream: u64, arrived: Arrived, changes: Changes) -> Commit {
        self.uses += 1;
        let known = self.gateways.entry(gateway.to_owned()).or_default();
        let mut commit = Commit { streams: vec![arrived.to_state(gateway, stream)], ..Commit::default() };
        add_changes(&mut commit, gateway, stream, changes);
        if let Some(known) = known.streams.get_mut(&stream) {
            (known.arrived, known.used) = (arrived, self.uses);
            return commit;
        }
        if known.streams.len() >= MAX_STREAMS
            && let Some(oldest) = known.streams.iter().min_by_key(|(_, stream)| stream.used).map(|(number, _)| *number)
        {
            known.streams.remove(&oldest);
            commit.forgotten_streams.push((gateway.to_owned(), oldest));
        }
        let mut others: Vec<_> = known.streams.iter_mut().collect();
        others.sort_by_key(|(_, stream)| std::cmp::Reverse(stream.used));
        for (other, known) in others.into_iter().skip(STREAMS_WITH_RECEIPTS - 1) {
            commit.forgotten_receipts.extend(known.receipts.clear().into_iter().map(|seq| (gateway.to_owned(), *other, seq)));
        }
        known.streams.insert(stream, Stream { arrived, used: self.uses, ..Stream::default() });
        commit
    }

    fn arrived(&self, gateway: &str, stream: u64) -> Option<&Arrived> {
        self.stream(gateway, stream).map(|stream| &stream.arrived)
    }

    fn stream(&self, gateway: &str, stream: u64) -> Option<&Stream> {
        self.gateways.get(gateway)?.streams.get(&stream)
    }

    pub(super) fn stream_mut(&mut self, gateway: &str, stream: u64) -> Option<&mut Stream> {
        self.gateways.get_mut(gateway)?.streams.get_mut(&stream)
    }
}

fn progress(place: Place<'_>, arrived: &Arrived, before: u64) -> Progress {
    let contiguous = arrived.contiguous();
    Progress { stream: place.header.stream, contiguous, advanced: contiguous > before }
}

fn add_changes(commit: &mut Commit, gateway: &str, stream: u64, changes: Changes) {
    let of_stream = |gap| (gateway.to_owned(), stream, gap);
    commit.forgotten_gaps.extend(changes.gone.into_iter().map(of_stream));
    commit.gaps.extend(changes.put.into_iter().map(of_stream));
}
