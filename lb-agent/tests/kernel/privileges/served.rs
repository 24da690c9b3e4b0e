//! Which users can send requests to the agent, and how many.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::ensure;
use lb_testbed::sandboxed;
use nix::unistd::{Uid, setfsuid};

use super::NOBODY;
use crate::support::agent;

#[test]
fn only_root_can_use_the_status_socket() {
    sandboxed(|sandbox| {
        // A folder that any user may enter, and one below it that the agent creates.
        fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o755))?;
        let folder = sandbox.dir().join("run");
        let agent = agent(sandbox, &sandbox.manifests()?).at_socket(folder.join("agent.sock"));
        let _running = agent.start()?;
        for (path, mode) in [(folder.as_path(), 0o755), (agent.socket(), 0o600)] {
            let found = fs::metadata(path)?;
            assert_eq!((found.uid(), found.mode() & 0o7777), (0, mode), "{path:?}");
        }
        UnixStream::connect(agent.socket())?;
        let refused = thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                // For this thread only; the capabilities by which root bypasses permissions are dropped too (capabilities(7)).
                setfsuid(Uid::from_raw(NOBODY));
                fs::metadata(agent.socket()).expect("the folder may be passed");
                UnixStream::connect(agent.socket())
            });
            connecting.join().expect("it does not panic")
        });
        let refused = refused.expect_err("only root may connect");
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "{refused}");
        Ok(())
    });
}

/// Every process in the node's network namespace reaches the metrics' address.
#[test]
fn idle_connections_leave_room_for_others() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        let running = agent.arg("--http").arg("127.0.0.1:10356").start()?;
        let connect = || TcpStream::connect("127.0.0.1:10356");
        let mut idle = (0..300)
            .map(|_| connect())
            .collect::<io::Result<Vec<_>>>()?;
        let files = fs::read_dir(format!("/proc/{}/fd", running.id()))?.count();
        ensure!(files < 200, "{files} open files");
        let mut asking = connect()?;
        asking.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")?;
        let mut answer = String::new();
        asking.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        // The server closes those connections.
        ensure!(idle[0].read(&mut [0; 512]).is_ok());
        Ok(())
    });
}
