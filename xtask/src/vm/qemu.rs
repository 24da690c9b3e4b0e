//! A virtual machine from its start to the tests' exit status, with the guest's console as ours.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kernel::KernelPackage;

/// How long a guest may take to its first word: a KVM that is there may still not run one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// How long a guest on KVM may take until it is ready: it may also get stuck on the way.
const READY_ON_KVM: Duration = Duration::from_secs(60);
/// For the whole run, emulated; a guest that hangs ends here.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Without what is slow to emulate: copies of a byte at a time, and a fifth level of page tables.
const EMULATED_CPU: &str = "max,-erms,-la57";

/// By how much an emulated machine's tests are slower than this machine's.
const EMULATED_PATIENCE: u32 = 20;

const READY: &str = "vm: ready";
const STATUS: &str = "vm: status ";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accelerator {
    Kvm,
    Emulation,
}

/// Boots the image and runs the tests.
///
/// # Errors
/// When they fail, or the guest does not come to an end.
pub(crate) fn test(
    qemu: &Path,
    image: &KernelPackage,
    initramfs: &Path,
    args: &[OsString],
) -> Result<()> {
    println!("vm: booting Linux {}", image.release);
    if Path::new("/dev/kvm").exists() {
        match boot(qemu, image, initramfs, args, Accelerator::Kvm)?.follow()? {
            Some(status) => return judge(status),
            None => println!(
                "vm: KVM does not run a guest here; emulating, which is some 20 times slower"
            ),
        }
    } else {
        println!("vm: there is no /dev/kvm here; emulating, which is some 20 times slower");
    }
    match boot(qemu, image, initramfs, args, Accelerator::Emulation)?.follow()? {
        Some(status) => judge(status),
        None => bail!("the guest has said nothing for {SIGN_OF_LIFE:?}"),
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
    image: &KernelPackage,
    initramfs: &Path,
    args: &[OsString],
    accelerator: Accelerator,
) -> Result<Guest> {
    let mut command = Command::new(program);
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
        Accelerator::Emulation => ["-accel", "tcg,thread=multi", "-cpu", EMULATED_CPU],
    });
    command.arg("-kernel").arg(image.boot());
    command.arg("-initrd").arg(initramfs);
    command.arg("-append").arg(command_line(args, accelerator)?);
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

/// Variables with a value go to the first process's environment; what is after `--` are its arguments.
fn command_line(args: &[OsString], accelerator: Accelerator) -> Result<String> {
    let mut words = vec!["console=ttyS0", "earlyprintk=ttyS0", "panic=-1"];
    let patience = format!("SOCKLB_TEST_PATIENCE={EMULATED_PATIENCE}");
    if accelerator == Accelerator::Emulation {
        words.push(&patience);
        // An emulated CPU leaks nothing that they would keep, and jumps all the more slowly for them.
        words.push("mitigations=off");
    }
    words.push("--");
    for arg in args {
        match arg.to_str() {
            Some(word) if !word.contains(char::is_whitespace) => words.push(word),
            _ => bail!(
                "{}: a guest's arguments are words without spaces",
                arg.display()
            ),
        }
    }
    Ok(words.join(" "))
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
    /// Shows what the guest says from its being ready on, and all when it never is. Gives the tests' exit status, or
    /// nothing when the guest shows no sign of life.
    fn follow(self) -> Result<Option<i32>> {
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
                    bail!("the guest has not come to its end within {LONGEST:?}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "the guest has ended before the tests; it said:\n{}",
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
                println!("{line}");
            } else {
                boot.push(line);
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
