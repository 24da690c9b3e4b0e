//! Runs a virtual machine until the tests' exit status, and prints the guest's console.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kernel::KernelPackage;
use crate::arch::Arch;
use crate::failures::Failures;

/// Longest time until the guest's first output: KVM may exist and still not run a guest.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// Longest time until a guest on KVM is ready: it may hang while it boots.
const READY_ON_KVM: Duration = Duration::from_secs(60);
/// Longest time of a run, also emulated.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Without features that are slow in emulation: byte-wise copies and five-level page tables; pointer authentication with a real cipher, and
/// vectors of any length.
fn emulated_cpu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "max,-erms,-la57",
        Arch::Aarch64 => "max,pauth-impdef=on,sve=off",
    }
}

/// The kernel's names of the console and of the console during its start.
fn consoles(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::X86_64 => ["console=ttyS0", "earlyprintk=ttyS0"],
        Arch::Aarch64 => ["console=ttyAMA0", "earlycon"],
    }
}

/// How many times slower the tests are on an emulated machine.
const EMULATED_PATIENCE: u32 = 20;

const READY: &str = "vm: ready";
const STATUS: &str = "vm: status ";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accelerator {
    Kvm,
    Emulation,
}

/// Boots the kernel and runs the tests.
///
/// # Errors
/// If they fail, or the guest does not end.
pub(crate) fn test(
    qemu: &Path,
    arch: Arch,
    image: &KernelPackage,
    initramfs: &Path,
    failures: &mut Failures,
) -> Result<()> {
    println!("vm: booting Linux {} on {arch}", image.release);
    let boot = |accelerator| boot(qemu, arch, image, initramfs, accelerator);
    if arch != Arch::host()? {
        println!("vm: emulating {arch}, which is about 20 times slower");
    } else if Path::new("/dev/kvm").exists() {
        match boot(Accelerator::Kvm)?.follow(failures)? {
            Some(status) => return judge(status),
            None => println!(
                "vm: KVM cannot run a guest on this machine; emulating, which is about 20 times slower"
            ),
        }
    } else {
        println!("vm: this machine has no /dev/kvm; emulating, which is about 20 times slower");
    }
    match boot(Accelerator::Emulation)?.follow(failures)? {
        Some(status) => judge(status),
        None => bail!("the guest has printed nothing for {SIGN_OF_LIFE:?}"),
    }
}

fn judge(status: i32) -> Result<()> {
    if status != 0 {
        bail!("the tests failed in the guest (exit status {status})");
    }
    Ok(())
}

struct Guest {
    qemu: Child,
    lines: Receiver<String>,
    accelerator: Accelerator,
}

fn boot(
    program: &Path,
    arch: Arch,
    image: &KernelPackage,
    initramfs: &Path,
    accelerator: Accelerator,
) -> Result<Guest> {
    let mut command = Command::new(program);
    if arch == Arch::Aarch64 {
        command.args(["-machine", "virt"]);
    }
    command.args([
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    command.args(["-smp", "2", "-m", "2G", "-serial", "stdio"]);
    command.args(match accelerator {
        Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accelerator::Emulation => ["-accel", "tcg,thread=multi", "-cpu", emulated_cpu(arch)],
    });
    command.arg("-kernel").arg(image.boot());
    command.arg("-initrd").arg(initramfs);
    command.arg("-append").arg(command_line(arch, accelerator));
    let mut qemu = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let console = qemu.stdout.take().context("qemu has no console")?;
    Ok(Guest {
        qemu,
        lines: lines_of(console),
        accelerator,
    })
}

/// Variables with a value become the init process's environment.
fn command_line(arch: Arch, accelerator: Accelerator) -> String {
    let mut words = consoles(arch).to_vec();
    words.push("panic=-1");
    let patience = format!("SOCKLB_TEST_PATIENCE={EMULATED_PATIENCE}");
    if accelerator == Accelerator::Emulation {
        words.push(&patience);
        // An emulated CPU has no such leaks, and mitigations slow it down.
        words.push("mitigations=off");
    }
    words.join(" ")
}

fn lines_of(console: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

impl Guest {
    /// Prints the guest's output from the moment at which it is ready, or everything if it never is. Returns the tests' exit status, or
    /// none if the guest does not start.
    fn follow(self, failures: &mut Failures) -> Result<Option<i32>> {
        let start = Instant::now();
        let mut boot = Vec::new();
        let mut ready = false;
        loop {
            let is_on_kvm = self.accelerator == Accelerator::Kvm;
            let limit = match (ready, boot.is_empty()) {
                (false, true) => SIGN_OF_LIFE,
                (false, false) if is_on_kvm => READY_ON_KVM,
                _ => LONGEST,
            };
            let left = limit.saturating_sub(start.elapsed());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(_) if !ready && (boot.is_empty() || is_on_kvm) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest has not ended within {LONGEST:?}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "the guest ended before the tests; its output:\n{}",
                    boot.join("\n")
                ),
            };
            if let Some(status) = line.strip_prefix(STATUS) {
                return status.parse().map(Some).context("the guest's exit status");
            }
            if line.ends_with(READY) {
                ready = true;
                println!("vm: ready after {:.0} s", start.elapsed().as_secs_f64());
            } else if ready {
                failures.print(&line);
            } else {
                boot.push(line);
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
