//! Renders the Helm chart, which uses few of Helm's functions; an unknown one fails the test.
//!
//! Helm is a single file that few package managers have, so the tests do not need it: `helm template` gives the same result.

use std::fs;

use serde_json::{Map, Value};

use crate::rendered::{Objects, deploy};

const NAMESPACE: &str = "socklb-system";

/// The chart in deploy/helm.
#[derive(Debug)]
pub struct Chart {
    chart: Value,
    values: Value,
    templates: Vec<String>,
}

impl Chart {
    pub fn read() -> Self {
        let folder = deploy().join("helm/socklb");
        let read = |path| fs::read_to_string(path).expect("a file of the chart");
        let yaml = |name: &str| -> Value {
            serde_saphyr::from_str(&read(folder.join(name)))
                .unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let templates = fs::read_dir(folder.join("templates")).expect("the chart's templates");
        let templates = templates.map(|entry| entry.expect("a template").path());
        Self {
            chart: yaml("Chart.yaml"),
            values: yaml("values.yaml"),
            templates: templates
                .filter(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "yaml")
                })
                .map(read)
                .collect(),
        }
    }

    /// The defaults.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// Like `helm template --namespace socklb-system`, with these values over the defaults.
    pub fn render(mut self, values: Value) -> Objects {
        merge(&mut self.values, values);
        let text = |value: &str| Value::String(value.to_owned());
        let release = Map::from_iter([("Namespace".to_owned(), text(NAMESPACE))]);
        let version = self.chart["appVersion"].clone();
        let chart = Map::from_iter([("AppVersion".to_owned(), version)]);
        let root = Map::from_iter([
            ("Chart".to_owned(), Value::Object(chart)),
            ("Release".to_owned(), Value::Object(release)),
            ("Values".to_owned(), self.values),
        ]);
        let root = Value::Object(root);
        let rendered = self.templates.iter().map(|template| {
            let mut rest = template.as_str();
            let rendered = block(&mut rest, &root, &root, true);
            assert_eq!(rest, "", "more ends than beginnings");
            rendered
        });
        Objects::parse(&rendered.collect::<Vec<_>>().join("\n---\n"))
    }
}

/// Like Helm: maps are merged, everything else is replaced. A value that the chart does not have is an error.
fn merge(default: &mut Value, given: Value) {
    match (default, given) {
        (Value::Object(default), Value::Object(given)) if !default.is_empty() => {
            for (name, value) in given {
                let known = default.get_mut(&name);
                merge(known.unwrap_or_else(|| panic!("no value {name}")), value);
            }
        }
        (default, given) => *default = given,
    }
}

/// Renders up to the `end` that closes this block, or up to the end of the text.
fn block(rest: &mut &str, root: &Value, dot: &Value, is_shown: bool) -> String {
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").expect("an action ends");
        let action = match action.strip_prefix('-') {
            Some(action) => {
                out.push_str(before.trim_end());
                action.trim()
            }
            None => {
                out.push_str(before);
                action.trim()
            }
        };
        *rest = after;
        match action.split_once(' ').unwrap_or((action, "")) {
            ("end", "") => return out,
            (word @ ("if" | "with"), of) => {
                let (is_negated, of) = match of.strip_prefix("not ") {
                    Some(of) => (true, of),
                    None => (false, of),
                };
                let value = path(of, root, dot);
                let inner = if word == "with" { value } else { dot };
                let is_shown = is_shown && is_true(value) != is_negated;
                let inside = block(rest, root, inner, is_shown);
                if is_shown {
                    out.push_str(&inside);
                }
            }
            ("fail", reason) if is_shown => panic!("the chart fails: {reason}"),
            _ if is_shown => out.push_str(&pipeline(action, root, dot)),
            _ => {}
        }
    }
    out.push_str(std::mem::take(rest));
    out
}

fn pipeline(action: &str, root: &Value, dot: &Value) -> String {
    if let Some((of, places)) = action
        .strip_prefix("toYaml ")
        .and_then(|action| action.split_once(" | nindent "))
    {
        let yaml = serde_saphyr::to_string(path(of, root, dot)).expect("any value");
        let indent = " ".repeat(places.parse().expect("a number of places"));
        let lines = yaml.lines().filter(|line| !line.is_empty());
        return lines.map(|line| format!("\n{indent}{line}")).collect();
    }
    let value = match action.split_once(" | default ") {
        Some((of, default)) if !is_true(path(of, root, dot)) => path(default, root, dot),
        Some((of, _)) => path(of, root, dot),
        None => path(action, root, dot),
    };
    match value {
        Value::Number(number) => number.to_string(),
        value => value.as_str().expect("a text or a number").to_owned(),
    }
}

/// The value at `.Values.a.b`, or at `.`.
fn path<'a>(of: &str, root: &'a Value, dot: &'a Value) -> &'a Value {
    if of == "." {
        return dot;
    }
    let names = of.strip_prefix('.');
    let names = names.unwrap_or_else(|| panic!("`{of}` is not known here"));
    names.split('.').fold(root, |value, name| {
        let value = value.get(name);
        value.unwrap_or_else(|| panic!("`{of}` is nowhere"))
    })
}

/// Values that count as false: none, and all empty ones.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
