//! The live view: full-screen on a terminal, otherwise a line for each client every second.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::view::{ClientView, View, nanoseconds};

/// Widths of the table's columns.
const LABEL: usize = 11;
const COLUMN: usize = 22;
/// Length of the bar of a pod that gets all requests.
const BAR: f64 = 8.0;

/// Most problems to show; the agent's log has all of them.
const PROBLEMS: usize = 4;

#[derive(Debug)]
pub(crate) enum Screen {
    Terminal(DefaultTerminal),
    Plain {
        /// The second that the next line is for.
        next: u64,
        /// The problems that were printed.
        problems: Vec<String>,
    },
}

impl Screen {
    pub(crate) fn open() -> Result<Self> {
        if io::stdout().is_terminal() && io::stdin().is_terminal() {
            let terminal = ratatui::try_init().context("cannot use the terminal")?;
            // A terminal without an alternate screen still shows its old text. (ratatui's own clear asks the terminal for the
            // cursor's position, and not every terminal answers.)
            execute!(io::stdout(), Clear(ClearType::All)).context("cannot clear the terminal")?;
            return Ok(Self::Terminal(terminal));
        }
        Ok(Self::Plain {
            next: 1,
            problems: Vec::new(),
        })
    }

    pub(crate) fn draw(&mut self, view: &View) -> Result<()> {
        match self {
            Self::Terminal(terminal) => {
                terminal
                    .draw(|frame| draw(frame, view))
                    .context("cannot draw on the terminal")?;
            }
            Self::Plain { next, problems } => {
                for problem in view.problems.iter().filter(|new| !problems.contains(new)) {
                    println!("the agent: {problem}");
                }
                problems.clone_from(&view.problems);
                if view.elapsed.as_secs() >= *next {
                    println!("{}", view.lines());
                    *next = view.elapsed.as_secs() + 1;
                }
            }
        }
        Ok(())
    }

    /// Whether the user typed q, Esc or Ctrl-C. (Without the screen Ctrl-C is a signal.)
    pub(crate) fn is_quit_requested(&self) -> Result<bool> {
        if matches!(self, Self::Plain { .. }) {
            return Ok(false);
        }
        while event::poll(Duration::ZERO).context("cannot read the terminal")? {
            if let Event::Key(key) = event::read().context("cannot read the terminal")? {
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if matches!(self, Self::Terminal(_)) {
            ratatui::restore();
        }
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let mut lines = vec![
        Line::from(vec![
            "socklb playground".bold(),
            format!("   {} s   connect hook ", view.elapsed.as_secs()).into(),
            nanoseconds(view.hook.recent).bold(),
            "   q: end and clean up".into(),
        ]),
        Line::default(),
    ];
    lines.extend(clients(view));
    lines.push(Line::default());
    lines.push("answers of each pod: share over the last 2 s, number since the start".into());
    lines.extend(
        view.info
            .pods
            .map(|pod| row(view, pod, |client| bar(client, pod))),
    );
    lines.push(Line::default());
    lines.extend(problems(view));
    lines.push("try in another terminal:".into());
    lines.extend(
        view.hints()
            .into_iter()
            .map(|hint| Line::from(format!("  {hint}")).cyan()),
    );
    lines.push(Line::from(format!("the agent's log: {}", view.info.log_file.display())).dim());
    let paragraph = Paragraph::new(Text::from(lines)).wrap(Wrap { trim: false });
    frame.render_widget(paragraph, frame.area());
}

/// Who asks, and how it goes.
fn clients(view: &View) -> [Line<'static>; 7] {
    let text =
        |label, of: fn(&ClientView) -> String| row(view, label, |client| vec![of(client).into()]);
    [
        text("client", |client| client.name.clone()).bold(),
        text("it is", |client| client.from.to_owned()),
        text("asks", |client| client.url.clone()),
        text("balanced", |client| client.balanced.to_owned()),
        text("requests", |client| {
            client.window.latest().requests.to_string()
        }),
        row(view, "failures", |client| {
            let failures = client.window.latest().failures;
            let text = Span::from(failures.to_string());
            vec![if failures == 0 {
                text.green()
            } else {
                text.red()
            }]
        }),
        text("mean time", |client| {
            let millis = client.window.latest().mean_millis();
            millis.map_or_else(|| "–".to_owned(), |millis| format!("{millis:.2} ms"))
        }),
    ]
}

/// A row of the table, with a cell for each client.
fn row(
    view: &View,
    label: &str,
    cell: impl Fn(&ClientView) -> Vec<Span<'static>>,
) -> Line<'static> {
    let mut spans = vec![Span::from(format!("{label:<LABEL$}"))];
    for client in &view.clients {
        let cell = cell(client);
        let width: usize = cell.iter().map(Span::width).sum();
        spans.extend(cell);
        spans.push(" ".repeat(COLUMN.saturating_sub(width).max(1)).into());
    }
    Line::from(spans)
}

fn bar(client: &ClientView, pod: &str) -> Vec<Span<'static>> {
    let share = client.share(pod);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is 0 to 100"
    )]
    let full = (BAR * share / 100.0).round() as usize;
    vec![
        Span::styled("█".repeat(full), Style::new().fg(Color::Green)),
        format!(" {share:.0} %  {}", client.window.latest().answers_of(pod)).into(),
    ]
}

/// Failures and problems, if there are any.
fn problems(view: &View) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let failures = view.failures().into_iter();
    lines.extend(failures.map(|failure| Line::from(failure).red()));
    for problem in view.problems.iter().take(PROBLEMS) {
        lines.push(Line::from(format!("the agent: {problem}")).yellow());
    }
    if let Some(status) = view.agent_ended {
        lines.push(
            Line::from(format!(
                "the agent exited ({status}); its programs stay attached and work without it"
            ))
            .yellow(),
        );
    }
    let notes = view.info.notes.iter().cloned();
    lines.extend(notes.map(|note| Line::from(note).yellow()));
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}
