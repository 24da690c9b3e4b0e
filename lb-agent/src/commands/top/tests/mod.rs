//! What is on the screen after answers and keys.

mod backends;
mod keys;
mod services;
mod terminal;

use std::ops::Range;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::App;
use super::ask::Answer;
use super::draw::draw;
use super::keys::Step;
use super::look::Look;
use crate::serve::{BackendStatus, Selection, ServiceStatus, Status};

/// A screen of a certain size.
struct Test {
    app: App,
    terminal: Terminal<TestBackend>,
    began: Instant,
}

impl Test {
    fn new(width: u16, height: u16) -> Self {
        Self {
            app: App::new(Selection::default()),
            terminal: terminal(width, height),
            began: Instant::now(),
        }
    }

    /// Takes an answer that arrives so long after the start.
    fn take(&mut self, seconds: u64, services: Vec<ServiceStatus>, backends: Vec<BackendStatus>) {
        self.app.take(Ok(Answer {
            at: self.began + Duration::from_secs(seconds),
            status: status(),
            services,
            backends,
        }));
    }

    fn press(&mut self, keys: &str) -> Step {
        let steps = keys.chars().map(|key| self.press_code(KeyCode::Char(key)));
        steps.last().unwrap_or(Step::Stay)
    }

    fn press_code(&mut self, code: KeyCode) -> Step {
        self.lines();
        self.app.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// The lines of the screen, without the space at their ends.
    fn lines(&mut self) -> Vec<String> {
        self.draw(Look::default());
        lines(&self.terminal)
    }

    fn draw(&mut self, look: Look) {
        let app = &mut self.app;
        self.terminal
            .draw(|frame| draw(frame, app, look))
            .expect("drawing in memory does not fail");
    }

    /// The cell of each row of the table that is below the head with this name; an arrow does not matter.
    fn column(&mut self, head: &str) -> Vec<String> {
        let lines = self.lines();
        let of_head = |line: &String| {
            let mut words = words(line).into_iter();
            words.find(|(_, word)| word.trim_end_matches(['↓', '↑']) == head)
        };
        let mut found = lines.iter().map(of_head).enumerate();
        let found = found.find_map(|(line, head)| Some((line, head?)));
        let (heads, (place, _)) = found.unwrap_or_else(|| panic!("{head} in {lines:#?}"));
        let rows = &lines[heads + 1..lines.len() - 1];
        let rows = rows.iter().filter(|row| !row.is_empty());
        rows.map(|row| {
            let mut words = words(row).into_iter();
            let cell = words.find(|(of, _)| of.start < place.end && place.start < of.end);
            cell.map(|(_, word)| word).unwrap_or_default()
        })
        .collect()
    }
}

/// The words of a line, with the columns of the screen that each takes.
fn words(line: &str) -> Vec<(Range<usize>, String)> {
    let mut words: Vec<(Range<usize>, String)> = Vec::new();
    for (at, character) in line.chars().enumerate() {
        match words.last_mut() {
            _ if character == ' ' => {}
            Some((of, word)) if of.end == at => {
                of.end += 1;
                word.push(character);
            }
            _ => words.push((at..at + 1, character.to_string())),
        }
    }
    words
}

/// Three Services with 0, 5 and 2.5 new connections per second.
fn three() -> Test {
    let mut test = Test::new(100, 12);
    test.take(
        0,
        vec![service("a", 100), service("b", 10), service("c", 0)],
        vec![],
    );
    test.take(
        2,
        vec![service("a", 100), service("b", 20), service("c", 5)],
        vec![],
    );
    test
}

fn terminal(width: u16, height: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(width, height)).expect("a screen in memory")
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content.chunks(width);
    rows.map(|row| {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    })
    .collect()
}

fn status() -> Status {
    Status {
        node_name: "node-a".to_owned(),
        version: "0.1.0".to_owned(),
        ready: true,
        ..Status::default()
    }
}

fn service(name: &str, connections: u64) -> ServiceStatus {
    ServiceStatus {
        namespace: "shop".into(),
        name: name.into(),
        service_type: "ClusterIP".into(),
        internal_traffic_policy: "Cluster".into(),
        connections,
        connections_since_start: connections,
        ..ServiceStatus::default()
    }
}

fn backend(port: &str, address: &str, connections: u64) -> BackendStatus {
    BackendStatus {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        port: port.to_owned(),
        protocol: "TCP".to_owned(),
        family: "IPv4".to_owned(),
        address: address.to_owned(),
        internal: true,
        external: true,
        serving: true,
        connections,
        ..BackendStatus::default()
    }
}
