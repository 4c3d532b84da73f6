//! Tables without borders: a header in capitals, two spaces between columns, nothing cut off.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    wide: bool,
    align: Align,
}

/// To which side the cells of a column lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Column {
    /// A column of words that is always shown. The header is the name in capitals.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            wide: false,
            align: Align::Left,
        }
    }

    /// Shown with `-o wide` only.
    #[must_use]
    pub(crate) const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// A column of numbers.
    #[must_use]
    pub(crate) const fn right(self) -> Self {
        Self {
            align: Align::Right,
            ..self
        }
    }
}

/// The table as text, one line per row.
pub(super) fn render(columns: &[Column], rows: Vec<Vec<String>>, wide: bool) -> String {
    let shown: Vec<usize> = (0..columns.len())
        .filter(|&index| wide || !columns[index].wide)
        .collect();
    let chosen: Vec<Column> = shown.iter().map(|&index| columns[index]).collect();
    let rows = rows.into_iter().map(|row| {
        shown
            .iter()
            .map(|&index| row.get(index).cloned().unwrap_or_default())
            .collect()
    });
    let header = chosen.iter().map(|column| column.name.to_uppercase()).collect();
    draw(&chosen, std::iter::once(header).chain(rows).collect())
}

/// The rows alone.
pub(super) fn render_body(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    draw(columns, rows)
}

fn draw(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        // A line break in a cell would start a row of its own, and an empty cell would be missing for `awk`.
        table.add_row(row.iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell.replace('\n', " ")
            }
        }));
    }
    for (index, column) in columns.iter().enumerate() {
        if let Some(drawn) = table.column_mut(index) {
            drawn.set_padding((0, 2));
            drawn.set_cell_alignment(match column.align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
