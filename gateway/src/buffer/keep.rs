//! Keeps batches: one, or several with one wait for the disk. Tells what became of each.

use super::record::BatchRecord;
use super::{Buffer, BufferError, Store, StoreError};
use crate::batch::Closed;

impl<S: Store> Buffer<S> {
    /// Appends and commits. After a failure of the store, tries once more; on a full disk it gives up the oldest batches first.
    ///
    /// # Errors
    /// The second failure. The batch is then not stored.
    pub fn keep(&mut self, now_ms: i64, closed: &Closed) -> Result<u64, BufferError> {
        let stream = self.head.stream;
        let seq = self.append(now_ms, closed)?;
        let expected = self.staged.last().map(BatchRecord::encode);
        let Err(error) = self.commit() else { return Ok(seq) };
        // The failed commit may have come through; storing it again would send the readings twice.
        if self.mend().is_err() {
            return Err(error);
        }
        if self.head.stream == stream && seq < self.durable && self.record(seq)? == expected {
            return Ok(seq);
        }
        if error == BufferError::Store(StoreError::Full) {
            self.give_up_oldest()?;
        }
        let seq = self.append(now_ms, closed)?;
        self.commit()?;
        Ok(seq)
    }

    /// Appends all and commits them as one. Where that fails, each is tried alone, as [`Buffer::keep`] does: one that cannot be stored costs
    /// no other. What became of each, in their order.
    pub fn keep_all(&mut self, now_ms: i64, closed: &[Closed]) -> Vec<Result<u64, BufferError>> {
        let stream = self.head.stream;
        let mut staged = Vec::new();
        for closed in closed {
            match self.append(now_ms, closed) {
                Ok(seq) => staged.push(Ok((seq, self.staged.last().map(BatchRecord::encode)))),
                Err(BufferError::Batch(error)) => staged.push(Err(BufferError::Batch(error))),
                // Those before it are gone as well.
                Err(_) => break,
            }
        }
        if staged.len() == closed.len() && self.commit().is_ok() {
            return staged.into_iter().map(|staged| staged.map(|(seq, _)| seq)).collect();
        }
        let mut staged = staged.into_iter();
        let mut keep = |closed: &Closed| {
            let Some(Ok((seq, expected))) = staged.next() else { return self.keep(now_ms, closed) };
            // The first ones of a failed commit may have come through.
            self.mend()?;
            let is_there = self.head.stream == stream && seq < self.durable && self.record(seq)? == expected;
            if is_there { Ok(seq) } else { self.keep(now_ms, closed) }
        };
        closed.iter().map(&mut keep).collect()
    }
}
