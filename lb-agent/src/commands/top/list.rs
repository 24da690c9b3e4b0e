//! Rows that are sorted, filtered and scrolled.

use super::row::{Column, Row};

#[derive(Debug)]
pub(super) struct List<R: Row> {
    /// In the order of the answer.
    rows: Vec<R>,
    /// The indices of the rows that the filter lets pass, sorted.
    shown: Vec<usize>,
    filter: String,
    /// An index into [`Row::COLUMNS`].
    sorted_by: usize,
    is_reversed: bool,
    /// The chosen one among the shown rows.
    cursor: usize,
    /// The cursor stays with its row. Otherwise it stays at the top.
    has_moved: bool,
    /// The first shown row that is on the screen.
    first: usize,
    /// The number of rows that the screen has room for.
    page: usize,
    /// The width of the screen.
    width: u16,
}

impl<R: Row> Default for List<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            shown: Vec::new(),
            filter: String::new(),
            sorted_by: R::SORTED_BY,
            is_reversed: false,
            cursor: 0,
            has_moved: false,
            first: 0,
            page: 0,
            width: u16::MAX,
        }
    }
}

impl<R: Row> List<R> {
    pub fn set_rows(&mut self, rows: Vec<R>) {
        let chosen = self.shown.get(self.cursor).copied();
        let before = std::mem::replace(&mut self.rows, rows);
        let chosen = chosen.and_then(|index| before.get(index));
        let chosen = chosen.and_then(|of| self.rows.iter().position(|row| row.is_same(of)));
        self.arrange(chosen);
    }

    /// All rows, in the order of the answer.
    pub fn rows(&self) -> &[R] {
        &self.rows
    }

    pub const fn shown_number(&self) -> usize {
        self.shown.len()
    }

    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Shows only rows that contain this text.
    pub fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange_again();
    }

    /// The columns that the screen has room for, with their indices.
    pub fn columns(&self) -> impl Iterator<Item = (usize, &'static Column<R>)> + use<R> {
        let width = self.width;
        let columns = R::COLUMNS.iter().enumerate();
        columns.filter(move |(_, column)| column.from_width <= width)
    }

    /// Whether this column sorts the rows, and if so whether the largest is first.
    pub fn sorting(&self, column: usize) -> Option<bool> {
        let sorting = R::COLUMNS.get(column)?;
        (column == self.sorted_by).then_some(sorting.is_number != self.is_reversed)
    }

    /// Sorts by one of [`Self::columns`]; in the other order if that sorts the rows already.
    pub fn sort_by_nth(&mut self, nth: usize) {
        let Some((column, _)) = self.columns().nth(nth) else {
            return;
        };
        self.is_reversed = column == self.sorted_by && !self.is_reversed;
        self.sorted_by = column;
        self.arrange_again();
    }

    /// Sorts by the next one of [`Self::columns`].
    pub fn sort_by_next(&mut self) {
        let next = self
            .columns()
            .position(|(column, _)| column > self.sorted_by);
        self.sort_by_nth(next.unwrap_or(0));
    }

    pub fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.arrange_again();
    }

    pub fn chosen(&self) -> Option<&R> {
        self.rows.get(*self.shown.get(self.cursor)?)
    }

    pub fn move_by(&mut self, rows: isize) {
        let cursor = self.cursor.saturating_add_signed(rows);
        self.cursor = cursor.min(self.shown.len().saturating_sub(1));
        self.has_moved = true;
    }

    pub fn move_by_pages(&mut self, pages: isize) {
        let page = isize::try_from(self.page.max(1)).unwrap_or(1);
        self.move_by(pages.saturating_mul(page));
    }

    /// Moves the cursor to the top, where it stays.
    pub const fn move_to_top(&mut self) {
        self.cursor = 0;
        self.has_moved = false;
    }

    pub fn move_to_end(&mut self) {
        self.move_by(isize::MAX);
    }

    /// Makes the list fit into a part of the screen.
    ///
    /// `height`: the number of rows.
    pub fn fit(&mut self, width: u16, height: u16) {
        self.width = width;
        self.page = usize::from(height);
        let lowest = (self.cursor + 1).saturating_sub(self.page);
        let highest = self.shown.len().saturating_sub(self.page);
        self.first = self.first.max(lowest).min(self.cursor).min(highest);
    }

    /// The rows that the screen has room for, and whether each is the chosen one.
    pub fn window(&self) -> impl Iterator<Item = (&R, bool)> {
        let indices = self.shown.iter().enumerate();
        let indices = indices.skip(self.first).take(self.page);
        indices.filter_map(|(at, index)| Some((self.rows.get(*index)?, at == self.cursor)))
    }

    fn arrange_again(&mut self) {
        self.arrange(self.shown.get(self.cursor).copied());
    }

    /// Sorts and filters.
    ///
    /// `chosen`: the index of the row that the cursor stays with.
    fn arrange(&mut self, chosen: Option<usize>) {
        let rows = self.rows.iter().enumerate();
        let mut shown: Vec<(usize, &R)> = rows
            .filter(|(_, row)| self.filter.is_empty() || row.contains(&self.filter))
            .collect();
        if let Some(column) = R::COLUMNS.get(self.sorted_by) {
            let is_descending = column.is_number != self.is_reversed;
            shown.sort_by(|(_, a), (_, b)| match is_descending {
                true => (column.order)(b, a),
                false => (column.order)(a, b),
            });
        }
        self.shown = shown.into_iter().map(|(index, _)| index).collect();
        let chosen = chosen.filter(|_| self.has_moved);
        let found = chosen.and_then(|of| self.shown.iter().position(|index| *index == of));
        let last = self.shown.len().saturating_sub(1);
        self.cursor = found.unwrap_or(self.cursor).min(last);
    }
}
