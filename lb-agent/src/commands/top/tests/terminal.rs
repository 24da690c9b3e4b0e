//! Terminals of all sizes.

use ratatui::crossterm::event::KeyCode;

use super::{Test, backend, service, terminal};

#[test]
fn every_size_is_drawn() {
    for size in [
        (0, 0),
        (1, 1),
        (3, 2),
        (20, 3),
        (40, 5),
        (80, 24),
        (300, 100),
    ] {
        let mut test = Test::new(size.0, size.1);
        test.take(0, vec![service("a", 0), service("b", 0)], vec![]);
        for keys in ["", "jk", "G", "s", "/b", "?"] {
            test.press(keys);
            assert_eq!(
                test.lines().len(),
                usize::from(size.1) * usize::from(size.0.min(1))
            );
            test.press_code(KeyCode::Esc);
        }
        test.press_code(KeyCode::PageDown);
        test.press_code(KeyCode::Enter);
        test.take(
            1,
            vec![service("b", 0)],
            vec![backend("http", "[fd00::1]:80", 0)],
        );
        test.lines();
    }
}

#[test]
fn wide_screens_have_more_columns() {
    let mut test = Test::new(80, 10);
    test.take(0, vec![service("a-service", 3)], vec![]);
    for (width, heads) in [
        (
            80,
            "NAMESPACE NAME RATE/S↓ ERRORS/S ACTIVE BACKENDS PROBLEMS",
        ),
        (
            100,
            "NAMESPACE NAME RATE/S↓ ERRORS/S ACTIVE CONNECTIONS BACKENDS PROBLEMS",
        ),
        (
            120,
            "NAMESPACE NAME RATE/S↓ ERRORS/S ACTIVE CONNECTIONS RTT-P50 RTT-P99 BACKENDS PROBLEMS",
        ),
        (
            140,
            "NAMESPACE NAME TYPE RATE/S↓ ERRORS/S ACTIVE CONNECTIONS RTT-P50 RTT-P99 BACKENDS PROBLEMS",
        ),
    ] {
        test.terminal = terminal(width, 10);
        let lines = test.lines();
        let found = lines[3].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(found, heads);
        assert_eq!(test.column("NAME"), ["a-service"]);
    }
}
