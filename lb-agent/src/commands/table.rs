//! Columns in kubectl's format: padded to the widest cell, three spaces apart, with nothing after the last.

use std::io::{self, Write};

/// A table that is written at once, or bit by bit: then its columns only become wider.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    widths: Vec<usize>,
    has_head: bool,
}

impl Table {
    /// `head`: the names of the columns.
    pub fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        let head: Vec<&str> = head.into_iter().collect();
        Self {
            widths: head.iter().map(|cell| cell.len()).collect(),
            head,
            has_head: false,
        }
    }

    /// Writes rows, below the header if they are the first. Without rows it writes nothing. Makes each row twice, so that it need
    /// not keep them all.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write(
        &mut self,
        mut to: impl Write,
        rows: impl Iterator<Item = impl AsRef<[String]>> + Clone,
    ) -> io::Result<()> {
        let mut is_empty = true;
        for row in rows.clone() {
            is_empty = false;
            for (width, cell) in self.widths.iter_mut().zip(row.as_ref()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if is_empty {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_head, true) {
            write_row(&mut to, &self.widths, self.head.iter().copied())?;
        }
        for row in rows {
            let cells = row.as_ref().iter().map(String::as_str);
            write_row(&mut to, &self.widths, cells)?;
        }
        Ok(())
    }
}

/// The name of a port in a cell, as `kubectl describe` prints it.
pub const fn port_name(name: &str) -> &str {
    if name.is_empty() { "<unset>" } else { name }
}

/// A text in a cell, as kubectl prints it.
pub fn or_none(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or("<none>")
        .to_owned()
}

pub fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

fn write_row<'a>(
    to: &mut impl Write,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line.push_str(&format!("{cell:<width$}   "));
    }
    writeln!(to, "{}", line.trim_end())
}
