//! What is shown of Services.

use anyhow::anyhow;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};

use super::{Look, Test, service, three};
use crate::serve::{BackendNumbers, RoundTripStatus};

#[test]
fn services_are_sorted_by_their_rates() {
    let mut test = three();
    assert_eq!(test.column("NAME"), ["b", "c", "a"]);
    assert_eq!(test.column("RATE/S"), ["5.0", "2.5", "0.0"]);
    assert_eq!(test.column("CONNECTIONS"), ["20", "5", "100"]);
    let lines = test.lines();
    assert!(lines[0].contains("node-a"), "{lines:#?}");
    assert!(lines[1].contains("3 Services") && lines[1].contains("7.5 connections/s"));
}

#[test]
fn rates_need_two_answers() {
    let mut test = Test::new(100, 12);
    test.take(0, vec![service("a", 100)], vec![]);
    let line = |test: &mut Test| test.lines()[1].clone();
    assert!(!line(&mut test).contains("connections/s"));
    assert_eq!(test.column("RATE/S"), [""]);
    test.take(1, vec![service("a", 101), service("new", 50)], vec![]);
    assert!(line(&mut test).contains("1.0 connections/s"));
    assert_eq!(
        test.column("NAME"),
        ["a", "new"],
        "an unknown rate is the smallest"
    );
}

#[test]
fn trouble_is_shown_until_the_next_answer() {
    let mut test = three();
    test.app.take(Err(anyhow!("the agent is away")));
    assert!(test.lines()[2].contains("the agent is away"));
    assert_eq!(
        test.column("NAME"),
        ["b", "c", "a"],
        "the last answer stays"
    );
    // The rate is over the time since the last answer.
    test.take(12, vec![service("a", 200)], vec![]);
    assert_eq!(test.column("RATE/S"), ["10.0"]);
    assert_eq!(test.lines()[2], "");
}

#[test]
fn a_service_needs_attention_without_backends_or_with_problems() {
    let mut test = Test::new(100, 10);
    let mut ok = service("a", 0);
    ok.backends = BackendNumbers {
        used: 1,
        serving: 1,
        total: 1,
    };
    let mut bad = service("b", 0);
    bad.problems = vec!["no port".to_owned()];
    test.take(0, vec![ok, bad], vec![]);
    let attention = |test: &mut Test, has_color| {
        test.draw(Look { has_color });
        let buffer = test.terminal.backend().buffer();
        let row = |y| (0..100).map(move |x| &buffer[(x, y)]);
        [4, 5].map(|y| {
            let marked = row(y).filter(|cell| match has_color {
                true => cell.fg == Color::Yellow,
                false => cell.modifier.contains(Modifier::BOLD),
            });
            let text: String = marked.map(|cell| cell.symbol()).collect();
            text
        })
    };
    assert_eq!(attention(&mut test, true), ["", "0/01"]);
    assert_eq!(attention(&mut test, false), ["", "0/01"]);
    let buffer = test.terminal.backend().buffer();
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset));
}

#[test]
fn errors_and_round_trips_are_those_since_the_last_answer() {
    let mut test = Test::new(120, 12);
    let mut web = service("web", 100);
    (web.refused, web.failed) = (7, 8);
    let mut times = RoundTripStatus {
        sum_micros: 0,
        buckets: vec![0, 1_000, 0, 0],
    };
    web.round_trips = Some(times.clone());
    test.take(0, vec![web.clone()], vec![]);
    assert_eq!(test.column("ERRORS/S"), [""]);
    (web.refused, web.failed) = (10, 9);
    // 64 to 128 µs.
    times.buckets[3] = 10;
    web.round_trips = Some(times);
    test.take(2, vec![web.clone()], vec![]);
    assert_eq!(test.column("ERRORS/S"), ["2.0"]);
    assert_eq!(test.column("RTT-P50"), ["0.10ms"]);
    assert_eq!(test.column("RTT-P99"), ["0.13ms"]);
    test.press_code(KeyCode::Enter);
    (web.refused, web.failed) = (10, 19);
    test.take(3, vec![web], vec![]);
    let numbers = test.lines()[3].clone();
    assert!(
        numbers.contains("0.0 refused/s   10.0 failed/s"),
        "{numbers}"
    );
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut test = Test::new(100, 12);
    let mut web = service("web", 0);
    web.problems = vec!["a\x1b[2Jb\u{9b}c\nd".to_owned()];
    test.take(0, vec![web.clone()], vec![]);
    test.press_code(KeyCode::Enter);
    test.take(1, vec![web], vec![]);
    let screen = test.lines().join("");
    assert!(screen.contains("[2Jbc"), "{screen}");
    assert!(!screen.contains(char::is_control), "{screen:?}");
}
