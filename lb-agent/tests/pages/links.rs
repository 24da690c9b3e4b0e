//! Links between pages, and the paths that ARCHITECTURE.md names: each must resolve.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files and folders of the repository, from its root, except hidden ones and build folders.
fn everything() -> Vec<PathBuf> {
    fn visit(folder: &Path, inside: &Path, found: &mut Vec<PathBuf>) {
        for file in fs::read_dir(folder).expect("it can be read") {
            let path = file.expect("it can be read").path();
            let name = path.file_name().unwrap_or_default();
            if name.to_string_lossy().starts_with('.') || path.join("CACHEDIR.TAG").exists() {
                continue;
            }
            let inside = inside.join(name);
            if path.is_dir() {
                visit(&path, &inside, found);
            }
            found.push(inside);
        }
    }
    let mut found = Vec::new();
    visit(&root(), Path::new(""), &mut found);
    found
}

/// Whether the last `#heading` of a link exists on the page.
fn has_heading(page: &str, anchor: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .any(|heading| heading == anchor)
}

#[test]
fn links_resolve() {
    let mut links = 0;
    let pages = everything().into_iter();
    for page in pages.filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(root().join(&page)).expect("it can be read");
        let parts = text.split("](").skip(1);
        let targets = parts.filter_map(|part| part.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => root().join(&page),
                file => root().join(&page).with_file_name("").join(file),
            };
            assert!(path.exists(), "{}: {target}", page.display());
            if !anchor.is_empty() {
                let other = fs::read_to_string(&path).expect("it can be read");
                assert!(has_heading(&other, anchor), "{}: {target}", page.display());
            }
        }
    }
    assert!(links > 50, "{links} links");
}

/// `kernel/{a,b}.rs` stands for two paths.
fn expanded(text: &str) -> Vec<String> {
    let braces = text
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match braces {
        None => vec![text.to_owned()],
        Some((before, (names, after))) => names
            .split(',')
            .map(|name| format!("{before}{name}{after}"))
            .collect(),
    }
}

#[test]
fn architecture_names_existing_files() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it can be read");
    let is_path = |word: &&str| {
        let is_plain = |c: char| c.is_alphanumeric() || "_-./{},".contains(c);
        word.chars().all(is_plain) && (word.ends_with('/') || word.ends_with(".rs"))
    };
    let words: BTreeSet<&str> = map.split('`').skip(1).step_by(2).filter(is_path).collect();
    assert!(words.len() > 40, "{words:?}");
    let everything = everything();
    for path in words.into_iter().flat_map(expanded) {
        let exists = everything.iter().any(|file| file.ends_with(&path));
        assert!(exists, "ARCHITECTURE.md names {path}, which does not exist");
    }
}
