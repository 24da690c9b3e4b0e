//! What a release needs to know of the repository.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use semver::Version;

use crate::process;

#[derive(Debug)]
pub(super) struct Repository<'a> {
    root: &'a Path,
}

impl<'a> Repository<'a> {
    pub(super) const fn new(root: &'a Path) -> Self {
        Self { root }
    }

    /// # Errors
    /// If a file differs from the commit, or is in no commit.
    pub(super) fn check_clean(&self) -> Result<()> {
        let changes = self.ask(&["status", "--porcelain"])?;
        if !changes.is_empty() {
            bail!("cannot release a working tree with changes: commit or stash them:\n{changes}");
        }
        Ok(())
    }

    /// # Errors
    /// If the version's tag names another commit.
    pub(super) fn check_tag(&self, version: &Version) -> Result<()> {
        let name = format!("refs/tags/v{version}");
        let tags = self.ask(&["for-each-ref", "--format=%(refname)", &name])?;
        if tags.is_empty() {
            return Ok(());
        }
        let tagged = self.ask(&["rev-parse", &format!("{name}^{{commit}}")])?;
        if tagged != self.commit()? {
            bail!(
                "cannot release {version}: it was released from {tagged}, by the tag v{version}; choose a later version"
            );
        }
        Ok(())
    }

    /// The present commit.
    pub(super) fn commit(&self) -> Result<String> {
        self.ask(&["rev-parse", "HEAD"])
    }

    /// When the commit was made, in seconds since 1970.
    pub(super) fn time(&self) -> Result<u64> {
        let time = self.ask(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
        time.parse()
            .with_context(|| format!("git: not a time: {time}"))
    }

    /// The same as `2026-01-31T12:00:00Z`.
    pub(super) fn date(&self) -> Result<String> {
        let mut git = self.git();
        git.env("TZ", "UTC");
        git.args(["show", "--no-patch", "--format=%cd"]);
        let date = process::output(git.args(["--date=format-local:%Y-%m-%dT%H:%M:%SZ", "HEAD"]))?;
        Ok(date.trim().to_owned())
    }

    /// Clones the repository, with the files of a commit.
    pub(super) fn clone_to(&self, folder: &Path, commit: &str) -> Result<()> {
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--no-checkout"]);
        process::run(git.arg(self.root).arg(folder))?;
        let mut checkout = Repository::new(folder).git();
        process::run(checkout.args(["checkout", "--quiet", "--detach", commit]))
    }

    fn ask(&self, args: &[&str]) -> Result<String> {
        let answer = process::output(self.git().args(args))?;
        Ok(answer.trim_end().to_owned())
    }

    fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.root);
        git
    }
}
