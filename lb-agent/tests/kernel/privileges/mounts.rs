//! Mounts of other users over the files that the agent reads.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use lb_testbed::sandboxed;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{Web, active, eventually, leave_entry};

/// A process in namespaces of its own may mount anything over its network namespace's file.
#[test]
fn a_mount_over_a_namespace_does_not_stop_the_sweep() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        drop(web.running);
        let other = sandbox.dir().join("other");
        fs::create_dir(&other)?;
        mkfifo(&other.join("fifo"), Mode::S_IRWXU)?;
        let over = [
            other.join("fifo"),
            "/proc/thread-self/ns/uts".into(),
            "/proc/version".into(),
        ];
        for (number, over) in over.iter().enumerate() {
            let place = other.join(format!("net-{number}"));
            fs::write(&place, "")?;
            for from in [Path::new("/proc/thread-self/ns/net"), over] {
                mount(
                    Some(from),
                    &place,
                    None::<&str>,
                    MsFlags::MS_BIND,
                    None::<&str>,
                )?;
            }
        }
        // It has the mounts of the thread that starts it.
        let agent = web.agent.arg("--sweep-interval").arg("1s");
        let running = agent.start()?;
        leave_entry(&agent, &web.client, Web::ADDRESS)?;
        eventually("the entry is swept", || Ok(active(&agent)? == 0))?;
        let log = running.log();
        ensure!(log.warnings().is_empty(), "{log}");
        Ok(())
    });
}
