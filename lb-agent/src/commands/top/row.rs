//! The rows of the screen's tables, and their columns.

use std::cmp::Ordering;

use ratatui::layout::Constraint;

/// A row of a table.
pub(super) trait Row: Sized + 'static {
    /// From left to right.
    const COLUMNS: &'static [Column<Self>];

    /// The index of the column that sorts the rows at first.
    const SORTED_BY: usize;

    /// Whether both rows are about one object, from one answer to the next.
    fn is_same(&self, other: &Self) -> bool;

    /// Whether a name in this row contains a text.
    fn contains(&self, text: &str) -> bool;
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<T> {
    pub head: &'static str,
    pub cell: fn(&T) -> String,
    pub order: fn(&T, &T) -> Ordering,
    /// Whether a row needs attention in this column.
    pub needs_attention: fn(&T) -> bool,
    pub width: Constraint,
    /// Aligned to the right, and the largest first.
    pub is_number: bool,
    /// The width of a screen that has room for this column.
    pub from_width: u16,
}

impl<T> Column<T> {
    /// A column that shares the width that numbers leave with other texts.
    pub const fn text(
        head: &'static str,
        share: u16,
        cell: fn(&T) -> String,
        order: fn(&T, &T) -> Ordering,
    ) -> Self {
        Self {
            head,
            cell,
            order,
            needs_attention: |_| false,
            width: Constraint::Fill(share),
            is_number: false,
            from_width: 0,
        }
    }

    pub const fn number(
        head: &'static str,
        width: u16,
        cell: fn(&T) -> String,
        order: fn(&T, &T) -> Ordering,
    ) -> Self {
        Self {
            width: Constraint::Length(width),
            is_number: true,
            ..Self::text(head, 0, cell, order)
        }
    }

    pub const fn with_width(self, width: u16) -> Self {
        Self {
            width: Constraint::Length(width),
            ..self
        }
    }

    /// Only on screens of this width and more.
    pub const fn when_width(self, from_width: u16) -> Self {
        Self { from_width, ..self }
    }

    pub const fn needs_attention(self, needs_attention: fn(&T) -> bool) -> Self {
        Self {
            needs_attention,
            ..self
        }
    }
}

/// An unknown number is the smallest.
pub(super) fn by_number(one: Option<f64>, other: Option<f64>) -> Ordering {
    let number = |of: Option<f64>| of.unwrap_or(f64::NEG_INFINITY);
    number(one).total_cmp(&number(other))
}

/// An unknown number has an empty cell.
pub(super) fn tenths(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| format!("{number:.1}"))
}
