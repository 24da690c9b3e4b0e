//! Which users can change what the programs read.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};

use anyhow::{Result, ensure};
use lb_testbed::sandboxed;

use super::NOBODY;
use crate::support::agent;

#[test]
fn pins_are_not_writable_by_others() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        let refused = |reason: &str| -> Result<()> {
            let mut running = agent.spawn()?;
            ensure!(!running.wait()?.success());
            let log = running.log();
            let line = log.failure();
            for part in [&*agent.pin_dir().to_string_lossy(), reason, "--pin-dir"] {
                ensure!(line.contains(part), "{part} is not in:\n{log}");
            }
            Ok(())
        };
        // As any user can do if the BPF file system was mounted without options.
        fs::create_dir(agent.pin_dir())?;
        chown(agent.pin_dir(), Some(NOBODY), Some(NOBODY))?;
        refused("user 65534")?;
        ensure!(agent.unload().is_err(), "pins of another user");
        fs::remove_dir(agent.pin_dir())?;
        symlink(sandbox.bpffs(), agent.pin_dir())?;
        lchown(agent.pin_dir(), Some(NOBODY), Some(NOBODY))?;
        refused("user 65534")?;
        fs::remove_file(agent.pin_dir())?;
        fs::create_dir(agent.pin_dir())?;
        fs::set_permissions(agent.pin_dir(), fs::Permissions::from_mode(0o777))?;
        refused("`chmod go-w` it")?;
        fs::remove_dir(agent.pin_dir())?;

        let _running = agent.start()?;
        let mut files = 0;
        for room in ["tables-v1", "origins-v1", "links"] {
            let room = agent.pin_dir().join(room);
            assert_eq!(fs::metadata(&room)?.mode() & 0o777, 0o700, "{room:?}");
            for pin in fs::read_dir(&room)? {
                let pin = pin?;
                assert_eq!(pin.metadata()?.mode() & 0o777, 0o600, "{pin:?}");
                files += 1;
            }
        }
        ensure!(files > 20, "{files} pins cannot be all");
        Ok(())
    });
}
