//! An agent makes way for another of another version, and that one for the first, again and again.
//!
//! What differs is what a release changes for as long as the layout of the tables stays: the programs. There is no release
//! yet that could be the other one, so it is the same binary with `--bpf-log info`, of whose programs the kernel keeps more.
//! A release whose agent reads or writes the tables in another way is not what this stands for.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use lb_testbed::{Agent, AgentProcess, sandboxed_within};

use super::{Load, rounds};

const SWAPS: u32 = 40;

/// What is attached where, by hook.
#[derive(Debug)]
struct Attached(BTreeMap<String, Hook>);

#[derive(Debug)]
struct Hook {
    link: u32,
    program: u32,
    /// In bytes, once the kernel has left out what can't be reached.
    size: u32,
}

impl Attached {
    fn of(agent: &Agent) -> Result<Self> {
        let programs = loaded_programs().filter_map(Result::ok);
        let sizes: BTreeMap<u32, u32> = programs
            .filter_map(|program| Some((program.id(), program.size_translated()?)))
            .collect();
        let mut hooks = BTreeMap::new();
        for pin in fs::read_dir(agent.pin_dir().join("links"))? {
            let pin = pin?.path();
            let name = pin.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = name.strip_prefix("link_") else {
                continue;
            };
            let info = FdLink::from(PinnedLink::from_pin(&pin)?).info()?;
            let program = info.program_id();
            let hook = Hook {
                link: info.id(),
                program,
                size: *sizes.get(&program).context("the program is not loaded")?,
            };
            hooks.insert(name.to_owned(), hook);
        }
        ensure!(hooks.len() == 9, "{hooks:?}");
        Ok(Self(hooks))
    }

    /// The links stay; in each is a program of another version.
    fn check_swapped(&self, before: &Self) -> Result<()> {
        for (name, hook) in &self.0 {
            let before = before.0.get(name).context("no such hook before")?;
            let is_swapped = hook.link == before.link && hook.program != before.program;
            ensure!(is_swapped, "{name}: {before:?}, then {hook:?}");
        }
        let [now, before] = [self, before].map(|attached| {
            let sizes = attached.0.values().map(|hook| hook.size);
            sizes.collect::<Vec<_>>()
        });
        ensure!(now != before, "the same programs: {now:?} bytes");
        Ok(())
    }
}

#[test]
fn no_request_fails_while_agents_of_two_versions_take_turns() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let mut load = Load::start(sandbox)?;
        let old = load.cluster.agent.clone();
        let new = old.clone().arg("--bpf-log").arg("info");
        let mut attached = Attached::of(&old)?;
        for swap in 0..rounds(SWAPS)? {
            let next = if swap % 2 == 0 { &new } else { &old };
            if load.random.bool() {
                load.lives.end(|agent| {
                    let status = agent.terminate()?;
                    ensure!(status.success(), "{status}");
                    Ok(())
                })?;
            } else {
                load.lives.end(AgentProcess::kill)?;
            }
            load.lives.begin(next)?;
            if load.random.u8(..3) == 0 {
                // It ends too, perhaps while programs of both versions are in place.
                let moment = load.moment();
                load.lives.live(moment)?;
                load.lives.end(AgentProcess::kill)?;
                load.lives.begin(next)?;
            }
            load.lives.wait_ready()?;
            let now = Attached::of(next)?;
            now.check_swapped(&attached)?;
            attached = now;
        }
        load.finish()
    });
}
