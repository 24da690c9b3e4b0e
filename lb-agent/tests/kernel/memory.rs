//! A memory limit below the size of the tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Sandbox, sandboxed};

/// A cgroup with a memory limit; removed on drop.
pub struct Limited(PathBuf);

impl Limited {
    pub fn new(sandbox: &Sandbox, bytes: u64) -> Result<Self> {
        let name = format!("socklb-memory-{}", std::process::id());
        let (parent, file) = match version_1()? {
            Some(parent) => (parent, "memory.limit_in_bytes"),
            None => {
                let parent = sandbox.cgroup().parent().context("it is not the root")?;
                // Enables the controller for its children.
                fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
                (parent.to_owned(), "memory.max")
            }
        };
        let limited = Self(parent.join(name));
        fs::create_dir(&limited.0)?;
        fs::write(limited.0.join(file), bytes.to_string())?;
        Ok(limited)
    }

    /// Charges this process's allocations to it.
    pub fn enter(&self, process: u32) -> Result<()> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.to_string())?)
    }

    /// Puts the process back where it was. What it has allocated stays charged.
    pub fn leave(&self, sandbox: &Sandbox, process: u32) -> Result<()> {
        let to = match version_1()? {
            Some(_) => self.0.parent().context("it is not the root")?,
            None => sandbox.cgroup(),
        };
        Ok(fs::write(to.join("cgroup.procs"), process.to_string())?)
    }

    /// The kernel memory that is charged to it, in bytes.
    pub fn kernel_memory(&self) -> Result<u64> {
        let text = match version_1()? {
            Some(_) => fs::read_to_string(self.0.join("memory.kmem.usage_in_bytes"))?,
            None => {
                let stat = fs::read_to_string(self.0.join("memory.stat"))?;
                let mut lines = stat.lines();
                let kernel = lines.find_map(|line| line.strip_prefix("kernel "));
                kernel
                    .context("no kernel memory in memory.stat")?
                    .to_owned()
            }
        };
        Ok(text.trim().parse()?)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// This process's cgroup in the memory hierarchy of cgroup v1, if there is one: cgroup2 then has no such controller.
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
fn an_agent_reports_its_tables_memory_and_its_limit() {
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
