//! Which conntrack settings to change, by kube-proxy's rules (pkg/proxy/conntrack/sysctls.go).

use std::collections::BTreeMap;
use std::time::Duration;

use super::files::Values;
use super::{Sysctl, SysctlFiles};
use crate::catalog::Problem;

// The defaults of kube-proxy (pkg/proxy/apis/config/v1alpha1/defaults.go).
const MAX_PER_CORE: u32 = 32 * 1024;
const MIN: u32 = 128 * 1024;
const TCP_TIMEOUT_ESTABLISHED: Duration = Duration::from_secs(24 * 60 * 60);
const TCP_TIMEOUT_CLOSE_WAIT: Duration = Duration::from_secs(60 * 60);

/// The limit of what `--conntrack-max-per-core` yields: machines with hundreds of CPUs need no more
/// (kubernetes/kubernetes#137002).
const MOST: u64 = 1024 * 1024;

/// The flags `--conntrack-…`. 0 leaves a setting as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackSettings {
    pub max_per_core: Option<u32>,
    /// Has no effect if `max_per_core` is 0.
    pub min: Option<u32>,
    pub tcp_timeout_established: Option<Duration>,
    pub tcp_timeout_close_wait: Option<Duration>,
}

/// The settings to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of writing.
    pub stores: Vec<Store>,
    /// What kube-proxy would set.
    pub expected: Vec<(Sysctl, u64)>,
    /// The settings that are unreadable, by the reason.
    unreadable: BTreeMap<String, Vec<Sysctl>>,
}

/// A setting to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    pub sysctl: Sysctl,
    pub before: u64,
    pub value: u64,
}

impl Plan {
    pub(super) fn new(settings: &ConntrackSettings, cpus: u32, read: &Values) -> Self {
        let mut plan = Self::default();
        let is_given = settings.max_per_core.or(settings.min).is_some();
        if let Some(max) = max(settings, cpus) {
            plan.expect(Sysctl::ConntrackMax, max, is_given, read);
            let buckets = max / 4;
            let is_short =
                matches!(read.get(&Sysctl::ConntrackBuckets), Some(Ok(n)) if *n < buckets);
            if is_given && is_short {
                plan.set(Sysctl::ConntrackBuckets, buckets, read);
            }
        }
        for (sysctl, given, default) in [
            (
                Sysctl::TcpTimeoutEstablished,
                settings.tcp_timeout_established,
                TCP_TIMEOUT_ESTABLISHED,
            ),
            (
                Sysctl::TcpTimeoutCloseWait,
                settings.tcp_timeout_close_wait,
                TCP_TIMEOUT_CLOSE_WAIT,
            ),
        ] {
            let seconds = given.unwrap_or(default).as_secs();
            if seconds > 0 {
                plan.expect(sysctl, seconds, given.is_some(), read);
            }
        }
        plan
    }

    fn expect(&mut self, sysctl: Sysctl, value: u64, is_given: bool, read: &Values) {
        self.expected.push((sysctl, value));
        if is_given {
            return self.set(sysctl, value, read);
        }
        match read.get(&sysctl) {
            Some(Ok(is)) if *is != value => tracing::info!(
                event = "sysctls.differs",
                sysctl = %sysctl,
                value = is,
                kube_proxy = value,
                "a conntrack setting is not what kube-proxy sets; it stays, since no flag asks for a change",
            ),
            Some(Err(error)) => self.cannot_read(sysctl, error),
            _ => {}
        }
    }

    fn set(&mut self, sysctl: Sysctl, value: u64, read: &Values) {
        match read.get(&sysctl) {
            Some(Ok(before)) if *before != value => self.stores.push(Store {
                sysctl,
                before: *before,
                value,
            }),
            Some(Err(error)) => self.cannot_read(sysctl, error),
            _ => {}
        }
    }

    fn cannot_read(&mut self, sysctl: Sysctl, error: &str) {
        let of_error = self.unreadable.entry(error.to_owned()).or_default();
        of_error.push(sysctl);
    }

    /// Writes, and returns what could not be read or written: one problem for each reason.
    pub(super) fn carry_out(&self, files: &SysctlFiles) -> Vec<Problem> {
        let unreadable = self.unreadable.iter().map(|(error, sysctls)| {
            let names: Vec<String> = sysctls.iter().map(ToString::to_string).collect();
            problem(format!(
                "cannot read {}: {error}; load the kernel module nf_conntrack",
                names.join(", ")
            ))
        });
        let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Store {
            sysctl,
            before,
            value,
        } in &self.stores
        {
            match files.write(*sysctl, *value) {
                Ok(()) => tracing::info!(
                    event = "sysctls.set",
                    sysctl = %sysctl,
                    before,
                    value,
                    "changed a conntrack setting, as a flag asks",
                ),
                Err(error) => refused
                    .entry(error.to_string())
                    .or_default()
                    .push(format!("{sysctl} to {value}")),
            }
        }
        let refused = refused.into_iter().map(|(error, settings)| {
            problem(format!(
                "cannot set {}: {error}; set it on the node with sysctl(8) and leave the flag out, or give the agent a writable /proc/sys",
                settings.join(", ")
            ))
        });
        unreadable.chain(refused).collect()
    }
}

/// None: leave it as it is.
fn max(settings: &ConntrackSettings, cpus: u32) -> Option<u64> {
    let per_core = settings.max_per_core.unwrap_or(MAX_PER_CORE);
    if per_core == 0 {
        return None;
    }
    let scaled = u64::from(per_core) * u64::from(cpus);
    let min = u64::from(settings.min.unwrap_or(MIN));
    Some(scaled.min(MOST).max(min))
}

fn problem(message: String) -> Problem {
    Problem {
        object: "conntrack".to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ConntrackSettings = ConntrackSettings {
        max_per_core: None,
        min: None,
        tcp_timeout_established: None,
        tcp_timeout_close_wait: None,
    };

    fn values(max: u64, buckets: u64, established: u64, close_wait: u64) -> Values {
        let values = [
            (Sysctl::ConntrackMax, max),
            (Sysctl::ConntrackBuckets, buckets),
            (Sysctl::TcpTimeoutEstablished, established),
            (Sysctl::TcpTimeoutCloseWait, close_wait),
        ];
        values.map(|(sysctl, value)| (sysctl, Ok(value))).into()
    }

    /// The stores on a node with 8 CPUs and the kernel's defaults.
    fn stores(settings: ConntrackSettings) -> Vec<(Sysctl, u64)> {
        let plan = Plan::new(&settings, 8, &values(65_536, 65_536, 432_000, 60));
        let stores = plan.stores.iter();
        stores.map(|store| (store.sysctl, store.value)).collect()
    }

    /// The cases of `TestGetConntrackMax` in kube-proxy's sysctls_test.go, and its limit.
    #[test]
    fn the_maximum_grows_with_the_cpus() {
        for (per_core, min, cpus, expected) in [
            (Some(67_890), Some(1), 8, Some(543_120)),
            (Some(1), Some(123_456), 8, Some(123_456)),
            (Some(0), Some(123_456), 8, None),
            (Some(0), None, 8, None),
            (None, None, 1, Some(131_072)),
            (None, None, 8, Some(262_144)),
            (None, None, 512, Some(1_048_576)),
            (None, Some(2_000_000), 512, Some(2_000_000)),
            (Some(u32::MAX), None, u32::MAX, Some(1_048_576)),
        ] {
            let settings = ConntrackSettings {
                max_per_core: per_core,
                min,
                ..NONE
            };
            assert_eq!(max(&settings, cpus), expected, "{settings:?} {cpus}");
        }
    }

    /// The cases of `TestSetupConntrack` there that are about these settings.
    #[test]
    fn only_what_is_given_is_set() {
        let with = |change: fn(&mut ConntrackSettings)| {
            let mut settings = NONE;
            change(&mut settings);
            settings
        };
        for (settings, expected) in [
            (NONE, vec![]),
            (
                with(|s| s.max_per_core = Some(12)),
                vec![(Sysctl::ConntrackMax, 131_072)],
            ),
            (with(|s| s.max_per_core = Some(0)), vec![]),
            (
                with(|s| s.tcp_timeout_established = Some(Duration::from_secs(5))),
                vec![(Sysctl::TcpTimeoutEstablished, 5)],
            ),
            (
                with(|s| s.tcp_timeout_established = Some(Duration::ZERO)),
                vec![],
            ),
            (
                with(|s| s.tcp_timeout_close_wait = Some(Duration::from_secs(5))),
                vec![(Sysctl::TcpTimeoutCloseWait, 5)],
            ),
            (
                with(|s| s.tcp_timeout_close_wait = Some(Duration::ZERO)),
                vec![],
            ),
            (
                with(|s| s.min = Some(400_000)),
                vec![
                    (Sysctl::ConntrackMax, 400_000),
                    (Sysctl::ConntrackBuckets, 100_000),
                ],
            ),
        ] {
            assert_eq!(stores(settings), expected, "{settings:?}");
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written() {
        let settings = ConntrackSettings {
            max_per_core: Some(32_768),
            tcp_timeout_established: Some(Duration::from_secs(7200)),
            ..NONE
        };
        let plan = Plan::new(&settings, 8, &values(262_144, 65_536, 7200, 60));
        assert_eq!(plan.stores, []);
        assert_eq!(
            plan.expected,
            [
                (Sysctl::ConntrackMax, 262_144),
                (Sysctl::TcpTimeoutEstablished, 7200),
                (Sysctl::TcpTimeoutCloseWait, 3600),
            ]
        );
    }
}
