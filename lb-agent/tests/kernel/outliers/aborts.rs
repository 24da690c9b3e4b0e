//! Connects that wait for a backend when it is ejected.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use anyhow::{Result, ensure};
use lb_testbed::{ServiceManifest, connect, sandboxed};

use super::{TO, Web, address, heal, service, silence};
use crate::support::status;

const CONNECTS: usize = 12;

/// Every third connect gets the first of three pods.
fn in_turn() -> ServiceManifest {
    service().annotation("socklb.dev/algorithm", "round-robin")
}

impl Web {
    /// A connection to the first pod.
    fn connected_to_first(&self) -> Result<TcpStream> {
        let name = self.pods[0].name();
        loop {
            let mut stream = self.client.enter(|| connect(TO))??;
            let mut greeting = vec![0; name.len()];
            stream.read_exact(&mut greeting)?;
            if greeting == name.as_bytes() {
                stream.read_exact(&mut [0])?;
                return Ok(stream);
            }
        }
    }

    /// Connects without a time limit, all at once, and calls `meanwhile`. Returns when all are over.
    fn connect_all<T: Send>(
        &mut self,
        meanwhile: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(Vec<io::Result<TcpStream>>, T)> {
        let client = self.client.clone();
        thread::scope(|scope| {
            let connects: Vec<_> = (0..CONNECTS)
                .map(|_| scope.spawn(|| client.enter(|| TcpStream::connect(TO))))
                .collect();
            let result = meanwhile(self)?;
            let results = connects.into_iter().map(|connect| {
                let joined = connect.join();
                joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            Ok((results.collect::<io::Result<_>>()?, result))
        })
    }
}

#[test]
fn hanging_connects_end_when_their_backend_is_ejected() {
    sandboxed(|sandbox| {
        let mut web = Web::start_with(sandbox, 3, &in_turn(), &["--abort-hanging"])?;
        let mut established = web.connected_to_first()?;
        silence(&web.pods[0])?;
        // Without the flag they would hang for longer than a test may take.
        let (results, event) = web.connect_all(|web| {
            web.running.wait_for_event("backend.ejected")?;
            web.running.wait_for_event("sockets.aborted")
        })?;
        assert_eq!(event.text("backend"), address(&web.pods[0]));
        let errors = results.iter().filter_map(|result| result.as_ref().err());
        let errors: Vec<_> = errors.map(io::Error::raw_os_error).collect();
        assert_eq!(errors, [Some(libc::ECONNABORTED); CONNECTS / 3]);
        let now = status(&web.agent)?.outlier_detection;
        assert_eq!((now.ejected, now.aborted), (1, 4));

        // A trial fails, and its connect does not hang either.
        let failed = web.connect_until("backend.trial_failed", 0)?;
        assert_eq!(failed.text("backend"), address(&web.pods[0]));
        web.running.wait_for_log("the trial is ended", |log| {
            let mut after = log
                .all()
                .skip_while(|event| event.name() != "backend.trial_failed");
            after
                .find(|event| event.name() == "sockets.aborted")
                .cloned()
        })?;

        heal(&web.pods[0])?;
        established.write_all(b"still here")?;
        let mut echo = [0; 10];
        established.read_exact(&mut echo)?;
        assert_eq!(&echo, b"still here");
        Ok(())
    });
}

#[test]
fn hanging_connects_wait_on_without_the_flag() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 3, &in_turn())?;
        silence(&web.pods[0])?;
        let (results, ()) = web.connect_all(|web| {
            web.running.wait_for_event("backend.ejected")?;
            heal(&web.pods[0])
        })?;
        ensure!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(status(&web.agent)?.outlier_detection.aborted, 0);
        Ok(())
    });
}
