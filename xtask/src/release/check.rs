//! `cargo xtask release --check`: builds the present commit twice, in two folders, and compares every file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::git::Repository;
use super::package;
use crate::workspace::Workspace;

/// Clones of the repository, below the target folder: of different lengths, at different depths.
const CLONES: [&str; 2] = ["one", "another/folder/with-a-longer-name"];

/// # Errors
/// If a file differs. Both builds are then kept.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let repository = Repository::new(&workspace.root);
    repository.check_clean()?;
    // Once: somebody may go on working here.
    let commit = repository.commit()?;
    let folder = workspace.target.join("release-check");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let [first, second] = ["first", "second"].map(|name| folder.join(name));
    for (clone, built) in CLONES.iter().zip([&first, &second]) {
        let root = folder.join("clones").join(clone);
        println!("== {}", root.display());
        repository.clone_to(&root, &commit)?;
        let clone = Workspace {
            target: root.join("target"),
            root,
            tests: Vec::new(),
        };
        package::build(&clone, built)?;
        fs::remove_dir_all(&clone.root)?;
    }
    let differences = differences(&first, &second)?;
    if !differences.is_empty() {
        bail!(
            "two builds of one commit differ, in {}; compare {} and {}",
            differences.join(", "),
            first.display(),
            second.display()
        );
    }
    let names = package::names(&first)?;
    println!("{} files are the same in both builds:", names.len());
    print!("{}", fs::read_to_string(first.join(package::SUMS))?);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The files that are not the same in both folders.
fn differences(first: &Path, second: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut names = package::names(first)?;
    names.extend(package::names(second)?);
    names.sort();
    names.dedup();
    for name in names {
        let [one, other] = [first, second].map(|folder| fs::read(folder.join(&name)).ok());
        if one.is_none() || one != other {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_different_files_are_found() {
        let folder = std::env::temp_dir().join(format!("socklb-check-{}", std::process::id()));
        let [one, other] = ["one", "other"].map(|name| folder.join(name));
        for (path, text) in [("same", "a"), ("changed", "b"), ("gone", "c")] {
            fs::create_dir_all(&one).expect("writable");
            fs::write(one.join(path), text).expect("writable");
        }
        for (path, text) in [("same", "a"), ("changed", "B"), ("new", "d")] {
            fs::create_dir_all(&other).expect("writable");
            fs::write(other.join(path), text).expect("writable");
        }
        let found = differences(&one, &other).expect("readable");
        fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(found, ["changed", "gone", "new"]);
    }
}
