//! The keys, and what each does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Mode};
use super::list::List;
use super::row::Row;

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    /// Ask the agent about another subject.
    Ask,
    Quit,
}

/// The keys with their explanations.
pub(super) const HELP: &[(&str, &str)] = &[
    ("↑ ↓ PgUp PgDn Home End", "move; also k j g G"),
    ("Enter", "show the backends of the chosen Service"),
    ("Esc", "go back; clear the filter"),
    (
        "s",
        "sort by the next column; the arrow shows the order: ↓ is the largest first",
    ),
    (
        "1 to 9",
        "sort by the first to the ninth column; again for the other order",
    ),
    ("r", "sort in the other order"),
    ("/", "filter by a part of a name, or by NAMESPACE/NAME"),
    ("p Space", "pause, and go on"),
    ("?", "this help"),
    ("q Ctrl-C", "quit"),
];

/// What the columns mean.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("RATE/S", "new connections per second since the last answer"),
    (
        "ERRORS/S",
        "refused calls and failed TCP connections per second since the last answer",
    ),
    (
        "RTT-P50 RTT-P99",
        "round-trip times of TCP connections closed since; --latency measures them",
    ),
    ("ACTIVE", "sockets that are connected now"),
    (
        "CONNECTIONS",
        "connections to the backends that there are, since each was added",
    ),
    (
        "BACKENDS",
        "backends that a frontend offers / all; a port or family counts them again",
    ),
    ("PROBLEMS", "of the Service's objects"),
    ("SHARE", "of RATE/S of the port and family"),
    (
        "USED",
        "whether ClusterIPs (internal), other frontends (external) or both offer the backend",
    ),
];

impl App {
    pub fn press(&mut self, key: KeyEvent) -> Step {
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (self.mode, key.code) {
            (_, KeyCode::Char('c')) if has_control => Step::Quit,
            (_, KeyCode::Char('u')) if has_control => self.set_filter(|_| String::new()),
            (_, KeyCode::Char(_)) if has_control => Step::Stay,
            (Mode::Browse, code) => self.browse(code),
            (Mode::Filter, code) => self.write_filter(code),
            (Mode::Help, _) => {
                self.mode = Mode::Browse;
                Step::Stay
            }
        }
    }

    fn browse(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Enter if self.open.is_none() => {
                return if self.open_chosen() {
                    Step::Ask
                } else {
                    Step::Stay
                };
            }
            KeyCode::Esc | KeyCode::Backspace => return self.go_back(),
            _ => match &mut self.open {
                None => arrange(&mut self.services, code),
                Some(open) => arrange(&mut open.backends, code),
            },
        }
        Step::Stay
    }

    fn write_filter(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.mode = Mode::Browse;
                return self.set_filter(|_| String::new());
            }
            KeyCode::Char(character) => {
                return self.set_filter(|mut filter| {
                    filter.extend(character.to_lowercase());
                    filter
                });
            }
            KeyCode::Backspace => {
                return self.set_filter(|mut filter| {
                    filter.pop();
                    filter
                });
            }
            _ => return self.browse(code),
        }
        Step::Stay
    }

    /// Clears the filter, or else closes the Service.
    fn go_back(&mut self) -> Step {
        if !self.filter().is_empty() {
            return self.set_filter(|_| String::new());
        }
        match self.close() {
            true => Step::Ask,
            false => Step::Stay,
        }
    }

    /// The filter of the rows on the screen.
    pub fn filter(&self) -> &str {
        match &self.open {
            None => self.services.filter(),
            Some(open) => open.backends.filter(),
        }
    }

    fn set_filter(&mut self, change: impl FnOnce(String) -> String) -> Step {
        let filter = change(self.filter().to_owned());
        match &mut self.open {
            None => self.services.set_filter(filter),
            Some(open) => open.backends.set_filter(filter),
        }
        Step::Stay
    }
}

/// Moves or sorts.
fn arrange<R: Row>(list: &mut List<R>, code: KeyCode) {
    match code {
        KeyCode::Up | KeyCode::Char('k') => list.move_by(-1),
        KeyCode::Down | KeyCode::Char('j') => list.move_by(1),
        KeyCode::PageUp => list.move_by_pages(-1),
        KeyCode::PageDown => list.move_by_pages(1),
        KeyCode::Home | KeyCode::Char('g') => list.move_to_top(),
        KeyCode::End | KeyCode::Char('G') => list.move_to_end(),
        KeyCode::Char('s') => list.sort_by_next(),
        KeyCode::Char('r') => list.reverse(),
        KeyCode::Char(digit @ '1'..='9') => {
            list.sort_by_nth(digit.to_digit(10).map_or(0, |nth| nth as usize - 1));
        }
        _ => {}
    }
}
