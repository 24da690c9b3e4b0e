//! Flags for what kube-proxy does besides balancing, with its names where it has one.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::values::idle_time;
use crate::duties::DutySettings;
use crate::duties::sysctls::ConntrackSettings;

/// The kernel stores these as signed numbers.
const MOST: i64 = i32::MAX as i64;

#[derive(Clone, Debug, Args)]
pub struct DutyArgs {
    /// Answer /healthz and /livez as kube-proxy does, for cloud load balancers, on this address, such as 0.0.0.0:10256. 0.0.0.0
    /// and [::] mean all addresses of both families [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub healthz: Option<SocketAddr>,

    /// Set the number of connections that conntrack remembers (nf_conntrack_max) to this for each CPU, but at least to
    /// --conntrack-min and at most to 1048576. 0 leaves it as it is. kube-proxy's default is 32768 [default: check it only].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=MOST))]
    pub conntrack_max_per_core: Option<u32>,

    /// The least value for --conntrack-max-per-core to set [default: 131072].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=MOST))]
    pub conntrack_min: Option<u32>,

    /// Set how long conntrack remembers an idle TCP connection, such as 24h, which is kube-proxy's default. 0 leaves it as it is
    /// [default: check it only].
    #[arg(long, value_name = "DURATION", value_parser = idle_time)]
    pub conntrack_tcp_timeout_established: Option<Duration>,

    /// Set how long conntrack remembers a TCP connection that one side has closed, such as 1h, which is kube-proxy's default. 0
    /// leaves it as it is [default: check it only].
    #[arg(long, value_name = "DURATION", value_parser = idle_time)]
    pub conntrack_tcp_timeout_close_wait: Option<Duration>,
}

impl DutyArgs {
    #[must_use]
    pub const fn settings(&self) -> DutySettings {
        DutySettings {
            healthz: self.healthz,
            conntrack: ConntrackSettings {
                max_per_core: self.conntrack_max_per_core,
                min: self.conntrack_min,
                tcp_timeout_established: self.conntrack_tcp_timeout_established,
                tcp_timeout_close_wait: self.conntrack_tcp_timeout_close_wait,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        duties: DutyArgs,
    }

    fn settings(flags: &[&str]) -> Result<DutySettings, String> {
        let arguments = ["lb-agent"].iter().chain(flags);
        let parsed = Alone::try_parse_from(arguments).map_err(|error| error.to_string())?;
        Ok(parsed.duties.settings())
    }

    #[test]
    fn values_of_kube_proxys_command_line_are_understood() {
        assert_eq!(settings(&[]), Ok(DutySettings::default()));
        let given = settings(&[
            "--healthz=0.0.0.0:10256",
            "--conntrack-max-per-core=32768",
            "--conntrack-min=131072",
            "--conntrack-tcp-timeout-established=24h0m0s",
            "--conntrack-tcp-timeout-close-wait=0",
        ]);
        let hours = |n: u64| Some(Duration::from_secs(n * 3600));
        let expected = DutySettings {
            healthz: Some(([0, 0, 0, 0], 10256).into()),
            conntrack: ConntrackSettings {
                max_per_core: Some(32_768),
                min: Some(131_072),
                tcp_timeout_established: hours(24),
                tcp_timeout_close_wait: hours(0),
            },
        };
        assert_eq!(given, Ok(expected));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_refused() {
        for flag in [
            "--healthz=10256",
            "--conntrack-max-per-core=-1",
            "--conntrack-min=2147483648",
            "--conntrack-tcp-timeout-established=500ms",
            "--conntrack-tcp-timeout-established=-1h",
            "--conntrack-tcp-timeout-close-wait=60",
        ] {
            let (name, _) = flag.split_once('=').expect("a value");
            let error = settings(&[flag]).expect_err(flag);
            assert!(error.contains(name), "{error}");
        }
    }
}
