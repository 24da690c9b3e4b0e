//! Pods are replaced: one by one, all at once, or with no pod for a while.

use anyhow::ensure;
use lb_testbed::api_server::Kind;
use lb_testbed::sandboxed;

use super::{BLUE, GREEN, Load, REQUESTS};

#[test]
fn no_request_fails_while_pods_are_replaced_one_by_one() {
    sandboxed(|sandbox| {
        let mut load = Load::start(sandbox)?;
        for _ in 0..2 {
            load.roll_out(BLUE, GREEN, |load, ready, ending| {
                load.change(ready, ending)
            })?;
            load.roll_out(GREEN, BLUE, |load, ready, ending| {
                load.change(ready, ending)
            })?;
        }
        load.finish(36 * REQUESTS)
    });
}

#[test]
fn requests_are_refused_only_while_there_are_no_pods() {
    sandboxed(|sandbox| {
        let mut load = Load::start(sandbox)?;
        for (old, new) in [(BLUE, GREEN), (GREEN, BLUE), (BLUE, BLUE)] {
            // Terminating pods answer as long as there are no others.
            load.change(&[], &old)?;
            load.change(&[], &[])?;
            load.stop_pods(&old);
            load.progress()?;
            load.start_pods(&new)?;
            load.change(&new, &[])?;
        }
        load.finish(12 * REQUESTS)
    });
}

#[test]
fn no_request_fails_while_all_pods_are_replaced_at_once() {
    sandboxed(|sandbox| {
        let mut load = Load::start(sandbox)?;
        for round in 0..8 {
            let (old, new) = match round % 2 {
                0 => (BLUE, GREEN),
                _ => (GREEN, BLUE),
            };
            load.start_pods(&new)?;
            if round < 4 {
                // The endpoints of each slice differ.
                load.write(&new, &[])?;
            } else {
                // The slices differ.
                let slices = [0, 1].map(|part| load.slice(part));
                load.slices = format!("web-{round}");
                load.write(&new, &[])?;
                for slice in slices {
                    let server = &load.cluster.server;
                    ensure!(server.delete(Kind::EndpointSlice, "default", &slice));
                }
            }
            load.settle(&new, &[])?;
            load.stop_pods(&old);
        }
        load.finish(8 * REQUESTS)
    });
}
