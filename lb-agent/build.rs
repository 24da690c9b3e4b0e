//! Hands the kernel programs' object to the agent, which embeds it: one file to ship.
//!
//! `cargo xtask build` makes the object. Without it the agent still compiles, for editors, lints and unit tests.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

const OBJECT: &str = "SOCKLB_BPF_OBJECT";
const SOURCES: [&str; 2] = ["../lb-ebpf/src", "../lb-common/src"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    println!("cargo::rerun-if-env-changed={OBJECT}");
    for sources in SOURCES {
        println!("cargo::rerun-if-changed={sources}");
    }
    let named = env::var_os(OBJECT).map(PathBuf::from);
    let bytes = match named.or_else(|| built_by_xtask(&out)) {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            let bytes =
                fs::read(&object).map_err(|error| format!("{}: {error}", object.display()))?;
            warn_if_stale(&object)?;
            bytes
        }
        None => {
            // Never there, so that the next build looks again.
            println!(
                "cargo::rerun-if-changed={}",
                out.join("no-object").display()
            );
            println!("cargo::warning=no kernel programs are embedded: run `cargo xtask build`");
            Vec::new()
        }
    };
    fs::write(out.join("lb-ebpf.o"), bytes)?;
    Ok(())
}

fn built_by_xtask(out: &Path) -> Option<PathBuf> {
    let object = match env::var_os("CARGO_FEATURE_NEXT_LAYOUT") {
        Some(_) => "bpf/lb-ebpf-next-layout.o",
        None => "bpf/lb-ebpf.o",
    };
    let mut places = out.ancestors().map(|folder| folder.join(object));
    places.find(|object| object.is_file())
}

fn warn_if_stale(object: &Path) -> io::Result<()> {
    let made = changed(object)?;
    for sources in SOURCES {
        if made < changed(Path::new(sources))? {
            println!(
                "cargo::warning=the kernel programs are older than {sources}: run `cargo xtask build`"
            );
        }
    }
    Ok(())
}

/// The newest change of a file, or of any inside a folder.
fn changed(path: &Path) -> io::Result<SystemTime> {
    if !path.is_dir() {
        return fs::metadata(path)?.modified();
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        newest = newest.max(changed(&entry?.path())?);
    }
    Ok(newest)
}
