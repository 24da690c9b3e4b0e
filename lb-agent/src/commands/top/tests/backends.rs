//! The table of a Service's backends.

use ratatui::crossterm::event::KeyCode;

use super::{Test, backend, service};

#[test]
fn a_share_is_of_the_new_connections_of_the_port() {
    let mut test = Test::new(100, 20);
    test.take(0, vec![service("web", 0)], vec![]);
    test.press_code(KeyCode::Enter);
    let web = || {
        let mut web = service("web", 60);
        web.problems = vec!["a problem".to_owned()];
        vec![web]
    };
    let backends = |counts: [u64; 3]| {
        let [a, b, c] = counts;
        vec![
            backend("http", "10.0.0.1:80", a),
            backend("http", "10.0.0.2:80", b),
            backend("metrics", "10.0.0.1:90", c),
        ]
    };
    test.take(0, web(), backends([1_000, 0, 0]));
    assert_eq!(test.column("BACKEND").len(), 3);
    test.take(2, web(), backends([1_010, 30, 20]));
    let lines = test.lines();
    let row = |address: &str| {
        let row = lines.iter().find(|line| line.contains(address));
        let row = row.unwrap_or_else(|| panic!("{address} in {lines:#?}"));
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        row("10.0.0.1:80"),
        expected("http/TCP 10.0.0.1:80 yes ██ 25 % 5.0 0 1010")
    );
    assert_eq!(
        row("10.0.0.2:80"),
        expected("http/TCP 10.0.0.2:80 yes ██████ 75 % 15.0 0 30")
    );
    assert_eq!(
        row("10.0.0.1:90"),
        expected("metrics/TCP 10.0.0.1:90 yes ████████ 100 % 10.0 0 20")
    );
    assert!(lines[1].contains("shop/web   ClusterIP"), "{lines:#?}");
    assert!(lines.contains(&"a problem".to_owned()));

    // No connection, so no share.
    test.take(4, web(), backends([1_010, 30, 20]));
    assert_eq!(test.column("SHARE"), [""; 3]);
    assert_eq!(test.column("RATE/S"), ["0.0"; 3]);
    // Sorted by CONNECTIONS, filtered by an address.
    test.press("7");
    assert_eq!(test.column("CONNECTIONS"), ["1010", "30", "20"]);
    test.press("/0.2");
    assert_eq!(test.column("BACKEND"), ["10.0.0.2:80"]);
}

#[test]
fn a_service_that_goes_leaves_its_name() {
    let mut test = Test::new(100, 20);
    test.take(0, vec![service("web", 0)], vec![]);
    test.press_code(KeyCode::Enter);
    test.take(1, vec![], vec![]);
    let lines = test.lines();
    assert!(lines[1].starts_with("shop/web") && lines[1].contains("any more"));
    // It is back.
    test.take(
        2,
        vec![service("web", 7)],
        vec![backend("http", "10.0.0.1:80", 7)],
    );
    assert_eq!(test.column("BACKEND"), ["10.0.0.1:80"]);
    test.press_code(KeyCode::Esc);
    assert_eq!(test.column("NAME"), ["web"]);
}
