//! The bill of materials of a binary: CycloneDX 1.6 as JSON, <https://cyclonedx.org/docs/1.6/json/>.
//!
//! It lists what is linked into the binary (scope `required`: crates, the standard library, the C library, the kernel programs), and the
//! crates that only the build uses (scope `excluded`: build scripts and macros).

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::crates::{self, Crate, Details, Graph};
use super::git::Repository;
use crate::workspace::Workspace;
use crate::{linker, process, setup, versions};

const AGENT: &str = "lb-agent";

/// The programs that the agent embeds, so cargo knows of no dependency.
const PROGRAMS: &str = "lb-ebpf";
const PROGRAMS_TARGET: &str = "bpfel-unknown-none";

/// The bill of the agent for this target.
pub(super) fn of(workspace: &Workspace, target: &str) -> Result<Value> {
    let repository = Repository::new(&workspace.root);
    let mut bill = components(workspace, target)?;
    bill["metadata"]["timestamp"] = repository.date()?.into();
    bill["metadata"]["tools"] = json!({ "components": tools()? });
    bill["metadata"]["properties"] = json!([
        { "name": "socklb:commit", "value": repository.commit()? },
        { "name": "socklb:target", "value": target },
    ]);
    Ok(bill)
}

/// The bill without what describes this build.
fn components(workspace: &Workspace, target: &str) -> Result<Value> {
    let mut all = Graph::new();
    let mut linked = Graph::new();
    for (package, target) in [(AGENT, target), (PROGRAMS, PROGRAMS_TARGET)] {
        let built_with = crates::graph(workspace, package, target, "normal,build")?;
        for (found, dependencies) in built_with {
            all.entry(found).or_default().extend(dependencies);
        }
        linked.extend(crates::graph(
            workspace,
            package,
            target,
            "normal,no-proc-macro",
        )?);
    }
    all.entry(ours(AGENT)).or_default().insert(ours(PROGRAMS));
    let details = crates::details(workspace)?;
    let describe = |found: &Crate| {
        let known = details.get(found).cloned().unwrap_or_default();
        let is_linked = linked.contains_key(found);
        component(
            found,
            &known,
            if is_linked { "required" } else { "excluded" },
        )
    };
    let libraries = libraries(target)?;
    let mut agent = describe(&ours(AGENT));
    agent["type"] = "application".into();
    let others = all.keys().filter(|found| **found != ours(AGENT));
    let components = others.map(describe).chain(libraries.iter().cloned());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": agent },
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies(&all, &libraries),
    }))
}

fn ours(name: &str) -> Crate {
    Crate {
        name: name.to_owned(),
        version: versions::OURS.to_owned(),
    }
}

fn reference(found: &Crate) -> String {
    format!("{}@{}", found.name, found.version)
}

fn component(found: &Crate, known: &Details, scope: &str) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(found),
        "name": found.name,
        "version": found.version,
        "scope": scope,
    });
    if let Some(description) = &known.description {
        component["description"] = description.as_str().into();
    }
    if let Some(license) = &known.license {
        component["licenses"] = json!([{ "expression": license }]);
    }
    if let Some(repository) = &known.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    // A crate without a checksum is ours, and on no registry.
    if let Some(checksum) = &known.checksum {
        component["purl"] = format!("pkg:cargo/{}", reference(found)).into();
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// What is linked besides crates.
fn libraries(target: &str) -> Result<Vec<Value>> {
    let rust = compiler_version(Command::new("rustc"))?;
    let mut libraries = vec![json!({
        "type": "library",
        "bom-ref": format!("std@{rust}"),
        "name": "std",
        "version": rust,
        "scope": "required",
        "description": "Rust's standard library",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    })];
    if target.ends_with("-gnu") {
        let text = process::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
        let version = text.trim().strip_prefix("glibc ");
        let version = version.with_context(|| format!("getconf GNU_LIBC_VERSION: {text}"))?;
        libraries.push(json!({
            "type": "library",
            "bom-ref": format!("glibc@{version}"),
            "name": "glibc",
            "version": version,
            "scope": "required",
            "description": "The GNU C library, linked statically",
            "licenses": [{ "expression": "LGPL-2.1-or-later" }],
        }));
    }
    Ok(libraries)
}

/// The tools that other versions of may build other bytes.
fn tools() -> Result<Vec<Value>> {
    let (programs, _) = setup::bpf()?;
    let tools = [
        ("rustc", compiler_version(Command::new("rustc"))?),
        (
            "rustc for BPF",
            compiler_version(Command::new(&programs.rustc))?,
        ),
        ("bpf-linker", linker::VERSION.to_owned()),
    ];
    let tools = tools
        .map(|(name, version)| json!({ "type": "application", "name": name, "version": version }));
    Ok(tools.to_vec())
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler_version(mut rustc: Command) -> Result<String> {
    let text = process::output(rustc.arg("--version"))?;
    let version = text
        .split(' ')
        .nth(1)
        .map(|version| version.trim().to_owned());
    version.with_context(|| format!("rustc --version: {text}"))
}

fn dependencies(graph: &Graph, libraries: &[Value]) -> Vec<Value> {
    let mut lists: BTreeMap<String, Vec<String>> = graph
        .iter()
        .map(|(found, dependencies)| {
            (
                reference(found),
                dependencies.iter().map(reference).collect(),
            )
        })
        .collect();
    let libraries = libraries
        .iter()
        .filter_map(|library| library["bom-ref"].as_str());
    let libraries: Vec<String> = libraries.map(str::to_owned).collect();
    for library in &libraries {
        lists.entry(library.clone()).or_default();
    }
    lists
        .entry(reference(&ours(AGENT)))
        .or_default()
        .extend(libraries);
    let lists = lists.into_iter();
    lists
        .map(|(from, to)| json!({ "ref": from, "dependsOn": to }))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::arch::Arch;

    #[test]
    fn a_bill_lists_what_is_linked_and_what_only_builds() {
        let workspace = Workspace::find().expect("this workspace");
        let target = Arch::host().expect("a supported machine").triple();
        let bill = super::components(&workspace, target).expect("cargo runs");
        let components = bill["components"].as_array().expect("a list");
        let scope = |name: &str| {
            let mut named = components.iter().filter(|it| it["name"] == name);
            named.next().map(|it| it["scope"].as_str().expect("a word"))
        };
        assert_eq!(scope("tokio"), Some("required"));
        assert_eq!(
            scope("aya-ebpf"),
            Some("required"),
            "of the kernel programs"
        );
        assert_eq!(scope("serde_derive"), Some("excluded"));
        assert_eq!(scope("proptest"), None, "only tests have it");
        assert_eq!(scope("arbitrary"), None, "a feature for fuzzing");
        let text = |value: &Value| value.as_str().expect("a word").to_owned();
        let mut references: Vec<String> =
            components.iter().map(|it| text(&it["bom-ref"])).collect();
        references.push(text(&bill["metadata"]["component"]["bom-ref"]));
        let unique: BTreeSet<&String> = references.iter().collect();
        assert_eq!(unique.len(), references.len());
        for dependency in bill["dependencies"].as_array().expect("a list") {
            let others = dependency["dependsOn"].as_array().expect("a list");
            for named in others.iter().chain([&dependency["ref"]]) {
                assert!(unique.contains(&text(named)), "{named}");
            }
        }
    }
}
