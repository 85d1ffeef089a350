//! Rows in CSV (RFC 4180), with the names of the columns in the first line.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

use super::row::{COLUMNS, NEEDED, Texts};

pub(super) struct Writer<W: Write>(csv::Writer<W>);

impl<W: Write> Writer<W> {
    pub(super) fn new(file: W) -> Result<Self> {
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(COLUMNS)?;
        Ok(Self(writer))
    }

    pub(super) fn write(&mut self, row: &Texts) -> Result<()> {
        Ok(self.0.write_record(row)?)
    }

    pub(super) fn finish(self) -> Result<W> {
        self.0.into_inner().map_err(|e| e.into_error().into())
    }
}

/// Gives each row with its line. Columns may stand in any order; of others than ours nothing is taken, so they are refused.
pub(super) fn read(file: impl Read, gateway: Option<&str>, take: &mut dyn FnMut(u64, Texts) -> Result<()>) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(file);
    let names = reader.headers()?.clone();
    let places: Vec<usize> = names.iter().map(place_of).collect::<Result<_>>().context("line 1")?;
    let needed = NEEDED.into_iter().chain(gateway.is_none().then_some("gateway"));
    for name in needed {
        if !names.iter().any(|column| column == name) {
            bail!("line 1: there is no column `{name}`; columns are {}", COLUMNS.join(", "));
        }
    }
    for record in reader.records() {
        let record = record?;
        let mut row = Texts::default();
        for (place, text) in places.iter().zip(&record) {
            if let Some(column) = row.get_mut(*place) {
                text.clone_into(column);
            }
        }
        fill_gateway(&mut row, gateway);
        take(record.position().map_or(0, csv::Position::line), row)?;
    }
    Ok(())
}

fn place_of(name: &str) -> Result<usize> {
    let place = COLUMNS.iter().position(|column| *column == name);
    place.with_context(|| format!("found column `{name}`, expected some of {}", COLUMNS.join(", ")))
}

/// Rows that do not say of which gateway they are.
pub(super) fn fill_gateway(row: &mut Texts, gateway: Option<&str>) {
    let [_, column, ..] = row;
    if let Some(gateway) = gateway.filter(|_| column.is_empty()) {
        gateway.clone_into(column);
    }
}
