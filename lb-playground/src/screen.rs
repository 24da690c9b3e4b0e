//! The live view: full-screen on a terminal, otherwise one line each second.

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

use crate::view::{View, nanoseconds, percent};

/// Length of the bar of a pod that gets all requests.
const BAR: f64 = 44.0;

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
                    println!("{}", view.line());
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
    let mut lines = header(view);
    lines.push("answers of each pod: share over the last 2 s, number since the start".into());
    lines.extend(view.info.pods.iter().map(|pod| bar(view, pod)));
    lines.push(Line::default());
    lines.extend(problems(view));
    lines.push("try in another terminal:".into());
    lines.extend(
        view.hints()
            .into_iter()
            .map(|hint| Line::from(format!("  {hint}")).cyan()),
    );
    lines.push(Line::default());
    lines.push(Line::from(format!("the agent's log: {}", view.info.log_file.display())).dim());
    let paragraph = Paragraph::new(Text::from(lines)).wrap(Wrap { trim: false });
    frame.render_widget(paragraph, frame.area());
}

fn header(view: &View) -> Vec<Line<'static>> {
    let all = view.window.latest();
    let time = all
        .mean_millis()
        .map_or_else(|| "–".to_owned(), |millis| format!("{millis:.2} ms"));
    let failures = format!("failures {}", all.failures);
    vec![
        Line::from(vec![
            "socklb playground".bold(),
            format!("   {} s   q: end and clean up", view.elapsed.as_secs()).into(),
        ]),
        format!(
            "Service web: the pod `client` sends about 200 requests a second to http://{}/",
            view.info.frontend
        )
        .into(),
        Line::default(),
        Line::from(vec![
            format!("requests {}   ", all.requests).into(),
            if all.failures == 0 {
                failures.green()
            } else {
                failures.red()
            },
            format!("   mean time of a request {time}   connect hook ").into(),
            nanoseconds(view.hook.recent).bold(),
        ]),
        Line::default(),
    ]
}

fn bar(view: &View, pod: &str) -> Line<'static> {
    let (all, recent) = (view.window.latest(), view.window.recent());
    let share = percent(recent.answers_of(pod), recent.answered());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is 0 to 100"
    )]
    let full = (BAR * share / 100.0).round() as usize;
    Line::from(vec![
        format!("  {pod:<7} ").into(),
        Span::styled("█".repeat(full), Style::new().fg(Color::Green)),
        format!(" {share:.0} %   {}", all.answers_of(pod)).into(),
    ])
}

/// Failures and problems, if there are any.
fn problems(view: &View) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    if let Some(failure) = view.window.latest().last_failure {
        let now = if view.window.recent().failures > 0 {
            ""
        } else {
            " (not in the last 2 s)"
        };
        lines.push(Line::from(format!("last failure{now}: {failure}")).red());
    }
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
    lines.extend(view.info.note.clone().map(|note| Line::from(note).yellow()));
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}
