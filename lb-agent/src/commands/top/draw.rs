//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::Stylize as _;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Row as TableRow, Table};

use super::app::{App, Mode};
use super::header;
use super::keys;
use super::list::List;
use super::look::Look;
use super::row::Row;

/// Between two columns.
const GAP: u16 = 1;

/// The width of the names in the help.
const HELP_NAME: usize = 24;

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, look: Look) {
    let head = match &app.open {
        None => header::of_node(app, look),
        Some(open) => header::of_service(app, open, look),
    };
    let head_height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let [head_area, notice_area, table_area, foot_area] = Layout::vertical([
        Constraint::Length(head_height),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(Text::from(head)), head_area);
    draw_notice(frame, notice_area, app, look);
    if app.mode == Mode::Help {
        frame.render_widget(Paragraph::new(help()), table_area);
    } else if let Some(open) = &mut app.open {
        draw_table(frame, table_area, &mut open.backends, look);
    } else {
        draw_table(frame, table_area, &mut app.services, look);
    }
    frame.render_widget(Line::from(foot(app)).dim(), foot_area);
}

/// The filter, or else why what is on the screen may not be what is.
fn draw_notice(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look) {
    if app.mode == Mode::Filter {
        let text = Line::from(format!("/{}", app.filter()));
        let width = u16::try_from(text.width()).unwrap_or(u16::MAX);
        if area.height > 0 {
            frame.set_cursor_position(Position {
                x: area.x.saturating_add(width).min(area.right()),
                y: area.y,
            });
        }
        frame.render_widget(text, area);
        return;
    }
    let notice = if let Some(trouble) = &app.trouble {
        look.trouble(trouble.clone())
    } else if !app.node.is_ready {
        look.attention("The agent waits for the first complete list from its source.".to_owned())
    } else if app.filter().is_empty() {
        Span::default()
    } else {
        let (shown, all) = match &app.open {
            None => (app.services.shown_number(), app.services.rows().len()),
            Some(open) => (open.backends.shown_number(), open.backends.rows().len()),
        };
        format!("/{}: {shown} of {all}", app.filter()).into()
    };
    frame.render_widget(Line::from(notice), area);
}

fn draw_table<R: Row>(frame: &mut Frame<'_>, area: Rect, list: &mut List<R>, look: Look) {
    list.fit(area.width, area.height.saturating_sub(1));
    let columns: Vec<_> = list.columns().collect();
    let heads = columns.iter().map(|(index, column)| {
        let arrow = match list.sorting(*index) {
            Some(true) => "↓",
            Some(false) => "↑",
            None => "",
        };
        aligned(format!("{}{arrow}", column.head).into(), column.is_number)
    });
    let rows = list.window().map(|(row, is_chosen)| {
        let cells = columns.iter().map(|(_, column)| {
            let text = (column.cell)(row);
            let text = match (column.needs_attention)(row) {
                true => look.attention(text),
                false => text.into(),
            };
            aligned(text, column.is_number)
        });
        let cells = TableRow::new(cells);
        match is_chosen {
            true => cells.reversed(),
            false => cells,
        }
    });
    let table = Table::new(rows, columns.iter().map(|(_, column)| column.width))
        .header(TableRow::new(heads).bold())
        .column_spacing(GAP);
    frame.render_widget(table, area);
}

fn aligned(text: Span<'static>, is_right: bool) -> Line<'static> {
    match is_right {
        true => Line::from(text).right_aligned(),
        false => Line::from(text),
    }
}

fn help() -> Text<'static> {
    let line = |(name, meaning): &(&'static str, &'static str)| {
        Line::from(vec![
            format!("{name:<HELP_NAME$}").bold(),
            (*meaning).into(),
        ])
    };
    let mut lines: Vec<Line<'static>> = keys::HELP.iter().map(line).collect();
    lines.push(Line::default());
    lines.extend(keys::COLUMNS.iter().map(line));
    Text::from(lines)
}

const fn foot(app: &App) -> &'static str {
    match (app.mode, &app.open) {
        (Mode::Help, _) => "any key: close the help",
        (Mode::Filter, _) => "Enter: keep the filter   Esc: clear it",
        (Mode::Browse, None) => {
            "Enter: backends   s: sort   /: filter   p: pause   ?: help   q: quit"
        }
        (Mode::Browse, Some(_)) => "Esc: back   s: sort   /: filter   p: pause   ?: help   q: quit",
    }
}
