//! Objects that commands list, and the columns of their tables.

use serde::Serialize;

/// An object that a command lists.
pub trait Listed: Clone + PartialEq + Serialize + 'static {
    /// In the plural, for messages.
    const KIND: &'static str;

    /// From left to right.
    const COLUMNS: &'static [Column<Self>];

    /// What identifies an object from one answer to the next.
    type Key: Ord;

    fn key(&self) -> Self::Key;

    /// Whether to print the object again with `--watch`.
    ///
    /// `last`: the object as it was printed.
    fn has_changed(&self, last: &Self) -> bool {
        self != last
    }
}

/// A column of the table of a kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Column<T> {
    pub head: &'static str,
    pub cell: fn(&T) -> String,
    /// Only with `-o wide`.
    pub is_wide: bool,
}

impl<T> Column<T> {
    pub const fn new(head: &'static str, cell: fn(&T) -> String) -> Self {
        Self {
            head,
            cell,
            is_wide: false,
        }
    }

    /// A column of `-o wide`.
    pub const fn wide(head: &'static str, cell: fn(&T) -> String) -> Self {
        Self {
            head,
            cell,
            is_wide: true,
        }
    }
}
