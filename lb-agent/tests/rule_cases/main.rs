//! Compares the policy with kube-proxy: cases recorded from kube-proxy's own tests, with their results.
//!
//! They are not part of this repository. The variable SOCKLB_RULE_CASES names their file. Without it only the few cases in
//! `own.json`, which have the same format, run, and the test reports that.

mod case;
mod events;
mod flows;
mod objects;
mod tally;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};

use self::case::{Case, File};
use self::tally::{Difference, LeftOut, Tally};

const VARIABLE: &str = "SOCKLB_RULE_CASES";

/// Cases that are skipped as a whole, each with its reason.
const NOT_RUN: [(&str, &str); 1] = [(
    "flow/TestHealthCheckNodePort",
    "its only packet is a health check of a load balancer elsewhere",
)];

#[test]
fn our_rule_cases_hold() {
    let (tally, idle) = run(&read(include_str!("own.json")));
    pass(&tally);
    assert_eq!(idle, BTreeSet::new(), "cases that compare nothing");
}

#[test]
fn kube_proxys_rule_cases_hold() {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return say(&format!(
            "kube-proxy's own cases were NOT run: {VARIABLE} does not name a file of them"
        ));
    };
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", path.display()));
    let file = read(&text);
    let (tally, idle) = run(&file);
    say(&format!(
        "kube-proxy's own cases: {} of {} run ({} more were not recorded)\n{tally}",
        file.cases.len() - idle.len(),
        file.cases.len(),
        file.skipped_upstream.len(),
    ));
    for (id, reason) in NOT_RUN {
        say(&format!("not run: {id}: {reason}"));
    }
    pass(&tally);
    let expected = NOT_RUN.iter().map(|(id, _)| (*id).to_owned()).collect();
    assert_eq!(idle, expected, "cases that compare nothing");
    for difference in Difference::ALL {
        let is_needed = tally.differences.contains_key(&difference);
        assert!(is_needed, "{difference:?} is no longer needed");
    }
    for what in LeftOut::ALL {
        let is_needed = tally.left_out.contains_key(&what);
        assert!(is_needed, "{what:?} is no longer needed");
    }
}

fn read(text: &str) -> File {
    let file: File = serde_json::from_str(text).unwrap_or_else(|error| {
        panic!("the cases are not in the format that case.rs describes: {error}")
    });
    assert!(!file.cases.is_empty(), "no cases: {}", file.about);
    file
}

/// Runs all cases; also returns the names of those that compared nothing.
fn run(file: &File) -> (Tally, BTreeSet<String>) {
    let mut total = Tally::default();
    let mut idle = BTreeSet::new();
    for case in &file.cases {
        let mut tally = run_case(&file.cases, case);
        if tally.compared == 0 && tally.failures.is_empty() {
            idle.insert(case.id.clone());
        }
        for failure in &mut tally.failures {
            *failure = format!(
                "{} ({} {:?})\n  {failure}",
                case.id, case.source, case.modes
            );
            if !case.note.is_empty() {
                failure.push_str(&format!("\n    note     {}", case.note));
            }
        }
        total.add(tally);
    }
    (total, idle)
}

fn run_case(cases: &[Case], case: &Case) -> Tally {
    let mut tally = Tally::default();
    let events = events::check(case, &mut tally);
    let flows = flows::check(cases, case, &mut tally);
    tally.failures.extend(events.err());
    tally.failures.extend(flows.err());
    tally
}

fn pass(tally: &Tally) {
    let failures = &tally.failures;
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        tally.compared,
        failures.join("\n")
    );
}

/// Bypasses the output capture of passing tests.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("stderr is open");
}
