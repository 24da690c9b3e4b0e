//! An agent hands over to one of another version, and that one back to the first, repeatedly.
//!
//! The difference is the one that a release makes while the layout of the tables stays: the programs. No other release exists
//! yet, so the same binary runs with `--bpf-log info`, with which the kernel keeps more of the programs. This does not cover a
//! release whose agent reads or writes the tables in another way.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use lb_testbed::{Agent, AgentProcess, sandboxed_within};

use super::{Load, rounds};

const SWAPS: u32 = 40;

/// The attached programs, by hook.
#[derive(Debug)]
struct Attached(BTreeMap<String, Hook>);

#[derive(Debug)]
struct Hook {
    link: u32,
    program: u32,
    /// In bytes, after the kernel has removed unreachable code.
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

    /// The links stay; each contains a program of another version.
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
fn no_request_fails_while_two_versions_alternate() {
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
                // It ends too, possibly while programs of both versions are attached.
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
