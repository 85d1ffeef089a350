//! Rows in Parquet: the columns of the texts, `time` as a timestamp of milliseconds in UTC, and beside the exact `value` a `number` as a double
//! for those who only compute.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;

use super::comma::fill_gateway;
use super::row::{COLUMNS, NEEDED, Texts};

/// Rows that are written together: they are held in memory until then.
const GROUP_ROWS: usize = 50_000;
const NUMBER: &str = "number";

pub(super) struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    rows: Vec<(i64, Texts, Option<f64>)>,
}

impl<W: Write + Send> Writer<W> {
    pub(super) fn new(file: W) -> Result<Self> {
        let texts = COLUMNS.iter().skip(1).map(|name| format!("required binary {name} (UTF8);"));
        let columns: String = texts.chain([format!("optional double {NUMBER};")]).collect();
        let schema = parse_message_type(&format!("message readings {{ required int64 time (TIMESTAMP(MILLIS,true)); {columns} }}"))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(Self { file: SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?, rows: Vec::new() })
    }

    pub(super) fn write(&mut self, at_ms: i64, row: Texts, number: Option<f64>) -> Result<()> {
        self.rows.push((at_ms, row, number));
        if self.rows.len() >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<W> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        Ok(self.file.into_inner()?)
    }

    fn write_group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.file.next_row_group()?;
        let mut place = 0;
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(column) => {
                    let times: Vec<i64> = rows.iter().map(|(at_ms, ..)| *at_ms).collect();
                    column.write_batch(&times, None, None)?;
                }
                ColumnWriter::ByteArrayColumnWriter(column) => {
                    let texts: Vec<ByteArray> =
                        rows.iter().filter_map(|(_, row, _)| row.get(place)).map(|text| ByteArray::from(text.as_str())).collect();
                    column.write_batch(&texts, None, None)?;
                }
                ColumnWriter::DoubleColumnWriter(column) => {
                    let numbers: Vec<f64> = rows.iter().filter_map(|(_, _, number)| *number).collect();
                    let there: Vec<i16> = rows.iter().map(|(_, _, number)| i16::from(number.is_some())).collect();
                    column.write_batch(&numbers, Some(&there), None)?;
                }
                _ => bail!("BUG: a column of another type"),
            }
            column.close()?;
            place += 1;
        }
        group.close()?;
        Ok(())
    }
}

/// Gives each row with its number, from 1. `time` may be a timestamp or a text; `number` is not read.
pub(super) fn read(file: File, gateway: Option<&str>, take: &mut dyn FnMut(u64, Texts) -> Result<()>) -> Result<()> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    for name in &names {
        if name != NUMBER && !COLUMNS.contains(&name.as_str()) {
            bail!("found column `{name}`, expected some of {}", COLUMNS.join(", "));
        }
    }
    for name in NEEDED.into_iter().chain(gateway.is_none().then_some("gateway")) {
        if !names.iter().any(|column| column == name) {
            bail!("there is no column `{name}`; columns are {}", COLUMNS.join(", "));
        }
    }
    for (number, row) in (1..).zip(reader.get_row_iter(None)?) {
        let row = row.with_context(|| format!("row {number}"))?;
        let mut texts = Texts::default();
        for (name, field) in row.get_column_iter() {
            let column = COLUMNS.iter().position(|column| column == name).and_then(|place| texts.get_mut(place));
            if let Some(column) = column {
                *column = text_of(field).with_context(|| format!("row {number}: column `{name}`"))?;
            }
        }
        fill_gateway(&mut texts, gateway);
        take(number, texts)?;
    }
    Ok(())
}

fn text_of(field: &Field) -> Result<String> {
    Ok(match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Bool(value) => value.to_string(),
        Field::Int(number) => number.to_string(),
        Field::Long(number) | Field::TimestampMillis(number) => number.to_string(),
        Field::TimestampMicros(us) => us.div_euclid(1000).to_string(),
        Field::Double(number) => number.to_string(),
        Field::Float(number) => number.to_string(),
        other => bail!("found {other}, expected a text, a number or a timestamp"),
    })
}
