//! Paths of this machine as they appear in what the compilers write. A release replaces them, so that it is the same from every folder.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// Folders and their replacements. rustc applies the last one that fits, gcc too.
fn prefixes(workspace: &Workspace) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("no home folder with cargo's crates: set CARGO_HOME")?;
    Ok(vec![
        (workspace.root.clone(), "/socklb"),
        (workspace.target.clone(), "/socklb/target"),
        (cargo.join("registry/src"), "/cargo"),
    ])
}

/// Arguments for rustc.
pub(crate) fn rustc(workspace: &Workspace) -> Result<Vec<String>> {
    let prefixes = prefixes(workspace)?.into_iter();
    Ok(prefixes
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect())
}

/// Arguments for a C compiler.
pub(crate) fn c(workspace: &Workspace) -> Result<String> {
    let prefixes = prefixes(workspace)?.into_iter();
    let flags: Vec<String> = prefixes
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    Ok(flags.join(" "))
}
