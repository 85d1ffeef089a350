//! A part without its oldest readings, for retention. Pure: it reads through [`Source`] and hands out bytes to be written in their order.

use super::chunk::lengths;
use super::index::Place;
use super::read::checked_head;
use super::rows::{CellCursor, Rows};
use super::{Part, PartError, Source, Writer};

/// What a cut came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Readings that went.
    pub gone: u64,
    /// Readings in the new part.
    pub readings: u64,
    /// What could not be read and is in the new part no more.
    pub lost: Vec<PartError>,
}

struct Cutting<'a, S> {
    part: &'a Part<S>,
    writer: Writer,
    before_ms: i64,
    left: u64,
    cut: Cut,
}

/// Writes the part anew without at most `limit` readings older than `before_ms`; gives each piece of it to `write`. Chunks without such
/// readings are copied.
///
/// # Errors
/// Refused by the disk, or the new part cannot be written. Damage is borne.
pub fn cut<S: Source>(
    part: &Part<S>,
    before_ms: i64,
    limit: u64,
    write: &mut dyn FnMut(&[u8]) -> Result<(), PartError>,
) -> Result<Cut, PartError> {
    let mut out = Vec::new();
    let mut cutting = Cutting { part, writer: Writer::new(&mut out), before_ms, left: limit, cut: Cut::default() };
    for group in &part.groups {
        cutting.writer.begin_group();
        for place in &group.chunks {
            cutting.chunk(place, &mut out)?;
            write(&out)?;
            out.clear();
        }
    }
    let Cutting { writer, cut, .. } = cutting;
    let cut = Cut { readings: writer.readings(), ..cut };
    writer.finish(&mut out)?;
    write(&out)?;
    Ok(cut)
}

impl<S: Source> Cutting<'_, S> {
    fn chunk(&mut self, place: &Place, out: &mut Vec<u8>) -> Result<(), PartError> {
        match self.whole(place, out) {
            Ok(true) => return Ok(()),
            // What is good of it is found when it is decoded.
            Ok(false) | Err(PartError::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
        let lost = &mut self.cut.lost;
        let rows = self.part.rows_but(place, &mut |e| match e {
            PartError::Damaged { .. } => {
                lost.push(e);
                Ok(())
            }
            e => Err(e),
        })?;
        let rows = self.kept(&rows);
        self.writer.rows(&rows, out)
    }

    /// Takes or drops a chunk as a whole, if that can be.
    fn whole(&mut self, place: &Place, out: &mut Vec<u8>) -> Result<bool, PartError> {
        if place.first_ms >= self.before_ms || self.left == 0 {
            let bytes = self.part.chunk(place)?;
            let head = checked_head(&bytes, place)?;
            head.check(&bytes)?;
            self.writer.copy(&head, lengths(&bytes, place.at)?.0, &bytes, out);
            return Ok(true);
        }
        let readings = self.part.head(place)?.readings();
        let drops = place.last_ms < self.before_ms && readings <= self.left;
        if drops {
            self.left -= readings;
            self.cut.gone += readings;
        }
        Ok(drops)
    }

    /// Rows without what goes.
    fn kept(&mut self, rows: &Rows) -> Rows {
        let mut kept = Rows::default();
        let mut cursors = vec![CellCursor::default(); rows.columns.len()];
        for (row, at_ms) in rows.times_ms.iter().enumerate() {
            let mut begun = false;
            for (series, sample) in rows.row(row, &mut cursors) {
                if *at_ms < self.before_ms && self.left > 0 {
                    self.left -= 1;
                    self.cut.gone += 1;
                    continue;
                }
                if !begun {
                    kept.begin(*at_ms);
                    begun = true;
                }
                kept.put(series, &sample);
            }
        }
        kept
    }
}
