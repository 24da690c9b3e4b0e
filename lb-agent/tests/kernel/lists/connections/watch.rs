//! `--watch` prints connections that begin, change and end.

use anyhow::Result;
use lb_testbed::sandboxed;
use serde_json::json;

use super::super::command::Watched;
use super::{Client, IPV4, Open, Scene};

#[test]
fn a_watch_prints_connections_that_begin_change_and_end() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let pin_dir = scene.agent.pin_dir().display().to_string();
        let args = [
            "connections",
            "--pin-dir",
            &pin_dir,
            "-o",
            "json",
            "--output-watch-events",
        ];
        let mut open = scene.client.enter(|| Client::udp(&scene, IPV4, false))??;
        let mut watched = Watched::start(&scene.agent, &args)?;
        let mut expect = |event: &str, of: u64, state: &str| -> Result<()> {
            let change = watched.value()?;
            let object = &change["object"];
            let found = [&change["type"], &object["cookie"], &object["state"]];
            assert_eq!(found, [&json!(event), &json!(of), &json!(state)]);
            Ok(())
        };
        for _ in 0..2 {
            let cookie = open.cookie()?;
            expect("ADDED", cookie, "UNCONNECTED")?;
            let Open::Udp(socket) = &open.open else {
                unreachable!("it is UDP")
            };
            socket.connect(open.frontend)?;
            expect("MODIFIED", cookie, "ESTABLISHED")?;
            drop(open);
            expect("DELETED", cookie, "ESTABLISHED")?;
            open = scene.client.enter(|| Client::udp(&scene, IPV4, false))??;
        }
        Ok(())
    });
}
