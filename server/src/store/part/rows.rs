//! Readings of series that were polled together, as columns in memory: one time for each row, one column for each series. Bytes are not
//! known here.
//!
//! A column covers every row. What is not simply good is marked in runs: absent, uncertain or bad. Values are of one representation; a series
//! whose representation changes has a second column, and in each row at most one of the two is there.

use pattoo_wire::{Reason, Repr, Sample, Value};

use super::super::{Reading, SeriesId};
pub(super) use super::values::{Texts, Values};

/// Rows of a chunk that is called full: beyond it columns get hardly smaller, and a query decodes more than it needs.
pub const FULL_ROWS: usize = 2048;
/// Cells of a chunk at most; with more columns than 512 it has fewer rows.
pub const MAX_CELLS: usize = 1 << 20;
/// Columns of a chunk at most.
pub const MAX_COLUMNS: usize = 1 << 15;

/// How many rows of so many columns make a full chunk.
#[must_use]
pub fn full_rows(columns: usize) -> usize {
    (MAX_CELLS / columns.max(1)).clamp(1, FULL_ROWS)
}

/// Rows in ascending order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub(super) times_ms: Vec<i64>,
    /// Ascending by series; those of one series in the order in which its representation changed.
    pub(super) columns: Vec<Column>,
    /// Where the next series is likely to be: polls come in the same order.
    next: usize,
}

/// What is there of one series, in one representation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) series: SeriesId,
    /// Of the rows that are good or uncertain.
    pub(super) values: Values,
    /// Ascending and apart.
    pub(super) marks: Vec<Mark>,
    /// Rows that it covers so far; all that follow are absent.
    pub(super) covered: usize,
}

/// A run of rows that are not simply good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    Uncertain(Reason),
    Bad(Reason),
}

impl Rows {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times_ms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times_ms.is_empty()
    }

    /// Whether they make a chunk of the best size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= full_rows(self.columns.len())
    }

    /// Time of the last row.
    #[must_use]
    pub fn last_ms(&self) -> Option<i64> {
        self.times_ms.last().copied()
    }

    /// Time of the first row.
    #[must_use]
    pub fn first_ms(&self) -> Option<i64> {
        self.times_ms.first().copied()
    }

    /// These rows with those apart whose times differ in `side`, each with it.
    #[must_use]
    pub fn split(self, side: impl Fn(i64) -> i64) -> Vec<(i64, Self)> {
        let Some((first, last)) = self.first_ms().zip(self.last_ms()).map(|(first, last)| (side(first), side(last))) else {
            return Vec::new();
        };
        if first == last {
            return vec![(first, self)];
        }
        let mut pieces: Vec<(i64, Self)> = Vec::new();
        let mut cursors = vec![CellCursor::default(); self.columns.len()];
        for (row, at_ms) in self.times_ms.iter().enumerate() {
            let side = side(*at_ms);
            if pieces.last().is_none_or(|piece| piece.0 != side) {
                pieces.push((side, Self::default()));
            }
            let Some((_, piece)) = pieces.last_mut() else { continue };
            piece.begin(*at_ms);
            self.row(row, &mut cursors).for_each(|(series, sample)| piece.put(series, &sample));
        }
        pieces
    }

    /// What a row holds; asked for every row in its order, with a cursor for each column.
    pub(super) fn row(&self, row: usize, cursors: &mut [CellCursor]) -> impl Iterator<Item = (SeriesId, Sample)> {
        let columns = self.columns.iter().zip(cursors);
        columns.filter_map(move |(column, cursor)| Some((column.series, column.cell(row, cursor)?)))
    }

    /// Begins a row.
    ///
    /// # Panics
    /// It is not later than the last one, or one too many.
    pub fn begin(&mut self, at_ms: i64) {
        assert!(self.last_ms().is_none_or(|last| last < at_ms), "BUG: rows out of order");
        assert!(self.len() < FULL_ROWS, "BUG: more rows than a chunk holds");
        self.times_ms.push(at_ms);
        self.next = 0;
    }

    /// Puts what a series had at the time of the last row. The same series again is ignored: give each once.
    ///
    /// # Panics
    /// There is no row, or there are too many columns.
    pub fn put(&mut self, series: SeriesId, sample: &Sample) {
        self.put_counted(series, sample);
    }

    /// The same; gives the bytes of memory that it took.
    pub(in crate::store) fn put_counted(&mut self, series: SeriesId, sample: &Sample) -> usize {
        let row = self.len().checked_sub(1).expect("BUG: a sample without a row");
        let columns = self.columns.capacity();
        let at = self.column_for(series, sample.value().map(Value::repr));
        self.next = at + 1;
        let new = (self.columns.capacity() - columns) * size_of::<Column>();
        match self.columns.get_mut(at) {
            Some(column) if column.covered <= row => {
                let before = column.memory_bytes();
                column.put(row, sample);
                new + column.memory_bytes().saturating_sub(before)
            }
            _ => new,
        }
    }

    /// Puts what a series had from this row on, as many rows as there are samples: all of one representation, and none of the series there yet.
    /// Gives the bytes of memory that it took.
    pub(in crate::store) fn extend(&mut self, series: SeriesId, first_row: usize, samples: &[Sample]) -> usize {
        debug_assert!(first_row + samples.len() <= self.len(), "BUG: samples without a row");
        let columns = self.columns.capacity();
        let at = self.column_for(series, samples.iter().find_map(Sample::value).map(Value::repr));
        self.next = at + 1;
        let new = (self.columns.capacity() - columns) * size_of::<Column>();
        let Some(column) = self.columns.get_mut(at) else { return new };
        let before = column.memory_bytes();
        column.extend(first_row, samples);
        new + column.memory_bytes().saturating_sub(before)
    }

    /// Place of the column for this series and representation; made if there is none.
    fn column_for(&mut self, series: SeriesId, repr: Option<Repr>) -> usize {
        let fits = |column: &Column| column.series == series && (repr.is_none() || column.values.takes(repr));
        if self.columns.get(self.next).is_some_and(fits) {
            return self.next;
        }
        let first = self.columns.partition_point(|column| column.series < series);
        let of_series = self.columns_of(series);
        let count = of_series.len();
        if let Some(place) = of_series.iter().position(fits) {
            return first + place;
        }
        assert!(self.columns.len() < MAX_COLUMNS, "BUG: more columns than a chunk holds");
        let column = Column { series, values: repr.map_or(Values::None, Values::of), marks: Vec::new(), covered: 0 };
        self.columns.insert(first + count, column);
        first + count
    }

    /// Those of a series.
    fn columns_of(&self, series: SeriesId) -> &[Column] {
        let first = self.columns.partition_point(|column| column.series < series);
        let end = self.columns.partition_point(|column| column.series <= series);
        self.columns.get(first..end).unwrap_or_default()
    }

    /// How many columns.
    pub(in crate::store) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Bytes of the texts in it.
    pub(in crate::store) fn text_bytes(&self) -> usize {
        self.columns.iter().map(|column| if let Values::Text(texts) = &column.values { texts.bytes } else { 0 }).sum()
    }

    /// The reading of a series at a time.
    pub(in crate::store) fn at(&self, series: SeriesId, at_ms: i64) -> Option<Sample> {
        let row = self.times_ms.binary_search(&at_ms).ok()?;
        self.columns_of(series).iter().find_map(|column| column.at(row))
    }

    /// Which rows each series has, one bit for each, ascending by series.
    pub(in crate::store) fn presence(&self) -> Vec<(SeriesId, Vec<u64>)> {
        let rows = self.len();
        let mut found: Vec<(SeriesId, Vec<u64>)> = Vec::new();
        for column in &self.columns {
            if found.last().is_none_or(|(series, _)| *series != column.series) {
                found.push((column.series, vec![0; rows.div_ceil(64)]));
            }
            let Some((_, bits)) = found.last_mut() else { continue };
            let absent = column.marks.iter().filter(|mark| mark.state == State::Absent).map(|mark| (mark.first, mark.rows));
            let mut from = 0;
            for (first, length) in absent.chain([(column.covered, rows - column.covered)]) {
                (from..first).for_each(|row| bits.iter_mut().skip(row / 64).take(1).for_each(|word| *word |= 1 << (row % 64)));
                from = first + length;
            }
        }
        found
    }

    /// Row by row, what each holds.
    pub(in crate::store) fn by_row(&self) -> impl Iterator<Item = (i64, Vec<(SeriesId, Sample)>)> {
        let mut cursors = vec![CellCursor::default(); self.columns.len()];
        self.times_ms.iter().enumerate().map(move |(row, at_ms)| (*at_ms, self.row(row, &mut cursors).collect()))
    }

    /// Readings of a series with `from_ms <= at_ms < to_ms`, ascending.
    pub(in crate::store) fn readings(&self, series: SeriesId, from_ms: i64, to_ms: i64) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.each(series, |at_ms, sample| {
            if (from_ms..to_ms).contains(&at_ms) {
                readings.push(Reading { at_ms, sample });
            }
        });
        readings.sort_by_key(|reading| reading.at_ms);
        readings
    }

    /// Gives all that there is of a series: ascending in time within each representation.
    pub(super) fn each(&self, series: SeriesId, mut take: impl FnMut(i64, Sample)) {
        for column in self.columns_of(series) {
            let cells = self.times_ms.iter().zip(column.cells());
            cells.for_each(|(at_ms, cell)| cell.into_iter().for_each(|sample| take(*at_ms, sample)));
        }
    }

    pub(super) fn of(times_ms: Vec<i64>, columns: Vec<Column>) -> Self {
        Self { times_ms, columns, next: 0 }
    }

    /// Readings in it.
    pub(super) fn readings_count(&self) -> u64 {
        self.columns.iter().map(|column| (self.len() - column.absent(self.len())) as u64).sum()
    }

    /// The last reading of a series.
    pub(in crate::store) fn last(&self, series: SeriesId) -> Option<Reading> {
        let of_series = self.columns_of(series).iter();
        let last = of_series
            .filter_map(|column| self.times_ms.iter().zip(column.cells()).filter_map(|(at_ms, cell)| Some((*at_ms, cell?))).last());
        last.max_by_key(|(at_ms, _)| *at_ms).map(|(at_ms, sample)| Reading { at_ms, sample })
    }

    /// Appends rows that are all later than these. Gives them back where it would be more than a chunk holds, or where another
    /// representation of a series would need another order of columns.
    pub(super) fn append(&mut self, later: Self) -> Result<(), Self> {
        let fit = self.len() + later.len() <= full_rows(self.columns.len().max(later.columns.len()))
            && self.columns.len() == later.columns.len()
            && self.columns.iter().zip(&later.columns).all(|(a, b)| a.series == b.series && a.values.takes(b.values.repr()));
        if !fit || self.last_ms().zip(later.times_ms.first().copied()).is_none_or(|(last, first)| last >= first) {
            return Err(later);
        }
        let rows = self.len();
        for (column, more) in self.columns.iter_mut().zip(later.columns) {
            column.cover(rows);
            for mark in more.marks {
                column.mark(rows + mark.first, mark.rows, mark.state);
            }
            column.values.append(more.values);
            column.covered = rows + more.covered;
        }
        self.times_ms.extend(later.times_ms);
        Ok(())
    }
}

impl Column {
    fn put(&mut self, row: usize, sample: &Sample) {
        self.cover(row);
        self.covered = row + 1;
        match sample {
            Sample::Good(value) => self.values.push(value),
            Sample::Uncertain(value, reason) => {
                self.mark(row, 1, State::Uncertain(*reason));
                self.values.push(value);
            }
            Sample::Bad(reason) => self.mark(row, 1, State::Bad(*reason)),
        }
    }

    /// The same for as many rows as there are samples, from this one on.
    fn extend(&mut self, first_row: usize, samples: &[Sample]) {
        if self.values.extend_good(samples) {
            self.cover(first_row);
            self.covered = first_row + samples.len();
        } else {
            (first_row..).zip(samples).for_each(|(row, sample)| self.put(row, sample));
        }
    }

    /// Makes it end before this row.
    pub(super) fn cover(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.covered);
        if missing > 0 {
            self.mark(self.covered, missing, State::Absent);
            self.covered = rows;
        }
    }

    fn mark(&mut self, first: usize, rows: usize, state: State) {
        match self.marks.last_mut() {
            Some(last) if last.state == state && last.first + last.rows == first => last.rows += rows,
            _ => self.marks.push(Mark { first, rows, state }),
        }
    }

    /// Memory that it has beside itself.
    fn memory_bytes(&self) -> usize {
        let values = match &self.values {
            Values::None => 0,
            Values::Decimal(_, values) => values.capacity() * size_of::<i64>(),
            Values::Unsigned(values) => values.capacity() * size_of::<u64>(),
            Values::F32(values) => values.capacity() * size_of::<f32>(),
            Values::F64(values) => values.capacity() * size_of::<f64>(),
            Values::Bool(values) => values.capacity(),
            Values::Text(texts) => texts.bytes + texts.words.capacity() * size_of::<String>() + texts.picks.capacity() * size_of::<u32>(),
        };
        values + self.marks.capacity() * size_of::<Mark>()
    }

    /// What a row holds.
    fn at(&self, row: usize) -> Option<Sample> {
        let marks = self.marks.get(..self.marks.partition_point(|mark| mark.first <= row)).unwrap_or_default();
        let state = marks.last().filter(|mark| row < mark.first + mark.rows).map(|mark| mark.state);
        let without: usize = marks.iter().filter(|mark| !matches!(mark.state, State::Uncertain(_))).map(|mark| mark.rows).sum();
        match state {
            _ if row >= self.covered => None,
            None => self.values.get(row - without).map(Sample::Good),
            Some(State::Uncertain(reason)) => self.values.get(row - without).map(|value| Sample::Uncertain(value, reason)),
            Some(State::Bad(reason)) => Some(Sample::Bad(reason)),
            Some(State::Absent) => None,
        }
    }

    /// Of so many rows those that are absent.
    pub(super) fn absent(&self, rows: usize) -> usize {
        let marked = self.marks.iter().filter(|mark| mark.state == State::Absent).map(|mark| mark.rows);
        marked.sum::<usize>() + rows - self.covered
    }

    /// The row of its value at this place.
    pub(super) fn row_of(&self, place: usize) -> usize {
        let without = self.marks.iter().filter(|mark| !matches!(mark.state, State::Uncertain(_)));
        without.fold(place, |row, mark| if mark.first <= row { row + mark.rows } else { row })
    }

    /// What each row holds, without an end.
    pub(super) fn cells(&self) -> impl Iterator<Item = Option<Sample>> {
        let mut cursor = CellCursor::default();
        (0..).map(move |row| self.cell(row, &mut cursor))
    }

    /// What a row holds; asked for every row in its order.
    pub(super) fn cell(&self, row: usize, cursor: &mut CellCursor) -> Option<Sample> {
        while self.marks.get(cursor.mark).is_some_and(|mark| mark.first + mark.rows <= row) {
            cursor.mark += 1;
        }
        let state = self.marks.get(cursor.mark).filter(|mark| mark.first <= row).map(|mark| mark.state);
        let mut value = || {
            cursor.taken += 1;
            self.values.get(cursor.taken - 1)
        };
        match state {
            _ if row >= self.covered => None,
            None => value().map(Sample::Good),
            Some(State::Uncertain(reason)) => value().map(|value| Sample::Uncertain(value, reason)),
            Some(State::Bad(reason)) => Some(Sample::Bad(reason)),
            Some(State::Absent) => None,
        }
    }
}

/// How far a column has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct CellCursor {
    mark: usize,
    taken: usize,
}
