//! `lb-agent connections`: the open sockets that went through Services.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use super::listing::{self, Column, Listed, Listing};
use super::runtime::block_on;
use super::table;
use crate::connections::{Connection, Filter, Found, Names};
use crate::sockets::Searched;

/// Lists connections, with the names that the agent on the listing's socket knows.
///
/// # Errors
/// There are no pinned tables, the sockets cannot be listed, the filter needs names and no agent answers, or stdout cannot be
/// written.
pub fn connections(listing: &Listing, pin_dir: &Path, filter: &Filter) -> anyhow::Result<()> {
    let mut names = Names::default();
    let mut warnings = Warnings::default();
    block_on(listing::list(listing, async || {
        let found = Found::search(pin_dir, filter)?;
        warnings.of_search(&found.searched);
        if let Err(error) = names
            .learn(&listing.socket, filter, found.frontends())
            .await
        {
            if filter.needs_names() {
                bail!("cannot select connections by Service: {error}");
            }
            warnings.warn(&format!("Services have no names: {error}"));
        }
        Ok(found.describe(filter, &names)?)
    }))
}

/// What was said on stderr: with `--watch`, once.
#[derive(Debug, Default)]
struct Warnings(BTreeSet<String>);

impl Warnings {
    fn of_search(&mut self, searched: &Searched) {
        if let Some(limitation) = &searched.limitation {
            self.warn(&format!(
                "connections of other network namespaces are missing: {limitation}; run lb-agent as root in the host's PID \
                 namespace"
            ));
        }
        if let Some(failure) = &searched.failure {
            self.warn(&format!(
                "connections of {} network namespaces are missing: {failure}",
                searched.failures
            ));
        }
    }

    fn warn(&mut self, what: &str) {
        if self.0.insert(what.to_owned()) {
            eprintln!("warning: {what}");
        }
    }
}

impl Listed for Connection {
    const KIND: &'static str = "connections";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", |of| {
            let service = of.service.as_ref();
            service.map_or_else(unknown, |service| service.namespace.clone())
        }),
        Column::new("NAME", |of| {
            let service = of.service.as_ref();
            service.map_or_else(unknown, |service| service.name.clone())
        }),
        Column::new("PORT", |of| {
            let port = of.service.as_ref().map(|service| &service.port);
            port.map_or_else(unknown, |port| table::port_name(port).to_owned())
        }),
        Column::new("PROTOCOL", |of| of.protocol.to_owned()),
        Column::new("CLIENT", |of| of.local.to_string()),
        Column::new("FRONTEND", |of| of.frontend.to_string()),
        Column::new("BACKEND", |of| of.backend.to_string()),
        Column::new("STATE", |of| of.state.to_owned()),
        Column::new("PID", pid),
        Column::new("COMMAND", |of| {
            let command = of.processes.first().map(|process| &process.command);
            command.map_or_else(none, ToString::to_string)
        }),
        Column::wide("NETNS", |of| {
            let namespace = &of.network_namespace;
            let name = namespace.name.clone();
            name.unwrap_or_else(|| namespace.inode.to_string())
        }),
        Column::wide("RTT", |of| {
            let rtt = of.figures.and_then(|figures| figures.rtt_micros);
            let rtt = rtt.map(|micros| Duration::from_micros(micros.into()));
            rtt.map_or_else(none, |rtt| format!("{rtt:?}"))
        }),
        Column::wide("IDLE", |of| {
            let idle = of.figures.and_then(|figures| figures.idle_millis);
            idle.map_or_else(none, |millis| format!("{}s", millis / 1_000))
        }),
        Column::wide("SENT", |of| {
            number(of.figures.map(|figures| figures.bytes_sent))
        }),
        Column::wide("RECEIVED", |of| {
            number(of.figures.map(|figures| figures.bytes_received))
        }),
    ];

    /// The cookie, with what a socket may change: an unconnected one may get another frontend.
    type Key = u64;

    fn key(&self) -> Self::Key {
        self.cookie
    }

    fn has_changed(&self, last: &Self) -> bool {
        self.lasting() != last.lasting()
    }
}

/// The first process, and how many others share the socket.
fn pid(of: &Connection) -> String {
    match &*of.processes {
        [] => none(),
        [one] => one.pid.to_string(),
        [first, others @ ..] => format!("{} (+{})", first.pid, others.len()),
    }
}

fn number(of: Option<u64>) -> String {
    of.map_or_else(none, |of| of.to_string())
}

fn none() -> String {
    "<none>".to_owned()
}

fn unknown() -> String {
    "<unknown>".to_owned()
}
