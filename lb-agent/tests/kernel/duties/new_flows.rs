//! New conntrack entries, as the kernel reports them.

use std::time::Duration;

use anyhow::{Result, bail};
use lb_agent::catalog::Protocol;
use lb_agent::duties::conntrack::{Arrival, NewFlow, NewFlows};
use lb_testbed::sandboxed;

use super::entries::{Entry, TCP, UDP, create};

const WAIT: Duration = Duration::from_millis(100);

const ENTRY: Entry<'_> = Entry {
    protocol: TCP,
    client: "10.0.0.9:999",
    to: "10.96.0.10:80",
    answers: "10.1.0.1:8080",
    zone_of_original: None,
    zone: None,
};

fn next(flows: &mut NewFlows) -> Result<NewFlow> {
    match flows.wait()? {
        Arrival::Flow(flow) => Ok(flow),
        other => bail!("{other:?} instead of a flow"),
    }
}

#[test]
fn new_entries_of_tcp_and_udp_are_reported() {
    sandboxed(|_| {
        let mut flows = NewFlows::open(WAIT)?;
        assert_eq!(flows.wait()?, Arrival::Nothing);
        create(&[
            ENTRY,
            Entry {
                protocol: UDP,
                client: "[fd00::9]:999",
                to: "[fd00:96::a]:53",
                answers: "[fd00:96::a]:53",
                ..ENTRY
            },
            Entry {
                zone: Some(7),
                ..ENTRY
            },
            Entry {
                zone_of_original: Some(8),
                client: "10.0.0.9:1000",
                ..ENTRY
            },
        ])?;
        let expected = NewFlow {
            protocol: Protocol::Tcp,
            client: ENTRY.client.parse()?,
            to: ENTRY.to.parse()?,
            answers: ENTRY.answers.parse()?,
            is_in_a_zone: false,
        };
        assert_eq!(next(&mut flows)?, expected);
        let untranslated = NewFlow {
            protocol: Protocol::Udp,
            client: "[fd00::9]:999".parse()?,
            to: "[fd00:96::a]:53".parse()?,
            answers: "[fd00:96::a]:53".parse()?,
            is_in_a_zone: false,
        };
        assert_eq!(next(&mut flows)?, untranslated);
        for client in [ENTRY.client, "10.0.0.9:1000"] {
            let in_a_zone = NewFlow {
                client: client.parse()?,
                is_in_a_zone: true,
                ..expected
            };
            assert_eq!(next(&mut flows)?, in_a_zone);
        }
        assert_eq!(flows.wait()?, Arrival::Nothing);
        Ok(())
    });
}

#[test]
fn an_overrun_is_reported() {
    sandboxed(|_| {
        let mut flows = NewFlows::open(WAIT)?;
        let clients: Vec<String> = (1_024..u16::MAX)
            .map(|port| format!("10.0.0.9:{port}"))
            .collect();
        let entries: Vec<Entry<'_>> = clients
            .iter()
            .map(|client| Entry { client, ..ENTRY })
            .collect();
        create(&entries)?;
        let (mut seen, mut overruns) = (0, 0);
        loop {
            match flows.wait()? {
                Arrival::Flow(_) => seen += 1,
                Arrival::Overrun => overruns += 1,
                Arrival::Other => {}
                Arrival::Nothing => break,
            }
        }
        assert!(overruns > 0, "all of {} fit", entries.len());
        assert!((5_000..entries.len()).contains(&seen), "{seen}");
        // Later ones are seen again.
        let client = "10.0.0.8:999";
        create(&[Entry { client, ..ENTRY }])?;
        assert_eq!(next(&mut flows)?.client, client.parse()?);
        Ok(())
    });
}
