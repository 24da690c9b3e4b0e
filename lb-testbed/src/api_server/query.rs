//! The query of a list or watch, and its errors.

use std::collections::HashMap;
use std::time::Duration;

use super::behaviour::{Behaviour, StreamingLists};
use super::kind::Kind;
use super::refusal::Refusal;
use super::selector::Selector;

/// The query as it came.
pub(super) type Query = HashMap<String, String>;

/// The parameters of a list.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) selector: Selector,
    /// None: no limit.
    pub(super) limit: Option<usize>,
    pub(super) from: ListFrom,
}

/// Which state of the objects a list shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListFrom {
    /// The current one, which must not be older than this.
    NotOlderThan(u64),
    Exactly(u64),
    /// After the previous page.
    Continue(String),
}

/// The parameters of a watch.
#[derive(Debug)]
pub(super) struct WatchQuery {
    pub(super) selector: Selector,
    pub(super) from: WatchFrom,
    pub(super) bookmarks: bool,
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum WatchFrom {
    /// The events after a revision.
    Revision(u64),
    /// First the current objects, at a revision that is not older than this; then, on request, a bookmark that marks their end.
    State {
        not_older_than: u64,
        marks_end: bool,
    },
}

pub(super) fn wants_watch(query: &Query) -> bool {
    is_true(query, "watch")
}

impl ListQuery {
    pub(super) fn parse(
        kind: Kind,
        namespace: Option<String>,
        query: &Query,
    ) -> Result<Self, Refusal> {
        let revision = number(query, "resourceVersion")?;
        let rule = text(query, "resourceVersionMatch");
        let token = text(query, "continue");
        let from = match (token, revision, rule) {
            ("", None | Some(0), "Exact") => {
                return Err(Refusal::invalid(
                    "resourceVersionMatch: Forbidden: Exact needs a resourceVersion other than 0",
                ));
            }
            ("", None, "NotOlderThan") => {
                return Err(Refusal::invalid(
                    "resourceVersionMatch: Forbidden: it needs a resourceVersion",
                ));
            }
            ("", Some(revision), "Exact") => ListFrom::Exactly(revision),
            ("", revision, "" | "NotOlderThan") => ListFrom::NotOlderThan(revision.unwrap_or(0)),
            (token, None, "") => ListFrom::Continue(token.to_owned()),
            ("", _, _) => {
                return Err(Refusal::invalid(format!(
                    "resourceVersionMatch: Unsupported value: {rule:?}"
                )));
            }
            _ => {
                return Err(Refusal::bad_request(
                    "specifying resourceVersion or resourceVersionMatch is not allowed when using continue",
                ));
            }
        };
        // A server does not page the answers from its cache.
        let limit = number(query, "limit")?.filter(|limit| 0 < *limit && revision != Some(0));
        Ok(Self {
            selector: selector(kind, namespace, query)?,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            from,
        })
    }
}

impl WatchQuery {
    pub(super) fn parse(
        kind: Kind,
        namespace: Option<String>,
        query: &Query,
        behaviour: &Behaviour,
    ) -> Result<Self, Refusal> {
        let revision = number(query, "resourceVersion")?.unwrap_or(0);
        let rule = text(query, "resourceVersionMatch");
        let bookmarks = is_true(query, "allowWatchBookmarks");
        let streams = match behaviour.streaming_lists {
            StreamingLists::Served => is_true(query, "sendInitialEvents"),
            StreamingLists::Refused if query.contains_key("sendInitialEvents") => {
                return Err(Refusal::invalid(
                    "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
                ));
            }
            StreamingLists::Refused | StreamingLists::Ignored => false,
        };
        if streams && rule != "NotOlderThan" {
            return Err(Refusal::invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if streams && !bookmarks {
            return Err(Refusal::invalid(
                "allowWatchBookmarks: Forbidden: sendInitialEvents requires setting allowWatchBookmarks to true",
            ));
        }
        if !streams && !rule.is_empty() && behaviour.streaming_lists != StreamingLists::Ignored {
            return Err(Refusal::invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        let from = if streams || revision == 0 {
            WatchFrom::State {
                not_older_than: revision,
                marks_end: streams,
            }
        } else {
            WatchFrom::Revision(revision)
        };
        Ok(Self {
            selector: selector(kind, namespace, query)?,
            from,
            bookmarks,
            timeout: number(query, "timeoutSeconds")?
                .filter(|seconds| *seconds != 0)
                .map(Duration::from_secs),
        })
    }
}

fn selector(kind: Kind, namespace: Option<String>, query: &Query) -> Result<Selector, Refusal> {
    Selector::parse(
        kind,
        namespace,
        text(query, "labelSelector"),
        text(query, "fieldSelector"),
    )
}

fn text<'q>(query: &'q Query, name: &str) -> &'q str {
    query.get(name).map_or("", String::as_str)
}

fn is_true(query: &Query, name: &str) -> bool {
    matches!(text(query, name), "true" | "1")
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Refusal> {
    match text(query, name) {
        "" => Ok(None),
        digits => digits
            .parse()
            .map(Some)
            .map_err(|_| Refusal::invalid(format!("{name}: Invalid value: {digits:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn list(pairs: &[(&str, &str)]) -> Result<(ListFrom, Option<usize>), Refusal> {
        let list = ListQuery::parse(Kind::Service, None, &query(pairs))?;
        Ok((list.from, list.limit))
    }

    fn watch(streaming_lists: StreamingLists, more: &[(&str, &str)]) -> Result<WatchFrom, Refusal> {
        let behaviour = Behaviour {
            streaming_lists,
            ..Behaviour::default()
        };
        let pairs = [
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
        ];
        let query = query(&[&pairs, more].concat());
        Ok(WatchQuery::parse(Kind::Service, None, &query, &behaviour)?.from)
    }

    #[test]
    fn list_queries_are_parsed() {
        assert_eq!(
            list(&[("limit", "2")]),
            Ok((ListFrom::NotOlderThan(0), Some(2)))
        );
        assert_eq!(
            list(&[("limit", "2"), ("resourceVersion", "0")]),
            Ok((ListFrom::NotOlderThan(0), None))
        );
        assert_eq!(
            list(&[("resourceVersion", "7"), ("resourceVersionMatch", "Exact")]),
            Ok((ListFrom::Exactly(7), None))
        );
        assert_eq!(
            list(&[("continue", "x")]),
            Ok((ListFrom::Continue("x".to_owned()), None))
        );
        for wrong in [
            [("continue", "x"), ("resourceVersion", "7")],
            [("resourceVersion", "0"), ("resourceVersionMatch", "Exact")],
            [("resourceVersion", "1"), ("resourceVersionMatch", "Newest")],
            [("resourceVersion", "new"), ("limit", "1")],
        ] {
            assert!(list(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn streaming_list_queries_are_parsed() {
        let bookmarks = [("allowWatchBookmarks", "true")];
        let state = |marks_end| WatchFrom::State {
            not_older_than: 0,
            marks_end,
        };
        assert_eq!(watch(StreamingLists::Served, &bookmarks), Ok(state(true)));
        assert!(watch(StreamingLists::Served, &[]).is_err());
        assert!(watch(StreamingLists::Refused, &bookmarks).is_err());
        assert_eq!(watch(StreamingLists::Ignored, &bookmarks), Ok(state(false)));
    }
}
