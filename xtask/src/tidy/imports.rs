//! The imports of a file as paths from its crate's root, read from its text without a compiler.

use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub line: usize,
    /// From the crate's root: modules, and optionally an item.
    pub path: Vec<String>,
    pub is_in_test: bool,
}

/// The module that a file is, from its crate's root; the crate's root is the empty path.
pub(super) fn module_of(inside: &Path) -> Vec<String> {
    let without_extension = inside.with_extension("");
    let mut module: Vec<String> = without_extension
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_folders_own = module.last().is_some_and(|last| last == "mod");
    let is_root = module == ["lib"] || module == ["main"];
    if is_folders_own || is_root {
        module.pop();
    }
    module
}

/// Returns all paths after `crate::`, `self::` and `super::`, also inside braces and outside of `use`, but not in comments.
///
/// `module`: the file's module.
pub(super) fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let tests = code.find("\nmod tests {").unwrap_or(code.len());
    let mut found = Vec::new();
    for mark in ["crate::", "self::", "super::"] {
        for (place, _) in code.match_indices(mark) {
            let before = code[..place].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                continue;
            }
            let is_in_test = place > tests;
            let mut module = module.to_vec();
            if is_in_test {
                module.push("tests".to_owned());
            }
            let line = code[..place].matches('\n').count() + 1;
            let mut paths = Vec::new();
            expand(&code[place..], &[], &mut paths);
            found.extend(paths.into_iter().map(|path| Import {
                line,
                path: resolve(&module, &path),
                is_in_test,
            }));
        }
    }
    found.sort_by_key(|import| import.line);
    found
}

/// Splits `a::{b::{c, d}, e}` into a::b::c, a::b::d and a::e. Returns the rest of the text.
fn expand<'t>(text: &'t str, before: &[String], paths: &mut Vec<Vec<String>>) -> &'t str {
    let mut text = text.trim_start();
    let mut path = before.to_vec();
    loop {
        if let Some(group) = text.strip_prefix('{') {
            text = group.trim_start();
            while !text.is_empty() && !text.starts_with('}') {
                text = expand(text, &path, paths);
                // The part after a name: `as other`, or a `*`.
                let end = text.find([',', '}']).unwrap_or(text.len());
                text = text[end..].trim_start_matches(',').trim_start();
            }
            return text.strip_prefix('}').unwrap_or(text);
        }
        let length = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(length);
        if !name.is_empty() {
            path.push(name.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(rest) => text = rest.trim_start(),
            None => {
                paths.push(path);
                return rest;
            }
        }
    }
}

/// A path from the crate's root, for one that begins with `crate`, `self` or `super`.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let mut from = module.to_vec();
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        match first.as_str() {
            "crate" => from.clear(),
            "super" => drop(from.pop()),
            "self" => {}
            _ => break,
        }
        rest = behind;
    }
    // `{self, …}` is the module that the braces belong to.
    from.extend(rest.iter().filter(|name| *name != "self").cloned());
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Vec<String> {
        path.split("::").map(str::to_owned).collect()
    }

    fn found(text: &str) -> Vec<(usize, String)> {
        imports(text, &module("a::b"))
            .into_iter()
            .map(|import| (import.line, import.path.join("::")))
            .collect()
    }

    #[test]
    fn a_folder_and_its_own_file_are_one_module() {
        assert_eq!(module_of(Path::new("a/b.rs")), ["a", "b"]);
        assert_eq!(module_of(Path::new("a/mod.rs")), ["a"]);
        assert!(module_of(Path::new("lib.rs")).is_empty());
    }

    #[test]
    fn groups_are_split_and_comments_skipped() {
        let text = "/// [`crate::x`]\nuse crate::{\n    c::{A, self, d::E as F}, // crate::y\n    g,\n};\nlet x = crate::h::i(1);\n";
        let wanted = [(2, "c::A"), (2, "c"), (2, "c::d::E"), (2, "g"), (6, "h::i")];
        assert_eq!(found(text), wanted.map(|(line, path)| (line, path.into())));
        assert_eq!(found("$crate::x; lb_crate::y; pub(super) fn"), []);
    }

    #[test]
    fn paths_begin_at_the_file() {
        let text = "use self::c;\nuse super::{d, e::F};\nuse super::super::g;\nuse super::*;";
        let wanted = [
            (1, "a::b::c"),
            (2, "a::d"),
            (2, "a::e::F"),
            (3, "g"),
            (4, "a"),
        ];
        assert_eq!(found(text), wanted.map(|(line, path)| (line, path.into())));
    }

    #[test]
    fn tests_in_the_file_are_a_module_below() {
        let text = "use super::c;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        let all = imports(text, &module("a::b"));
        let wanted = [(module("a::c"), false), (module("a::b"), true)];
        let all: Vec<_> = all.into_iter().map(|i| (i.path, i.is_in_test)).collect();
        assert_eq!(all, wanted);
    }
}
