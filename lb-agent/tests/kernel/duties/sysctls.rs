//! The settings of a real network namespace.

use std::time::Duration;

use lb_agent::catalog::Family;
use lb_agent::duties::sysctls::{
    ConntrackSettings, Sysctl, SysctlFiles, check_and_set, online_cpus,
};
use lb_testbed::sandboxed;

#[test]
fn time_outs_are_set_if_a_flag_asks_and_forwarding_is_checked() {
    sandboxed(|_| {
        let files = SysctlFiles::default();
        let before = files.read(Sysctl::TcpTimeoutCloseWait)?;
        let settings = ConntrackSettings {
            tcp_timeout_established: Some(Duration::from_secs(7200)),
            ..ConntrackSettings::default()
        };
        for (forwards, problems) in [(0, 2), (1, 0)] {
            files.write(Sysctl::Ipv4Forwarding, forwards)?;
            files.write(Sysctl::Ipv6Forwarding, forwards)?;
            let families = [Family::Ipv4, Family::Ipv6];
            let report = check_and_set(&files, &settings, online_cpus(), &families);
            assert_eq!(report.problems.len(), problems, "{:?}", report.problems);
        }
        assert_eq!(files.read(Sysctl::TcpTimeoutEstablished)?, 7200);
        assert_eq!(files.read(Sysctl::TcpTimeoutCloseWait)?, before);
        for liberal in [1, 0] {
            files.write(Sysctl::TcpBeLiberal, liberal)?;
            let report = check_and_set(&files, &ConntrackSettings::default(), 1, &[]);
            assert_eq!(report.tcp_be_liberal, liberal == 1);
        }
        Ok(())
    });
}

#[test]
fn a_value_that_the_kernel_refuses_is_a_problem() {
    sandboxed(|_| {
        let files = SysctlFiles::default();
        let before = files.read(Sysctl::TcpTimeoutEstablished)?;
        let settings = ConntrackSettings {
            // Above INT_MAX.
            tcp_timeout_established: Some(Duration::from_secs(1 << 40)),
            ..ConntrackSettings::default()
        };
        let report = check_and_set(&files, &settings, 1, &[]);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(files.read(Sysctl::TcpTimeoutEstablished)?, before);
        Ok(())
    });
}
