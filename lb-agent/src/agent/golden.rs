//! Golden scripts: the input is Kubernetes YAML step by step, the output is the tables as text. Each file in
//! `lb-agent/golden` is one situation. `UPDATE_GOLDEN=1` rewrites the tables.
//!
//! A script's sections begin with a line `=== `:
//!
//! * `=== node lengths=FRONTENDS,VIEWS,CELLS,BACKENDS refuse-unknown=CIDR packet-path=on no-external-ips=on
//!   nodeport-addresses=CIDR|primary`: the settings of the agent (before the first step).
//! * `=== step TITLE`: all manifests that exist from now on.
//! * `=== restart TITLE`: the same, but first another agent takes over the tables.
//! * `=== tables`: the result. Its last line is the number of stores since the previous result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::engine::Engine;
use crate::catalog::{Change, Kind};
use crate::policy::{Masquerading, NodePorts, Options, RefuseUnknown};
use crate::source::Manifests;
use crate::tables::testing::Memory;
use crate::tables::{Tables, dump};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");

/// The default lengths of FRONTEND_LIST, VIEWS, SLOTS and BACKENDS.
const LENGTHS: [u32; 4] = [100, 100, 2_000, 100];

#[test]
fn golden_scripts_match() {
    let wants_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut scripts: Vec<PathBuf> = fs::read_dir(FOLDER)
        .expect("the folder exists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 20, "{FOLDER} has {}", scripts.len());
    let mut differing = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).expect("a script");
        let result = play(&script);
        if result == script {
            continue;
        }
        if wants_update {
            fs::write(&path, result).expect("the script can be written");
            continue;
        }
        let lines = script.lines().zip(result.lines());
        let first = lines.clone().position(|(is, should)| is != should);
        let first = first.unwrap_or_else(|| script.lines().count().min(result.lines().count()));
        differing.push(format!(
            "{}:{}\n  golden: {:?}\n  result: {:?}",
            path.display(),
            first + 1,
            script.lines().nth(first),
            result.lines().nth(first)
        ));
    }
    assert!(
        differing.is_empty(),
        "UPDATE_GOLDEN=1 rewrites these:\n{}",
        differing.join("\n")
    );
}

/// The script with its current results.
fn play(script: &str) -> String {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in script.lines() {
        match line.strip_prefix("=== ") {
            Some(head) => sections.push((head, String::new())),
            None if sections.is_empty() => sections.push(("", format!("{line}\n"))),
            None => {
                let (_, body) = sections.last_mut().expect("it has a section");
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    let mut result = String::new();
    let mut agent = GoldenAgent::new("");
    for (head, body) in sections {
        if !head.is_empty() {
            writeln!(result, "=== {head}").expect("a String takes everything");
        }
        match head.split_once(' ').map_or(head, |(word, _)| word) {
            "tables" => {
                result.push_str(&agent.tables());
                continue;
            }
            "node" => agent = GoldenAgent::new(head),
            "step" => agent.list(&body),
            "restart" => {
                agent.restart();
                agent.list(&body);
            }
            "" => {}
            other => panic!("=== {other}: there is no such section"),
        }
        result.push_str(&body);
    }
    result
}

struct GoldenAgent {
    engine: Engine<Memory>,
    options: Options,
    node_ports: NodePorts,
    /// The number of stores up to the last result.
    stores: usize,
}

impl GoldenAgent {
    fn new(head: &str) -> Self {
        let mut lengths = LENGTHS;
        let mut options = Options {
            node_name: "node-a".to_owned(),
            ..Options::default()
        };
        let mut node_ports = NodePorts {
            addresses: vec![[10, 0, 0, 1].into()],
            range: (30_000, 32_767),
            allowed: Vec::new(),
            primary: None,
        };
        for (name, value) in head.split(' ').filter_map(|word| word.split_once('=')) {
            match name {
                "lengths" => {
                    let numbers = value.split(',').map(|n| n.parse().expect("a number"));
                    let numbers: Vec<u32> = numbers.collect();
                    lengths = numbers.try_into().expect("four numbers");
                }
                "refuse-unknown" => {
                    options.refuse_unknown =
                        RefuseUnknown::In(vec![value.parse().expect("a CIDR")]);
                }
                "packet-path" => options.packets = (value == "on").then(Masquerading::default),
                "no-external-ips" => options.refuses_external_ips = value == "on",
                "nodeport-addresses" if value == "primary" => node_ports.primary = Some(Vec::new()),
                "nodeport-addresses" => node_ports.allowed.push(value.parse().expect("a CIDR")),
                other => panic!("{other}: there is no such option"),
            }
        }
        let mut memory = Memory::new(lengths);
        memory.state.nat = options.packets.as_ref().map(|_| BTreeMap::new());
        Self {
            engine: engine(&options, &node_ports, memory),
            options,
            node_ports,
            stores: 0,
        }
    }

    fn restart(&mut self) {
        let memory = self.engine.tables().backing().clone();
        self.engine = engine(&self.options, &self.node_ports, memory);
    }

    /// Replaces all objects.
    fn list(&mut self, yaml: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(Path::join(folder.path(), "objects.yaml"), yaml).expect("a file");
        let paths = vec![folder.path().to_owned()];
        let (_, listing) = Manifests::open(paths).expect("the folder can be read");
        let mut changes = listing.changes;
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Node] {
            let ids = changes.iter().filter_map(|change| match change {
                Change::Set(object) => Some(object.id()),
                Change::Unread(id) => Some(id.clone()),
                _ => None,
            });
            let ids = ids.filter(|id| id.kind == kind);
            changes.push(Change::Only(kind, ids.map(|id| id.name).collect()));
        }
        self.engine.learn(changes, listing.problems);
        self.engine.apply();
        self.engine.refuse_unknown(true);
        self.engine.settle();
        // The next step reuses what was freed.
        for _ in 0..2 {
            if self.engine.begin_grace() {
                self.engine.grace_is_over();
            }
        }
    }

    fn tables(&mut self) -> String {
        let tables = self.engine.tables();
        let mut text = dump(tables.backing(), &tables.names()).expect("memory can be read");
        for problem in self.engine.problems() {
            writeln!(text, "problem  {}", problem.object).expect("a String takes everything");
        }
        let stores = tables.backing().stores;
        let number = stores - std::mem::replace(&mut self.stores, stores);
        writeln!(text, "stores  {number}\n").expect("a String takes everything");
        text
    }
}

fn engine(options: &Options, node_ports: &NodePorts, memory: Memory) -> Engine<Memory> {
    let tables = Tables::recover(memory).expect("memory can be read");
    Engine::new(options.clone(), node_ports.clone(), tables)
}
