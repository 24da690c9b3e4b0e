//! The formats of metrics, and which of them a client asks for.
//!
//! The library writes OpenMetrics. Prometheus reads that too, but curl's users, `promtool check metrics` and other scrapers expect
//! Prometheus' own text format 0.0.4, so that is what a client gets that does not ask for OpenMetrics.

use std::fmt::{self, Write};

use http::HeaderMap;
use http::header::ACCEPT;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.0
    OpenMetrics,
    /// Prometheus' text format 0.0.4
    Prometheus,
}

impl TextFormat {
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that the `Accept` headers of a request prefer: OpenMetrics only if they name it (RFC 9110, section 12.5.1).
    #[must_use]
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let (mut open_metrics, mut prometheus) = (0.0_f32, 0.0_f32);
        for range in values.flat_map(|value| value.split(',')) {
            let range = MediaRange::of(range);
            if range.includes("application/openmetrics-text", "1.0.0") {
                open_metrics = open_metrics.max(range.quality);
            } else if range.includes("text/plain", "0.0.4") {
                prometheus = prometheus.max(range.quality);
            }
        }
        if open_metrics > 0.0 && open_metrics >= prometheus {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// An element of an `Accept` header.
struct MediaRange<'a> {
    name: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            name: parts.next().unwrap_or_default(),
            version: None,
            quality: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "q" | "Q" => range.quality = value.parse().unwrap_or(0.0),
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                _ => {}
            }
        }
        range
    }

    fn includes(&self, name: &str, version: &str) -> bool {
        let is_of_version = self.version.is_none_or(|asked| asked == version);
        self.name.eq_ignore_ascii_case(name) && is_of_version
    }
}

/// Takes OpenMetrics text without its end, and keeps it in Prometheus' text format.
///
/// A counter's family is named as its samples are, with `_total`, and an info is a gauge with `_info`. Samples are the same in both
/// formats, so they pass as they are.
#[derive(Debug, Default)]
pub struct PrometheusText {
    text: String,
    /// What was written of the present line, if that is a description.
    description: String,
    /// The present family's help line, which comes before its type.
    help: String,
}

impl PrometheusText {
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn is_at_start_of_line(&self) -> bool {
        self.text.is_empty() || self.text.ends_with('\n')
    }

    fn end_description(&mut self) -> fmt::Result {
        let line = self.description.trim_end();
        if line.starts_with("# HELP ") {
            std::mem::swap(&mut self.help, &mut self.description);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').ok_or(fmt::Error)?;
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let help = self.help.trim_end().strip_prefix("# HELP ");
            if let Some(help) = help.and_then(|help| help.strip_prefix(name)) {
                writeln!(self.text, "# HELP {name}{suffix}{help}")?;
            }
            writeln!(self.text, "# TYPE {name}{suffix} {kind}")?;
        }
        // The format has no units.
        self.description.clear();
        Ok(())
    }
}

impl Write for PrometheusText {
    fn write_str(&mut self, mut part: &str) -> fmt::Result {
        // The library writes a line in many parts, and a part never has more than the end of a line.
        while !part.is_empty() {
            if self.description.is_empty() && !(self.is_at_start_of_line() && part.starts_with('#'))
            {
                let end = part.find('\n').map_or(part.len(), |at| at + 1);
                self.text.push_str(&part[..end]);
                part = &part[end..];
                continue;
            }
            let Some(end) = part.find('\n') else {
                self.description.push_str(part);
                break;
            };
            self.description.push_str(&part[..end]);
            self.end_description()?;
            part = &part[end + 1..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use http::HeaderMap;
    use http::header::{ACCEPT, HeaderValue};

    use super::{PrometheusText, TextFormat};

    fn asked_for(accept: &[&'static str]) -> TextFormat {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        TextFormat::asked_for(&headers)
    }

    #[test]
    fn a_client_that_does_not_name_open_metrics_gets_prometheus_text() {
        for accept in [
            &[][..],
            &["*/*"],
            &["text/plain"],
            &["text/plain;version=0.0.4;q=0.3, */*;q=0.2"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text; version=2.0.0, */*"],
            &["text/plain, application/openmetrics-text;q=0.9"],
            &["application/openmetrics-text;q=nonsense"],
            &["application/json"],
            &["", ";;", ",=,"],
        ] {
            assert_eq!(asked_for(accept), TextFormat::Prometheus, "{accept:?}");
        }
    }

    #[test]
    fn a_client_that_prefers_open_metrics_gets_it() {
        for accept in [
            &["application/openmetrics-text"][..],
            &["application/openmetrics-text; version=1.0.0; charset=utf-8"],
            &["Application/OpenMetrics-Text; Version=\"1.0.0\""],
            &["text/plain;q=0.5", "application/openmetrics-text;q=0.5"],
            // Prometheus 2.42 and 3.5.
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ],
        ] {
            assert_eq!(asked_for(accept), TextFormat::OpenMetrics, "{accept:?}");
        }
    }

    const OPEN_METRICS: &str = "\
# HELP a_build The agent.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_calls Calls # of all kinds.
# TYPE a_calls counter
a_calls_total{of=\"# TYPE x y\"} 1
a_calls_total{of=\"b\"} 2
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
# UNIT a_time_seconds seconds
a_time_seconds_sum 0.5
a_time_seconds_count 1
a_time_seconds_bucket{le=\"+Inf\"} 1
# HELP a_last Last.
# TYPE a_last unknown
a_last 3
";

    const PROMETHEUS: &str = "\
# HELP a_build_info The agent.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_calls_total Calls # of all kinds.
# TYPE a_calls_total counter
a_calls_total{of=\"# TYPE x y\"} 1
a_calls_total{of=\"b\"} 2
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
a_time_seconds_sum 0.5
a_time_seconds_count 1
a_time_seconds_bucket{le=\"+Inf\"} 1
# HELP a_last Last.
# TYPE a_last untyped
a_last 3
";

    #[test]
    fn open_metrics_becomes_prometheus_text_in_parts_of_any_size() {
        for size in [1, 2, 3, 7, 64, OPEN_METRICS.len()] {
            let mut text = PrometheusText::default();
            for part in OPEN_METRICS.as_bytes().chunks(size) {
                let part = std::str::from_utf8(part).expect("it is ASCII");
                text.write_str(part).expect("a string takes it");
            }
            assert_eq!(text.into_text(), PROMETHEUS, "parts of {size} bytes");
        }
    }
}
