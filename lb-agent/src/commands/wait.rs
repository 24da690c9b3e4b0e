//! `lb-agent wait-for-daemonset`: the command of the Job in the chart's uninstall hook.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep, timeout_at};

use super::runtime::block_on;
use crate::counted::counted;
use crate::source::kubernetes::{Access, DaemonSetRollout, DaemonSets};

/// The interval between two requests.
const EVERY: Duration = Duration::from_secs(1);

/// Waits until every node that a DaemonSet selects has an available pod of its current revision. Retries after errors
/// of the API server.
///
/// # Errors
/// The time is over before that, or there are no credentials.
pub fn wait(access: Access, name: &str, within: Duration) -> anyhow::Result<()> {
    block_on(async {
        let daemon_sets = DaemonSets::open(access).await?;
        let deadline = Instant::now() + within;
        let mut last = "the API server has not answered".to_owned();
        loop {
            let Ok(answer) = timeout_at(deadline, daemon_sets.rollout(name)).await else {
                bail!(
                    "DaemonSet {name} is not complete after {} s: {last}",
                    within.as_secs()
                );
            };
            let now = match &answer {
                Ok(rollout) => line(*rollout),
                Err(why) => why.clone(),
            };
            if now != last {
                println!("DaemonSet {name}: {now}");
                last = now;
            }
            if answer.is_ok_and(DaemonSetRollout::is_complete) {
                return Ok(());
            }
            sleep(EVERY.min(deadline.duration_since(Instant::now()))).await;
        }
    })
}

fn line(rollout: DaemonSetRollout) -> String {
    match rollout {
        DaemonSetRollout::NotObserved => "its controller has not seen it yet".to_owned(),
        DaemonSetRollout::Pods { available, wanted } => {
            format!("{available} of {} available", counted(wanted, "pod"))
        }
    }
}
