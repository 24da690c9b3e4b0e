//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::ask::Subject;
use super::super::keys::Step;
use super::{Test, service, three};
use crate::serve::Selection;

#[test]
fn keys_sort() {
    let mut test = three();
    // A digit counts the columns that are on the screen: NAMESPACE, NAME, RATE/S, ERRORS/S, ACTIVE, CONNECTIONS, ...
    test.press("6");
    assert_eq!(test.column("NAME"), ["a", "b", "c"]);
    test.press("6");
    assert_eq!(test.column("NAME"), ["c", "b", "a"]);
    test.press("2");
    assert_eq!(test.column("NAME"), ["a", "b", "c"], "texts ascend");
    test.press("r");
    assert_eq!(test.column("NAME"), ["c", "b", "a"]);
    test.press("s");
    assert_eq!(test.column("NAME"), ["b", "c", "a"], "RATE/S follows NAME");
    test.press("9");
    assert_eq!(
        test.column("NAME"),
        ["b", "c", "a"],
        "there is no ninth column"
    );
    // From the last column on to the first.
    test.press("8s");
    let lines = test.lines();
    assert!(
        lines.iter().any(|line| line.contains("NAMESPACE↑")),
        "{lines:#?}"
    );
}

#[test]
fn a_filter_leaves_names_that_contain_it() {
    let mut test = Test::new(100, 12);
    let services = ["web", "web-api", "db"].map(|name| service(name, 0));
    test.take(0, services.to_vec(), vec![]);
    test.press("/WE");
    assert_eq!(
        test.column("NAME"),
        ["web", "web-api"],
        "while it is written"
    );
    test.press("b-q");
    assert_eq!(test.column("NAME"), [""; 0], "q is a letter here");
    test.press_code(KeyCode::Backspace);
    test.press_code(KeyCode::Enter);
    assert_eq!(test.column("NAME"), ["web-api"]);
    test.take(2, services.to_vec(), vec![]);
    assert_eq!(
        test.column("NAME"),
        ["web-api"],
        "it stays with new answers"
    );
    assert!(test.lines()[2].contains("1 of 3"));
    assert_eq!(test.press_code(KeyCode::Esc), Step::Stay);
    assert_eq!(test.column("NAME").len(), 3);
    for (filter, number) in [("shop/web", 2), ("hop/d", 1), ("other/web", 0), ("shop", 3)] {
        test.press("/");
        test.press(filter);
        assert_eq!(test.column("NAME").len(), number, "{filter}");
        test.press_code(KeyCode::Esc);
    }
}

#[test]
fn the_cursor_stays_with_its_service() {
    let mut test = three();
    test.press("j");
    assert_eq!(
        test.app.services.chosen().map(|row| &*row.service.name),
        Some("c")
    );
    // Now `c` is the fastest.
    let services = vec![service("a", 100), service("b", 20), service("c", 500)];
    test.take(4, services, vec![]);
    assert_eq!(test.column("NAME"), ["c", "a", "b"]);
    assert_eq!(
        test.app.services.chosen().map(|row| &*row.service.name),
        Some("c")
    );
    // At the top it stays at the top.
    test.press("g");
    test.take(
        6,
        vec![service("a", 900), service("b", 20), service("c", 500)],
        vec![],
    );
    assert_eq!(
        test.app.services.chosen().map(|row| &*row.service.name),
        Some("a")
    );
    // A Service that is gone leaves the cursor where it was.
    test.press_code(KeyCode::End);
    test.take(8, vec![service("a", 900)], vec![]);
    assert_eq!(
        test.app.services.chosen().map(|row| &*row.service.name),
        Some("a")
    );
    test.take(10, vec![], vec![]);
    assert_eq!(
        test.press_code(KeyCode::Enter),
        Step::Stay,
        "there is no Service"
    );
}

#[test]
fn only_rows_that_fit_are_drawn() {
    let mut test = Test::new(80, 15);
    let services: Vec<_> = (0..1_000)
        .map(|number| service(&format!("s-{number:04}"), 0))
        .collect();
    test.take(0, services.clone(), vec![]);
    let first = test.column("NAME");
    assert_eq!((first.len(), &*first[0]), (10, "s-0000"));
    test.press_code(KeyCode::PageDown);
    assert_eq!(
        test.column("NAME")[9],
        "s-0010",
        "the cursor is on the last row"
    );
    test.press_code(KeyCode::PageDown);
    test.press_code(KeyCode::Up);
    assert_eq!(test.column("NAME")[0], "s-0011");
    test.press("G");
    assert_eq!(test.column("NAME")[9], "s-0999");
    test.take(2, services[..5].to_vec(), vec![]);
    assert_eq!(test.column("NAME")[0], "s-0000");
    test.press_code(KeyCode::Home);
    assert_eq!(
        test.app.services.chosen().map(|row| &*row.service.name),
        Some("s-0000")
    );
}

#[test]
fn a_pause_ends_with_the_key_or_with_another_subject() {
    let mut test = three();
    test.press("p");
    assert!(test.app.is_paused && test.lines()[0].contains("paused"));
    test.press(" ");
    assert!(!test.app.is_paused);
    test.press("p");
    assert_eq!(test.press_code(KeyCode::Enter), Step::Ask);
    assert!(!test.app.is_paused);
    let name = |name: &str| Subject::Service {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(test.app.subject(), name("b"));
    assert_eq!(test.press_code(KeyCode::Esc), Step::Ask);
    assert_eq!(test.app.subject(), Subject::Services(Selection::default()));
    assert_eq!(
        test.press_code(KeyCode::Esc),
        Step::Stay,
        "there is nothing to go back to"
    );
}

#[test]
fn keys_quit_and_help() {
    let mut test = three();
    assert_eq!(test.press("?"), Step::Stay);
    let help = test.lines().join("\n");
    assert!(
        help.contains("sort in the other order") && !help.contains("NAMESPACE "),
        "{help}"
    );
    assert_eq!(test.press("q"), Step::Stay, "a key closes the help");
    assert_eq!(test.column("NAME"), ["b", "c", "a"]);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for mode in ["", "/", "?"] {
        test.press(mode);
        assert_eq!(test.app.press(interrupt), Step::Quit);
        test.press_code(KeyCode::Esc);
    }
    assert_eq!(test.press("q"), Step::Quit);
}
