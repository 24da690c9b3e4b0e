//! A memory limit that the tables do not fit into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Sandbox, sandboxed};

/// A cgroup with a memory limit; removed when this goes.
struct Limited(PathBuf);

impl Limited {
    fn new(sandbox: &Sandbox, bytes: u64) -> Result<Self> {
        let name = format!("socklb-memory-{}", std::process::id());
        let (parent, file) = match version_1()? {
            Some(parent) => (parent, "memory.limit_in_bytes"),
            None => {
                let parent = sandbox.cgroup().parent().context("it is not the root")?;
                // Its children have the controller then, if they had not.
                fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
                (parent.to_owned(), "memory.max")
            }
        };
        let limited = Self(parent.join(name));
        fs::create_dir(&limited.0)?;
        fs::write(limited.0.join(file), bytes.to_string())?;
        Ok(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// This process's cgroup in the hierarchy of version 1 for memory, where there is one: cgroup2 has no such controller then.
fn version_1() -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of_memory = |line: &&str| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[2] == "cgroup" && fields[3].split(',').any(|option| option == "memory")
    };
    let Some(line) = mounts.lines().find(of_memory) else {
        return Ok(None);
    };
    let root = Path::new(line.split(' ').nth(1).unwrap_or_default());
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let own = cgroups.lines().find_map(|line| line.split_once(":memory:"));
    let (_, own) = own.context("no cgroup of its own")?;
    Ok(Some(root.join(own.trim_start_matches('/'))))
}

#[test]
fn an_agent_says_what_its_tables_need_and_what_it_may_have() {
    sandboxed(|sandbox| {
        const MIB: u64 = 1 << 20;
        let limited = Limited::new(sandbox, 200 * MIB)?;
        let run = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
        let output = Command::new("sh")
            .arg("-c")
            .arg(run)
            .arg(&limited.0)
            .arg(env!("CARGO_BIN_EXE_lb-agent"))
            .args(["run", "--max-endpoints", "4000000", "--manifests"])
            .arg(sandbox.manifests()?.folder())
            .arg("--socket")
            .arg(sandbox.dir().join("limited.sock"))
            .arg("--cgroup")
            .arg(sandbox.cgroup())
            .arg("--pin-dir")
            .arg(sandbox.bpffs().join("limited"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        let line = said.lines().last().unwrap_or_default();
        let file = limited.0.join("memory.");
        for part in ["200 MiB", &file.to_string_lossy(), "--max-endpoints"] {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
        Ok(())
    });
}
