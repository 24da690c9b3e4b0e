//! SIGKILL, two hundred times.

use std::time::Duration;

use lb_testbed::{AgentProcess, sandboxed_within};

use super::{Load, rounds};

const KILLS: u32 = 200;

#[test]
fn no_request_fails_while_the_agent_is_killed_two_hundred_times() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let mut load = Load::start(sandbox)?;
        for _ in 0..rounds(KILLS)? {
            let moment = load.moment();
            load.lives.live(moment)?;
            load.lives.end(AgentProcess::kill)?;
            load.lives.begin(&load.cluster.agent)?;
        }
        load.finish()
    });
}
