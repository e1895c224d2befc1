//! Columns to Parquet and back, without Arrow: signed 64-bit integers and UTF-8 texts, snappy.
//!
//! The bytes follow from the columns alone: no clock, no host, no order of a hash table.

use parquet::basic::{Compression, Encoding};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::fmt::Write as _;
use std::sync::Arc;

/// A column with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// The values of a column, one a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Integers.
    Ints(Vec<i64>),
    /// Integers that change little from row to row; written as differences.
    Levels(Vec<i64>),
    /// Integers, some of them null.
    Optional(Vec<Option<i64>>),
    /// Texts by position in a list of distinct ones.
    Texts(Vec<String>, Vec<u32>),
}

impl Column {
    /// A column.
    pub fn new(name: &str, values: Values) -> Self {
        Column { name: name.to_owned(), values }
    }

    /// One text for every row.
    pub fn constant(name: &str, text: &str, rows: usize) -> Self {
        Column::new(name, Values::Texts(vec![text.to_owned()], vec![0; rows]))
    }

    /// A text for each row, as they are.
    pub fn texts<'a>(name: &str, texts: impl Iterator<Item = &'a str>) -> Self {
        let texts: Vec<String> = texts.map(str::to_owned).collect();
        let rows = (0..texts.len() as u32).collect();
        Column::new(name, Values::Texts(texts, rows))
    }

    /// The integer at a row; `None` where it is null, a text, or not there.
    pub fn int(&self, row: usize) -> Option<i64> {
        match &self.values {
            Values::Ints(values) | Values::Levels(values) => values.get(row).copied(),
            Values::Optional(values) => values.get(row).copied().flatten(),
            Values::Texts(..) => None,
        }
    }

    /// The text at a row.
    pub fn text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Texts(texts, rows) => texts.get(*rows.get(row)? as usize).map(String::as_str),
            _ => None,
        }
    }

    fn rows(&self) -> usize {
        match &self.values {
            Values::Ints(values) | Values::Levels(values) => values.len(),
            Values::Optional(values) => values.len(),
            Values::Texts(_, rows) => rows.len(),
        }
    }
}

/// Rows of one row group: what an engine reads at once.
const GROUP_ROWS: usize = 1 << 20;

/// Writes columns of equal length as one file.
///
/// # Errors
/// A fault of the library; columns of different lengths.
pub fn encode(table: &str, columns: &[Column]) -> Result<Vec<u8>, ParquetError> {
    let mut message = format!("message {table} {{\n");
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("heaptriage version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for column in columns {
        let kind = match &column.values {
            Values::Ints(_) => "required int64",
            Values::Levels(_) => {
                let path = ColumnPath::from(column.name.clone());
                properties =
                    properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
                "required int64"
            }
            Values::Optional(_) => "optional int64",
            Values::Texts(..) => "required binary",
        };
        let logical = if matches!(column.values, Values::Texts(..)) { " (STRING)" } else { "" };
        let _ = writeln!(message, "  {kind} {}{logical};", column.name);
    }
    message.push('}');
    let schema = Arc::new(parse_message_type(&message)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
    let rows = columns.first().map_or(0, Column::rows);
    if let Some(odd) = columns.iter().find(|column| column.rows() != rows) {
        return Err(ParquetError::General(format!("column {} has {} rows, not {rows}", odd.name, odd.rows())));
    }
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + GROUP_ROWS);
        let mut group = file.next_row_group()?;
        for column in columns {
            let Some(mut writer) = group.next_column()? else { break };
            match &column.values {
                Values::Ints(values) | Values::Levels(values) => {
                    writer.typed::<Int64Type>().write_batch(&values[start..end], None, None)?;
                }
                Values::Optional(values) => {
                    let present: Vec<i64> = values[start..end].iter().flatten().copied().collect();
                    let levels: Vec<i16> = values[start..end].iter().map(|value| i16::from(value.is_some())).collect();
                    writer.typed::<Int64Type>().write_batch(&present, Some(&levels), None)?;
                }
                Values::Texts(texts, rows) => {
                    let distinct: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(text.as_str())).collect();
                    let values: Vec<ByteArray> = rows[start..end].iter().map(|&at| distinct[at as usize].clone()).collect();
                    writer.typed::<ByteArrayType>().write_batch(&values, None, None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        start = end;
    }
    file.into_inner()
}

/// Reads the columns of a file; those of other types than ours are left out.
///
/// # Errors
/// It is no Parquet file, or a damaged one.
pub fn decode(bytes: Vec<u8>) -> Result<Vec<Column>, ParquetError> {
    let file = SerializedFileReader::new(bytes::Bytes::from(bytes))?;
    let fields = file.metadata().file_metadata().schema_descr().columns().to_vec();
    let mut columns: Vec<(bool, Column)> = fields
        .iter()
        .map(|field| {
            let text = field.physical_type() == parquet::basic::Type::BYTE_ARRAY;
            let values = if text { Values::Texts(Vec::new(), Vec::new()) } else { Values::Optional(Vec::new()) };
            (field.max_rep_level() == 0 && field.max_def_level() <= 1, Column::new(field.name(), values))
        })
        .collect();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        for (index, (flat, column)) in columns.iter_mut().enumerate() {
            if !*flat {
                continue;
            }
            let mut levels = Vec::new();
            match (group.get_column_reader(index)?, &mut column.values) {
                (ColumnReader::Int64ColumnReader(mut reader), Values::Optional(values)) => {
                    let mut present = Vec::new();
                    reader.read_records(rows, Some(&mut levels), None, &mut present)?;
                    if levels.is_empty() {
                        values.extend(present.into_iter().map(Some));
                    } else {
                        let mut present = present.into_iter();
                        values.extend(levels.iter().map(|&level| if level > 0 { present.next() } else { None }));
                    }
                }
                (ColumnReader::ByteArrayColumnReader(mut reader), Values::Texts(texts, at)) => {
                    let mut present: Vec<ByteArray> = Vec::new();
                    reader.read_records(rows, Some(&mut levels), None, &mut present)?;
                    for value in present {
                        let text = String::from_utf8_lossy(value.data());
                        if texts.last().map(String::as_str) != Some(&text) {
                            texts.push(text.into_owned());
                        }
                        at.push(texts.len() as u32 - 1);
                    }
                }
                _ => *flat = false,
            }
        }
    }
    Ok(columns.into_iter().filter(|(usable, _)| *usable).map(|(_, column)| column).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were() {
        let columns = [
            Column::constant("instance", "pod-7", 3),
            Column::texts("stack_id", ["a", "a", "ü"].into_iter()),
            Column::new("ts_us", Values::Ints(vec![1, 2, i64::MAX])),
            Column::new("inuse_bytes", Values::Levels(vec![i64::MIN, 0, i64::MAX])),
            Column::new("rss", Values::Optional(vec![Some(-1), None, Some(7)])),
        ];
        let bytes = encode("t", &columns).unwrap();
        assert_eq!(bytes, encode("t", &columns).unwrap());
        let back = decode(bytes).unwrap();
        assert_eq!(
            back.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
            ["instance", "stack_id", "ts_us", "inuse_bytes", "rss"]
        );
        for row in 0..3 {
            for (column, other) in columns.iter().zip(&back) {
                assert_eq!((column.int(row), column.text(row)), (other.int(row), other.text(row)), "{}", column.name);
            }
        }
        assert_eq!((back[4].int(3), back[0].text(3)), (None, None));
    }

    #[test]
    fn no_rows_are_a_file_too() {
        let bytes = encode("t", &[Column::new("ts_us", Values::Ints(Vec::new()))]).unwrap();
        assert_eq!(decode(bytes).unwrap()[0].name, "ts_us");
    }

    #[test]
    fn what_is_no_parquet_is_an_error() {
        assert!(decode(b"PAR1".to_vec()).is_err());
        assert!(decode(Vec::new()).is_err());
        let bytes = encode("t", &[Column::new("ts_us", Values::Ints((0..1000).collect()))]).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        let uneven = [Column::new("a", Values::Ints(vec![1])), Column::new("b", Values::Ints(vec![]))];
        assert!(encode("t", &uneven).is_err());
    }
}
