//! Whether this node is fit to run an agent, and what to do if not. `lb-agent check` prints it.
//!
//! Every finding comes from trying, or from what the kernel shows, in the process of the command. Only the self-test makes
//! something that has a name, an empty cgroup, and removes it.

mod agent;
mod capabilities;
mod cgroup;
mod conntrack;
mod devices;
mod finding;
mod hooks;
mod kube_proxy;
mod memory;
mod packets;
mod pins;
mod programs;
mod self_test;

use std::path::PathBuf;

pub use self::finding::{Finding, Outcome};
pub use self::self_test::inside as self_test_inside;
use crate::kernel::Sizes;
use crate::kernel::probe::LoadedPrograms;

/// What to check.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// None: the root of the cgroup2 hierarchy.
    pub cgroup: Option<PathBuf>,
    pub pin_dir: PathBuf,
    /// The unix socket of the agent.
    pub socket: PathBuf,
    pub sizes: Sizes,
    /// What only packets need is needed: without the packet path its lack is a warning.
    pub has_packets: bool,
    pub has_self_test: bool,
}

/// All findings, in the order in which an agent needs what they are about.
///
/// # Errors
/// A signal ended the self-test.
pub async fn check(settings: &CheckSettings) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let lack = capabilities::lack();
    findings.push(capabilities::finding(lack.as_ref()));
    let (finding, cgroup) = cgroup::find(settings.cgroup.as_deref());
    findings.push(finding);
    findings.push(pins::bpffs(&settings.pin_dir));
    findings.push(memory::finding(settings.sizes));
    findings.push(programs::types());
    let (of_programs, loaded) = programs::load(lack.as_ref());
    findings.extend(of_programs);
    findings.push(match &cgroup {
        Some(cgroup) => hooks::finding(cgroup, &settings.pin_dir),
        None => without_cgroup(hooks::CHECK),
    });
    findings.extend(of_packets(settings, loaded.as_ref()));
    findings.push(pins::tables(&settings.pin_dir));
    findings.push(agent::finding(&settings.pin_dir, &settings.socket).await);
    if settings.has_self_test {
        findings.push(match &cgroup {
            Some(cgroup) => self_test::finding(cgroup).await?,
            None => without_cgroup(self_test::CHECK),
        });
    }
    Ok(findings)
}

fn without_cgroup(check: &'static str) -> Finding {
    Finding::failure(
        check,
        "not possible: there is no cgroup",
        "see the row `cgroup`",
    )
}

/// What only the packet path needs.
fn of_packets(settings: &CheckSettings, loaded: Option<&LoadedPrograms>) -> Vec<Finding> {
    let mut findings = packets::findings(loaded);
    findings.push(devices::finding(&settings.pin_dir));
    findings.push(conntrack::finding());
    findings.push(conntrack::forwarding());
    if !settings.has_packets {
        for finding in &mut findings {
            finding.outcome = finding.outcome.min(Outcome::Warning);
        }
    }
    findings.push(kube_proxy::finding());
    findings
}
