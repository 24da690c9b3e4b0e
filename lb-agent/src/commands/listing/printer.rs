//! Prints objects in the format of `--output`.

use std::io::{self, Write};

use serde::Serialize;

use super::super::output::{ListOutput, write_json, write_yaml};
use super::super::table::Table;
use super::changes::EventType;
use super::listed::{Column, Listed};

/// Prints objects of one kind.
#[derive(Debug)]
pub(super) struct Printer<T: 'static> {
    output: ListOutput,
    has_events: bool,
    columns: Vec<&'static Column<T>>,
    table: Table,
    has_printed: bool,
}

/// An object with the type of its change, as in the Kubernetes API.
#[derive(Serialize)]
struct WatchEvent<'a, T> {
    #[serde(rename = "type")]
    event: EventType,
    object: &'a T,
}

impl<T: Listed> Printer<T> {
    /// `has_events`: print the type of each change.
    pub(super) fn new(output: ListOutput, has_events: bool) -> Self {
        let columns: Vec<&Column<T>> = T::COLUMNS
            .iter()
            .filter(|column| output == ListOutput::Wide || !column.is_wide)
            .collect();
        let event = has_events.then_some("EVENT");
        let heads = columns.iter().map(|column| column.head);
        Self {
            output,
            has_events,
            table: Table::new(event.into_iter().chain(heads)),
            columns,
            has_printed: false,
        }
    }

    /// Whether the output is a table, which has nothing in it without objects.
    pub(super) const fn is_table(&self) -> bool {
        matches!(self.output, ListOutput::Table | ListOutput::Wide)
    }

    /// Prints all objects, as one document.
    pub(super) fn print_list(&mut self, to: impl Write, objects: &[T]) -> io::Result<()> {
        match self.output {
            ListOutput::Json => write_json(to, &objects),
            ListOutput::Yaml => write_yaml(to, &objects),
            ListOutput::Table | ListOutput::Wide => {
                let Self { columns, table, .. } = self;
                table.write(to, objects.iter().map(|object| row(columns, None, object)))
            }
        }
    }

    /// Prints each object: a row, a line of JSON, or a document of YAML.
    pub(super) fn print_changes(
        &mut self,
        mut to: impl Write,
        changes: &[(EventType, T)],
    ) -> io::Result<()> {
        if self.is_table() {
            let Self { columns, table, .. } = self;
            let event = |event: EventType| self.has_events.then_some(event);
            let rows = changes.iter();
            let rows = rows.map(|(of, object)| row(columns, event(*of), object));
            return table.write(to, rows);
        }
        for &(event, ref object) in changes {
            match self.has_events {
                true => self.print_document(&mut to, &WatchEvent { event, object })?,
                false => self.print_document(&mut to, object)?,
            }
        }
        Ok(())
    }

    fn print_document(&mut self, mut to: impl Write, document: &impl Serialize) -> io::Result<()> {
        if self.output == ListOutput::Json {
            serde_json::to_writer(&mut to, document)?;
            return writeln!(to);
        }
        if std::mem::replace(&mut self.has_printed, true) {
            writeln!(to, "---")?;
        }
        write_yaml(to, document)
    }
}

/// The cells of an object.
fn row<T>(columns: &[&Column<T>], event: Option<EventType>, object: &T) -> Vec<String> {
    let event = event.map(|event| event.name().to_owned());
    let cells = columns.iter().map(|column| (column.cell)(object));
    event.into_iter().chain(cells).collect()
}
