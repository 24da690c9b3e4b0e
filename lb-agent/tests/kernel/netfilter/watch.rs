//! Changes by other programs are reported, and our own are not.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_agent::kernel::netfilter::{Netfilter, Ruleset, Watch};
use lb_testbed::{runtime, sandboxed, stretched};

use super::{RULESET, element, nft, open};

/// How long a change that must not be reported is waited for.
const QUIET: Duration = Duration::from_millis(200);

const LIMIT: Duration = Duration::from_secs(10);

async fn is_reported(watch: &mut Watch, limit: Duration) -> Result<bool> {
    match tokio::time::timeout(stretched(limit), watch.changed()).await {
        Ok(changed) => changed.map(|()| true).map_err(Into::into),
        Err(_) => Ok(false),
    }
}

#[test]
fn changes_by_others_are_reported_and_our_own_are_not() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        runtime()?.block_on(async {
            let mut watch = Watch::open(&netfilter)?;
            netfilter.put(&[element(1, "10.0.0.1:80")?, element(2, "10.0.0.2:80")?])?;
            netfilter.remove(&[2])?;
            nft("table inet other { chain c { type filter hook input priority 0; }; }")?;
            nft("table ip socklb { chain c { type filter hook input priority 0; }; }")?;
            ensure!(!is_reported(&mut watch, QUIET).await?);
            for change in [
                "delete element inet socklb backends4 { 8000:1 }",
                "add element inet socklb backends4 { 8000:9 : 10.9.9.9 . 9 }",
                "flush map inet socklb backends4",
                "flush chain inet socklb nat",
                "add rule inet socklb clear accept",
                "add chain inet socklb more",
                "flush ruleset",
                "add table inet socklb",
            ] {
                nft(change)?;
                let reported = is_reported(&mut watch, LIMIT).await?;
                ensure!(reported, "not reported: {change}");
            }
            // A burst is one report.
            for _ in 0..10 {
                nft("add table inet socklb\ndelete table inet socklb")?;
            }
            ensure!(is_reported(&mut watch, LIMIT).await?);
            netfilter.check()?;
            ensure!(!is_reported(&mut watch, QUIET).await?);
            Ok(())
        })
    });
}

#[test]
fn lost_messages_count_as_a_change_and_large_changes_of_ours_lose_none() {
    sandboxed(|_| {
        let capacity = 100_000;
        let (mut netfilter, _) = Netfilter::open(Ruleset {
            capacity,
            ..RULESET
        })?;
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let elements: Vec<_> = (0..capacity).map(|id| (id, address)).collect();
        runtime()?.block_on(async {
            let mut watch = Watch::open(&netfilter)?;
            netfilter.put(&elements)?;
            ensure!(!is_reported(&mut watch, QUIET).await?);
            nft("add table ip theirs\nadd set ip theirs s { type mark; }")?;
            let theirs: String = (0..60_000).map(|number| format!("{number},")).collect();
            nft(&format!("add element ip theirs s {{ {theirs} }}"))?;
            let reported = is_reported(&mut watch, LIMIT).await?;
            ensure!(reported, "60,000 messages did not fill the socket");
            ensure!(!is_reported(&mut watch, QUIET).await?);
            Ok(())
        })
    });
}
