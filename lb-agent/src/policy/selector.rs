//! Label selectors, as `kubectl -l` takes them: `app=web`, `tier!=back`, `env in (dev, test)`, `env notin (dev)`, `mesh`, `!mesh`,
//! joined by commas, all of which must hold. The rules are those of k8s.io/apimachinery/pkg/labels/selector.go, without `<` and `>`,
//! which are of node affinity only. The crate kube has selectors too, but reads none from a text.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::catalog::LabelMap;

/// A label selector. The empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// Also without the label.
    NotIn(BTreeSet<String>),
}

impl Selector {
    #[must_use]
    pub fn matches(&self, labels: &LabelMap) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    /// The error says what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.trim() };
        let mut requirements = Vec::new();
        if reader.rest.is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(reader.requirement()?);
            if reader.rest.is_empty() {
                return Ok(Self(requirements));
            }
            if !reader.take(",") {
                return Err(format!("write a comma before {:?}", reader.rest));
            }
        }
    }
}

/// The form in which `kubectl` writes it: two selectors that select the same in the same order have one text.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let join = |values: &BTreeSet<String>| {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                values.join(",")
            };
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
                Test::In(values) => write!(f, "{key} in ({})", join(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", join(values))?,
            }
        }
        Ok(())
    }
}

/// What is left of a selector's text, without blanks before it.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_absent = self.take("!");
        let key = check_key(self.word())?;
        if is_absent {
            return Ok(Requirement {
                key,
                test: Test::Absent,
            });
        }
        let test = if self.take("!=") {
            Test::NotIn(BTreeSet::from([check_value(self.word())?]))
        } else if self.take("==") || self.take("=") {
            Test::In(BTreeSet::from([check_value(self.word())?]))
        } else {
            let before = self.rest;
            match self.word() {
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                _ => {
                    self.rest = before;
                    Test::Exists
                }
            }
        };
        Ok(Requirement { key, test })
    }

    /// `(dev, test)`.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        if !self.take("(") {
            return Err(
                "write values in parentheses after `in` and `notin`, like (a,b)".to_owned(),
            );
        }
        loop {
            values.insert(check_value(self.word())?);
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err("write a comma between values, and ) after the last".to_owned());
            }
        }
    }

    /// Up to the next blank or operator; may be empty.
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "!=<>(),".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        word
    }

    /// Whether the text goes on with this, which is then taken.
    fn take(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        if let Some(rest) = rest {
            self.rest = rest.trim_start();
        }
        rest.is_some()
    }
}

/// A label's key: a name, after a DNS subdomain and `/` or alone.
fn check_key(key: &str) -> Result<String, String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_prefix = |prefix: &str| {
        let is_part = |part: &str| {
            is_framed(part)
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        prefix.len() <= 253 && prefix.split('.').all(is_part)
    };
    if is_value(name) && !name.is_empty() && prefix.is_none_or(is_prefix) {
        return Ok(key.to_owned());
    }
    Err(format!(
        "{key:?} is not the key of a label: write one like app or example.com/tier"
    ))
}

fn check_value(value: &str) -> Result<String, String> {
    if is_value(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "{value:?} is not the value of a label: write up to 63 letters, digits, -, _ and ."
    ))
}

fn is_value(value: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.is_empty() || value.len() <= 63 && is_framed(value) && value.chars().all(is_inner)
}

/// Whether it begins and ends with a letter or a digit.
fn is_framed(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_end) && text.ends_with(is_end)
}
