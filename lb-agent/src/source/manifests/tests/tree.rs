//! Reading of one document, compared with kubectl 1.37: `kubectl annotate --local -f FILE -o json` shows kubectl's result.

use serde_json::Value;

use super::super::document;
use super::super::watch::STACK;

/// The only document of a text, and its repeated keys.
fn read(text: &str) -> (Value, Vec<String>) {
    let mut documents = document::all(text);
    let (_, tree) = documents.pop().expect("a document");
    assert!(documents.is_empty(), "{text}");
    let tree = tree.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let repeated = tree.repeated.iter().map(ToString::to_string).collect();
    (tree.value, repeated)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn scalars_are_resolved_as_kubectl_does() {
    let scalars = [
        ("080.5", "80.5", Some("80.5")),
        ("-080", "-80", Some("-80")),
        ("+080", "80", Some("80")),
        ("08", "8", Some("8")),
        ("80", "80", Some("80")),
        ("0120", "80", Some("80")),
        ("080", "80", Some("80")),
        ("0o120", "80", Some("80")),
        ("0O120", "80", Some("80")),
        ("0x50", "80", Some("80")),
        ("0X50", "80", Some("80")),
        ("0b1010000", "80", Some("80")),
        ("0B101", "5", Some("5")),
        ("-0b1", "-1", Some("-1")),
        ("+80", "80", Some("80")),
        ("8_0", "80", Some("80")),
        ("_80", r#""_80""#, Some("_80")),
        ("80.0", "80", Some("80")),
        ("8e1", "80", Some("80")),
        ("80.", "80", Some("80")),
        (".5", "0.5", Some("0.5")),
        ("+.5", "0.5", Some("0.5")),
        ("8.5", "8.5", Some("8.5")),
        ("1e3", "1000", Some("1000")),
        ("1E+3", "1000", Some("1000")),
        ("0.5e-3", "0.0005", Some("0.0005")),
        ("0x1p4", r#""0x1p4""#, Some("0x1p4")),
        ("-0", "0", Some("0")),
        ("-0.0", "0", Some("-0")),
        ("00", "0", Some("0")),
        ("0", "0", Some("0")),
        ("y", "true", Some("true")),
        ("Y", "true", Some("true")),
        ("yes", "true", Some("true")),
        ("Yes", "true", Some("true")),
        ("YES", "true", Some("true")),
        ("on", "true", Some("true")),
        ("On", "true", Some("true")),
        ("ON", "true", Some("true")),
        ("n", "false", Some("false")),
        ("N", "false", Some("false")),
        ("no", "false", Some("false")),
        ("off", "false", Some("false")),
        ("Off", "false", Some("false")),
        ("true", "true", Some("true")),
        ("True", "true", Some("true")),
        ("TRUE", "true", Some("true")),
        ("~", "null", None),
        ("null", "null", None),
        ("Null", "null", None),
        ("NULL", "null", None),
        ("nULL", r#""nULL""#, Some("nULL")),
        ("2024-01-01", r#""2024-01-01""#, Some("2024-01-01")),
        (
            "2024-01-01T00:00:00Z",
            r#""2024-01-01T00:00:00Z""#,
            Some("2024-01-01T00:00:00Z"),
        ),
        ("1:20", r#""1:20""#, Some("1:20")),
        ("12:30:45", r#""12:30:45""#, Some("12:30:45")),
        ("0o8", r#""0o8""#, Some("0o8")),
        ("09", "9", Some("9")),
        ("0b2", r#""0b2""#, Some("0b2")),
        ("12345678.9", "12345678.9", Some("1.2345679e+07")),
        ("=", r#""=""#, Some("=")),
        ("!!str 80", r#""80""#, Some("80")),
        (r#"!!int "80""#, "80", Some("80")),
        ("!!float 80", "80", Some("80")),
        ("!!bool yes", "true", Some("true")),
        ("!!binary YQ==", r#""a""#, Some("a")),
        ("! 80", r#""80""#, Some("80")),
        (r#""80""#, r#""80""#, Some("80")),
        ("'80'", r#""80""#, Some("80")),
        ("0x", r#""0x""#, Some("0x")),
        ("0_1", "1", Some("1")),
        ("-0120", "-80", Some("-80")),
        ("+0120", "80", Some("80")),
        ("-0x10", "-16", Some("-16")),
        ("0.1", "0.1", Some("0.1")),
        ("1.0e+2", "100", Some("100")),
        ("infinity", r#""infinity""#, Some("infinity")),
        ("inf", r#""inf""#, Some("inf")),
        ("nan", r#""nan""#, Some("nan")),
        ("1,000", r#""1,000""#, Some("1,000")),
        ("0b_1", "1", Some("1")),
        ("0x_5", "5", Some("5")),
        ("0_120", "80", Some("80")),
        ("0o_17", "15", Some("15")),
        ("-.5", "-0.5", Some("-0.5")),
        ("1.", "1", Some("1")),
        ("1.e3", "1000", Some("1000")),
        (".", r#"".""#, Some(".")),
        ("-.", r#""-.""#, Some("-.")),
        ("+", r#""+""#, Some("+")),
        ("1e", r#""1e""#, Some("1e")),
        ("1e+", r#""1e+""#, Some("1e+")),
        ("010.5", "10.5", Some("10.5")),
        ("08.5", "8.5", Some("8.5")),
        ("0e0", "0", Some("0")),
        ("９", r#""９""#, Some("９")),
        ("5e-1", "0.5", Some("0.5")),
        ("123456789.123", "123456789.123", Some("1.2345679e+08")),
    ];
    for (scalar, value, key) in scalars {
        assert_eq!(read(&format!("- {scalar}\n")).0[0], json(value), "{scalar}");
        if let Some(key) = key {
            let map = read(&format!("? {scalar}\n: 1\n")).0;
            assert_eq!(map, serde_json::json!({key: 1}), "{scalar}");
        }
    }
}

/// kubectl reads these as strings, and the rest of the list as numbers. docs/decisions/0002-manifests.md names them.
#[test]
fn scalars_that_the_yaml_library_resolves_differently_follow_kubectl() {
    let scalars = [
        ("yEs", "true"),
        ("tRUE", "true"),
        ("!foo 80", "80"),
        ("1e400", r#"".inf""#),
        (".inf", r#"".inf""#),
        ("8__0", r#""8__0""#),
        ("80_", r#""80_""#),
        ("1_000.5", r#""1_000.5""#),
    ];
    for (scalar, value) in scalars {
        assert_eq!(read(&format!("- {scalar}\n")).0[0], json(value), "{scalar}");
    }
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    let text = "a: {b.c/d: 1, e: 2, b.c/d: 3}\nl:\n- {x: 1, x: [{v: 1, v: 2}], x: }\n'1': a\n0x1: b\nz: 1\nz: 1\nz: 1\n";
    let (value, repeated) = read(text);
    let expected = r#"{"a": {"b.c/d": 3, "e": 2}, "l": [{"x": null}], "1": "b", "z": 1}"#;
    assert_eq!(value, json(expected));
    assert_eq!(repeated, ["1", "a.b.c/d", "l[0].x", "l[0].x[0].v", "z"]);

    let (value, repeated) = read(r#"{"a": {"b": 1, "b": 2.0}}"#);
    assert_eq!(value, json(r#"{"a": {"b": 2}}"#));
    assert_eq!(repeated, ["a.b"]);
}

/// In YAML 1.1 the mapping's own keys take precedence. kubectl applies the entries in order.
#[test]
fn a_merge_key_overrides_earlier_keys() {
    let base = "b: &b {p: 2, q: 3}\n";
    let maps = [
        ("{p: 1, <<: *b}", r#"{"p": 2, "q": 3}"#),
        ("{<<: *b, p: 1}", r#"{"p": 1, "q": 3}"#),
        ("{<<: [*b, {p: 5, r: 1}]}", r#"{"p": 2, "q": 3, "r": 1}"#),
        ("{<<: *b, <<: {p: 9}}", r#"{"p": 9, "q": 3}"#),
        (r#"{"<<": 3}"#, r#"{"<<": 3}"#),
    ];
    for (map, expected) in maps {
        let (value, repeated) = read(&format!("{base}m: {map}\n"));
        assert_eq!(value["m"], json(expected), "{map}");
        assert_eq!(repeated, [""; 0], "{map}");
    }
}

/// The schema in a CustomResourceDefinition may be deep, but no document may exhaust the stack.
#[test]
fn the_depth_of_a_document_is_limited() {
    let read_all = || {
        for (depth, is_read) in [(120, true), (10_000, false)] {
            for (open, close) in [("[", "]"), ("{a: ", "}")] {
                let text = format!("{}{}", open.repeat(depth), close.repeat(depth));
                let documents = document::all(&text);
                let (_, tree) = documents.first().expect("a document");
                assert_eq!(tree.is_ok(), is_read, "{depth} of {open}: {tree:?}");
            }
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(read_all);
    thread.expect("a thread").join().expect("no failure");
}

#[test]
fn keys_that_are_not_strings_are_errors() {
    for text in ["? [a]\n: 1\n", "? {a: b}\n: 1\n", "~: 1\n"] {
        let documents = document::all(text);
        assert!(matches!(documents[..], [(1, Err(_))]), "{documents:?}");
    }
}
