//! The flags of `lb-agent events`.

use std::time::Duration;

use clap::Args;

use super::listing::SocketArgs;
use super::values;
use crate::commands::{LogFormat, events};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The agent remembers its last 1,000 events (docs/events.md). Refused calls and failed connections are reported
while somebody follows: up to 256 of a kind in a second on each CPU. An event `events.dropped` counts the others.

Examples:
  lb-agent events
  lb-agent events --since 10m
  lb-agent events --follow --tail 0 --event connection. --service default/web")]
pub struct EventsArgs {
    #[command(flatten)]
    pub socket: SocketArgs,

    /// Go on with events as they happen, refused and failed connections among them.
    #[arg(short, long)]
    pub follow: bool,

    /// Only events whose names begin so, such as connection. or hooks.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "NAME")]
    pub event: Vec<String>,

    /// Only events of this Service, such as shop/web; without a namespace of `default`.
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = service)]
    pub service: Option<String>,

    /// Number of remembered events to show, the latest of those that the other flags select; -1: all.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub tail: i64,

    /// Only remembered events newer than this, such as 10m or 90s.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub since: Option<Duration>,

    /// Format: lines of text, or of JSON.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub output: LogFormat,
}

impl EventsArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let filter = events::EventFilter {
            names: self.event,
            service: self.service,
            // -1 is no number of events.
            tail: usize::try_from(self.tail).ok(),
            since: self.since,
        };
        events::events(&self.socket.socket, self.follow, &filter, self.output)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap's parsers return a result")]
fn service(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(match text.contains('/') {
        true => text.to_owned(),
        false => format!("default/{text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::service;

    #[test]
    fn a_service_without_a_namespace_is_of_default() {
        assert_eq!(service("web"), Ok("default/web".to_owned()));
        assert_eq!(service("shop/web"), Ok("shop/web".to_owned()));
    }
}
