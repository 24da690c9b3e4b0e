//! Settings of the kernel below /proc/sys on which forwarded connections depend: how many conntrack remembers and for how long,
//! and whether the kernel forwards at all.
//!
//! Only the settings for which a flag is given are set. The others are read and reported.

mod cpus;
mod files;
mod forwarding;
mod plan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::cpus::online_cpus;
pub use self::files::{Sysctl, SysctlFiles};
pub use self::plan::{ConntrackSettings, Plan, Store};
use crate::catalog::{Family, Problem};

/// The state of the settings after [`check_and_set`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SysctlReport {
    /// Settings that cannot be read or set, or that stop traffic.
    pub problems: Vec<Problem>,
    pub conntrack: Vec<SysctlStatus>,
    /// `net.netfilter.nf_conntrack_tcp_be_liberal`: conntrack calls no TCP packet invalid because of its sequence number.
    pub tcp_be_liberal: bool,
}

/// A conntrack setting, and what kube-proxy would set it to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SysctlStatus {
    /// With dots, as for sysctl(8).
    pub name: String,
    /// None if it is unreadable.
    pub value: Option<u64>,
    /// The value of kube-proxy with the flags of this agent, or with its own defaults.
    pub kube_proxy: u64,
}

/// Sets what the flags ask for, and reads the rest.
///
/// Call it when conntrack is in the kernel: the files of a module appear when it is loaded, which the ruleset of the packet
/// path does.
///
/// `families`: those for which the packet path serves frontends. Their packets must be forwarded.
#[must_use]
pub fn check_and_set(
    files: &SysctlFiles,
    settings: &ConntrackSettings,
    cpus: u32,
    families: &[Family],
) -> SysctlReport {
    let read = files.read_all();
    let plan = Plan::new(settings, cpus, &read);
    let mut problems = plan.carry_out(files);
    problems.extend(forwarding::problems(&read, families));
    let read: BTreeMap<_, _> = if plan.stores.is_empty() {
        read
    } else {
        files.read_all()
    };
    let value = |sysctl| {
        read.get(&sysctl)
            .and_then(|read| read.as_ref().ok())
            .copied()
    };
    let conntrack = plan
        .expected
        .iter()
        .map(|&(sysctl, kube_proxy)| SysctlStatus {
            name: sysctl.to_string(),
            value: value(sysctl),
            kube_proxy,
        });
    SysctlReport {
        conntrack: conntrack.collect(),
        tcp_be_liberal: value(Sysctl::TcpBeLiberal).is_some_and(|value| value != 0),
        problems,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// Values of a node with the kernel's defaults.
    fn files(folder: &Path) -> SysctlFiles {
        for (name, value) in [
            ("net/netfilter/nf_conntrack_max", "65536"),
            ("net/netfilter/nf_conntrack_buckets", "65536"),
            (
                "net/netfilter/nf_conntrack_tcp_timeout_established",
                "432000",
            ),
            ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60"),
            ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
        ] {
            let path = folder.join(name);
            let parent = path.parent().expect("a folder");
            fs::create_dir_all(parent).expect("it is writable");
            fs::write(path, format!("{value}\n")).expect("it is writable");
        }
        SysctlFiles::below(folder)
    }

    fn value(report: &SysctlReport, name: &str) -> Option<u64> {
        let mut named = report.conntrack.iter().filter(|s| s.name.ends_with(name));
        named.next().expect("it is reported").value
    }

    #[test]
    fn flags_are_written_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        let report = check_and_set(&files, &ConntrackSettings::default(), 8, &[]);
        assert_eq!(report.problems, []);
        assert!(report.tcp_be_liberal);
        assert_eq!(value(&report, "nf_conntrack_max"), Some(65_536));
        assert_eq!(files.read(Sysctl::TcpTimeoutCloseWait).ok(), Some(60));

        let settings = ConntrackSettings {
            max_per_core: Some(100_000),
            tcp_timeout_close_wait: Some(Duration::from_secs(3600)),
            ..ConntrackSettings::default()
        };
        let report = check_and_set(&files, &settings, 8, &[]);
        assert_eq!(report.problems, []);
        assert_eq!(value(&report, "nf_conntrack_max"), Some(800_000));
        assert_eq!(value(&report, "close_wait"), Some(3600));
        assert_eq!(value(&report, "established"), Some(432_000));
        assert_eq!(files.read(Sysctl::ConntrackBuckets).ok(), Some(200_000));
    }

    #[test]
    fn refusals_for_one_reason_are_one_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        // These settings hold numbers, and not even root may write them.
        for (name, read_only) in [
            ("nf_conntrack_max", "ngroups_max"),
            ("nf_conntrack_tcp_timeout_close_wait", "cap_last_cap"),
        ] {
            let path = folder.path().join("net/netfilter").join(name);
            fs::remove_file(&path).expect("it is there");
            let read_only = Path::new("/proc/sys/kernel").join(read_only);
            symlink(read_only, &path).expect("it is not there");
        }
        let settings = ConntrackSettings {
            max_per_core: Some(100_000),
            tcp_timeout_close_wait: Some(Duration::from_secs(3600)),
            tcp_timeout_established: Some(Duration::from_secs(7200)),
            ..ConntrackSettings::default()
        };
        let report = check_and_set(&files, &settings, 8, &[]);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        let message = &report.problems[0].message;
        for part in [
            "net.netfilter.nf_conntrack_max to 800000",
            "net.netfilter.nf_conntrack_tcp_timeout_close_wait to 3600",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(value(&report, "established"), Some(7200));
    }

    #[test]
    fn a_kernel_without_conntrack_is_one_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = SysctlFiles::below(folder.path());
        let settings = ConntrackSettings {
            max_per_core: Some(1),
            ..ConntrackSettings::default()
        };
        for settings in [ConntrackSettings::default(), settings] {
            let report = check_and_set(&files, &settings, 8, &[]);
            assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
            assert_eq!(value(&report, "nf_conntrack_max"), None);
            assert!(!report.tcp_be_liberal);
        }
    }

    #[test]
    fn a_family_that_is_not_forwarded_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        let both = [Family::Ipv4, Family::Ipv6];
        let objects = |families: &[Family]| -> Vec<String> {
            let report = check_and_set(&files, &ConntrackSettings::default(), 8, families);
            report.problems.into_iter().map(|p| p.object).collect()
        };
        assert_eq!(objects(&both), [""; 0]);
        for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            fs::write(folder.path().join(name), "0\n").expect("it is writable");
        }
        assert_eq!(
            objects(&both),
            [
                "sysctl net.ipv4.ip_forward",
                "sysctl net.ipv6.conf.all.forwarding"
            ]
        );
        assert_eq!(objects(&[Family::Ipv4]), ["sysctl net.ipv4.ip_forward"]);
        assert_eq!(objects(&[]), [""; 0]);
        fs::remove_dir_all(folder.path().join("net/ipv6")).expect("it is there");
        assert_eq!(
            objects(&[Family::Ipv6]),
            ["sysctl net.ipv6.conf.all.forwarding"]
        );
    }
}
