//! Sections of CHANGELOG.md, by <https://keepachangelog.com>: `## Unreleased`, `## 1.2.3 - 2026-01-31`.

use anyhow::{Context as _, Result, bail};
use semver::Version;

const UNRELEASED: &str = "## Unreleased\n";

/// The text of a version's section, without its heading.
pub(super) fn section<'a>(changelog: &'a str, version: &Version) -> Option<&'a str> {
    let heading = format!("\n## {version} - ");
    let (_, rest) = changelog.split_once(&heading)?;
    let (_date, rest) = rest.split_once('\n')?;
    Some(until_next(rest))
}

/// Moves what is unreleased into a section of its own.
///
/// # Errors
/// If nothing is unreleased, or if the version has a section.
pub(super) fn release(changelog: &str, version: &Version, date: &str) -> Result<String> {
    if section(changelog, version).is_some() {
        bail!("CHANGELOG.md has a section for {version} already");
    }
    let (before, rest) = changelog
        .split_once(UNRELEASED)
        .with_context(|| format!("CHANGELOG.md has no line `{}`", UNRELEASED.trim()))?;
    if !until_next(rest).lines().any(|line| line.starts_with("* ")) {
        bail!(
            "CHANGELOG.md has nothing below `{}`: write what a user sees of the release",
            UNRELEASED.trim()
        );
    }
    Ok(format!(
        "{before}{UNRELEASED}\n## {version} - {date}\n{rest}"
    ))
}

fn until_next(rest: &str) -> &str {
    let end = rest.find("\n## ").unwrap_or(rest.len());
    rest[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "# Changelog\n\n## Unreleased\n\n### Added\n\n* New.\n\n## 0.1.0 - 2026-01-31\n\n* Old.\n";
    const NEXT: Version = Version::new(0, 2, 0);

    #[test]
    fn the_unreleased_becomes_a_section() {
        let after = release(BEFORE, &NEXT, "2026-02-01").expect("there is something");
        let whole = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-02-01\n\n### Added\n\n* New.\n\n## 0.1.0 - 2026-01-31\n\n* Old.\n";
        assert_eq!(after, whole);
        assert_eq!(section(&after, &NEXT), Some("### Added\n\n* New."));
        assert_eq!(section(&after, &Version::new(0, 1, 0)), Some("* Old."));
    }

    #[test]
    fn a_release_needs_something_new() {
        let after = release(BEFORE, &NEXT, "2026-02-01").expect("there is something");
        release(&after, &Version::new(0, 3, 0), "2026-02-02").expect_err("nothing is unreleased");
        release(&after, &NEXT, "2026-02-02").expect_err("it was released");
        release("# Changelog\n", &NEXT, "2026-02-02").expect_err("no section");
    }

    #[test]
    fn our_changelog_has_something_to_release() {
        let ours = include_str!("../../../CHANGELOG.md");
        assert!(ours.contains(UNRELEASED));
    }
}
