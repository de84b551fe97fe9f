//! Text in columns: a header, a rule, aligned cells.

use std::fmt::Write as _;

use super::Paint;
use crate::sql::format::width;

/// Where a cell stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty grid; a heading's alignment is its column's.
    pub(crate) fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, align)| (name.into(), align)).collect(), rows: Vec::new() }
    }

    /// Appends a row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Width of each column: its widest cell or heading.
    pub(crate) fn widths(&self) -> Vec<usize> {
        (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell));
                let heading = self.columns.get(i).map_or(0, |(name, _)| width(name));
                cells.max().unwrap_or(0).max(heading)
            })
            .collect()
    }

    /// The headings and the rule below them.
    pub(crate) fn header(&self, widths: &[usize], paint: Paint) -> String {
        let mut text = self.line(widths, self.columns.iter().map(|(name, _)| name.as_str()), |s| paint.bold(s));
        let rules: Vec<String> = widths.iter().map(|w| "─".repeat((*w).max(1))).collect();
        text.push_str(&self.line(widths, rules.iter().map(String::as_str), |s| paint.dim(s)));
        text
    }

    /// The rows, one line each.
    pub(crate) fn body(&self, widths: &[usize]) -> String {
        self.rows.iter().map(|row| self.line(widths, row.iter().map(String::as_str), str::to_owned)).collect()
    }

    /// All of it.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let widths = self.widths();
        self.header(&widths, paint) + &self.body(&widths)
    }

    fn line<'a>(
        &self,
        widths: &[usize],
        cells: impl Iterator<Item = &'a str>,
        paint: impl Fn(&str) -> String,
    ) -> String {
        let mut line = String::new();
        let last = self.columns.len().saturating_sub(1);
        for (i, ((cell, wide), (_, align))) in cells.zip(widths).zip(&self.columns).enumerate() {
            let padding = " ".repeat(wide.saturating_sub(width(cell)));
            let gap = if i == 0 { "" } else { "  " };
            // The last column's padding would only be spaces at the end of a line.
            let _ = match align {
                Align::Right => write!(line, "{gap}{padding}{}", paint(cell)),
                Align::Left if i == last => write!(line, "{gap}{}", paint(cell)),
                Align::Left => write!(line, "{gap}{}{padding}", paint(cell)),
            };
        }
        line.push('\n');
        line
    }
}
