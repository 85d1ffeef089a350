//! Columns of text for people. Knows nothing of what stands in them.

/// Columns as wide as their longest cell, two spaces apart; columns named in `right` end at the same place instead of beginning
/// there. The first row is the head.
#[must_use]
pub(crate) fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match right.contains(&column) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["name", "value", "unit"], ["läufer", "12", ""], ["x", "3", "kWh"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows, &[1]), "name    value  unit\nläufer     12\nx           3  kWh\n");
    }
}
