//! `cargo xtask release VERSION`: the first run writes the version and the changelog, to be committed. The second builds the commit.

mod changelog;
mod check;
mod crates;
mod git;
mod package;
mod prepare;
mod sbom;

use std::path::PathBuf;

use anyhow::Result;
pub(crate) use semver::Version;

pub(crate) use self::check::check;
use crate::workspace::Workspace;

/// Prepares a release, or builds it if it is prepared.
pub(crate) fn run(workspace: &Workspace, version: &Version) -> Result<()> {
    let repository = git::Repository::new(&workspace.root);
    repository.check_clean()?;
    repository.check_tag(version)?;
    if !prepare::is_prepared(workspace, version)? {
        let files = prepare::prepare(workspace, version)?;
        println!("The version is {version} now, in {}.", files.join(", "));
        println!(
            "Read the new section of CHANGELOG.md, then:\n  \
             git commit --all --message 'release {version}' && cargo xtask release {version}"
        );
        return Ok(());
    }
    let folder = folder(workspace, version);
    print!("{}", package::build(workspace, &folder)?);
    println!(
        "{} has the release {version}. To publish it:\n  \
         git tag --annotate v{version} --message 'socklb {version}'",
        folder.display()
    );
    Ok(())
}

fn folder(workspace: &Workspace, version: &Version) -> PathBuf {
    workspace.target.join("dist").join(version.to_string())
}
