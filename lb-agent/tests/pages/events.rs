//! docs/events.md, from the calls of tracing's macros in the source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const HEAD: &str = r#"# Log events

`lb-agent run` logs events. An event has a level, a name in the field `event`, and further fields; these are
[stable](stability.md). The message is for people, and may change. With `--log-format json` an event is one line:

```json
{"timestamp":"2026-01-01T00:00:00.000000Z","level":"INFO","fields":{"message":"read the manifests","event":"source.listed","objects":4,"files":2},"target":"lb_agent::agent::source"}
```

This finds all repairs in the log of a pod:

```sh
kubectl logs POD | jq -c 'select(.fields.event == "tables.repaired")'
```

`lb-agent events` shows the last 1,000 events of level INFO and above. With `--follow` it goes on, with three more that are never
logged:

| event | fields | meaning |
| --- | --- | --- |
| `connection.refused` | `reason` (`no_backend`, `unknown_port`, `unknown_address`), `namespace`, `service`, `port`, `frontend`, `protocol`, `pid`, `command`, `network`, `network_namespace` | a call was refused with ECONNREFUSED. `pid` and `command` are the client's. `network` is the cookie of its network namespace (SO_NETNS_COOKIE), and `network_namespace` its name or inode number, as in `lb-agent connections`. That of a namespace that was made within the last second may be missing |
| `connection.failed` | the same without `reason`, and `backend` | a TCP socket was closed before its connection was established |
| `events.dropped` | `reason`, `count` | so many events are missing: more than 256 of a kind in a second on one CPU, or a reader that is too slow (`slow_reader`) |

A field without a value is absent. Lines without `event` come from libraries and, with `--bpf-log`, from the BPF programs.
The list in `--log` selects by level and by part of the agent: `lb_agent::source=debug`.

| event | level | fields | message |
| --- | --- | --- | --- |
"#;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[derive(Debug, PartialEq, Eq)]
struct Event {
    level: String,
    fields: Vec<String>,
    message: String,
}

/// The events in a file or folder, by name.
fn find(path: &Path, events: &mut BTreeMap<String, Event>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder can be read") {
            find(&entry.expect("it has a name").path(), events);
        }
        return;
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let text = fs::read_to_string(path).expect("a source file is UTF-8");
    let tokens = text.parse().expect("the source consists of tokens");
    for (level, call) in calls(tokens) {
        let (name, event) = event(&level, call)
            .unwrap_or_else(|wrong| panic!("{}: {level}! {wrong}", path.display()));
        if let Some(other) = events.get(&name) {
            assert_eq!(&event, other, "{name} is logged in two ways");
        }
        events.insert(name, event);
    }
}

/// The level and the arguments of each call of a logging macro, except in unit tests.
fn calls(tokens: TokenStream) -> Vec<(String, TokenStream)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let before = &tokens[..position];
        if matches!(before, [.., module, name] if module.to_string() == "mod" && name.to_string() == "tests")
        {
            continue;
        }
        if let [.., name, mark] = before
            && mark.to_string() == "!"
            && LEVELS.contains(&name.to_string().as_str())
        {
            let path: String = before
                .iter()
                .rev()
                .take(5)
                .map(ToString::to_string)
                .collect();
            assert!(
                path.ends_with("::tracing"),
                "{name}! is called without tracing::"
            );
            found.push((name.to_string(), group.stream()));
        }
        if group.delimiter() != Delimiter::None {
            found.extend(calls(group.stream()));
        }
    }
    found
}

/// Reads `event = "area.what_happened", field = value, %field, "message"`.
fn event(level: &str, call: TokenStream) -> Result<(String, Event), String> {
    let call: Vec<TokenTree> = call.into_iter().collect();
    let arguments: Vec<&[TokenTree]> = call
        .split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','))
        .filter(|argument| !argument.is_empty())
        .collect();
    let [first, fields @ .., last] = &arguments[..] else {
        return Err(format!("{arguments:?}: name the event and write a message"));
    };
    let name = match first {
        [event, is, name] if event.to_string() == "event" && is.to_string() == "=" => text(name)?,
        _ => {
            return Err(format!(
                "{first:?}: begin with `event = \"area.what_happened\"`"
            ));
        }
    };
    let is_word = |word: &str| {
        let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
        !word.is_empty() && word.chars().all(is_letter)
    };
    match name.split_once('.') {
        Some((area, what)) if is_word(area) && is_word(what) => {}
        _ => return Err(format!("{name}: write area.what_happened")),
    }
    let message = match last {
        [message] => text(message)?,
        _ => return Err(format!("{name}: end with a message")),
    };
    if message.contains(['{', '\\']) {
        return Err(format!("{name}: {message:?}: values belong into fields"));
    }
    let fields = fields.iter().map(|field| field_name(field)).collect();
    let level = level.to_owned();
    Ok((
        name,
        Event {
            level,
            fields,
            message,
        },
    ))
}

/// The name in `name = value`, `name` or `%name`.
fn field_name(field: &[TokenTree]) -> String {
    let words = field.iter().map(ToString::to_string);
    words
        .skip_while(|word| word == "%" || word == "?")
        .take_while(|word| word != "=")
        .collect()
}

/// A string literal, which may be continued on the next line.
fn text(literal: &TokenTree) -> Result<String, String> {
    let literal = literal.to_string();
    let text = literal
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = text.ok_or_else(|| format!("{literal} is no plain text"))?;
    Ok(text.split("\\\n").map(str::trim_start).collect())
}

#[test]
fn the_events_page_is_current() {
    let mut events = BTreeMap::new();
    find(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut events,
    );
    assert!(events.len() > 50, "{events:#?}");
    let mut page = HEAD.to_owned();
    for (name, event) in events {
        let fields = event.fields.iter().map(|field| format!("`{field}`"));
        let fields: Vec<String> = fields.collect();
        writeln!(
            page,
            "| `{name}` | {} | {} | {} |",
            event.level,
            fields.join(", "),
            event.message
        )
        .expect("a string takes it");
    }
    crate::check("events.md", &page);
}
