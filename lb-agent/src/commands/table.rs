//! Columns in kubectl's format: padded to the widest cell, three spaces apart, with nothing after the last.

use std::io::{self, Write};

/// Writes a header and rows.
///
/// # Errors
/// The writer fails.
pub fn write(mut to: impl Write, head: &[&str], rows: &[impl AsRef<[String]>]) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.len());
        }
    }
    write_row(&mut to, &widths, head.iter().copied())?;
    for row in rows {
        write_row(&mut to, &widths, row.as_ref().iter().map(String::as_str))?;
    }
    Ok(())
}

/// The name of a port in a cell, as `kubectl describe` prints it.
pub const fn port_name(name: &str) -> &str {
    if name.is_empty() { "<unset>" } else { name }
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
