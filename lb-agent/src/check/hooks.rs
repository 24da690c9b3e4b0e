//! Other programs at the hooks of the cgroup.

use std::collections::HashMap;
use std::path::Path;

use super::finding::Finding;
use crate::kernel::Cgroup;
use crate::kernel::probe::{ProgramsAtHook, links, program_names, programs_at};

pub(super) const CHECK: &str = "hooks";

/// `pin_dir`: where an agent's own links are pinned.
pub(super) fn finding(cgroup: &Cgroup, pin_dir: &Path) -> Finding {
    let hooks = match programs_at(cgroup, &links(pin_dir)) {
        Ok(hooks) => hooks,
        Err(error) => {
            return Finding::warning(
                CHECK,
                format!("cannot list the programs at the hooks of the cgroup: {error}"),
                "see the row `capabilities`",
            );
        }
    };
    let has_others = hooks.iter().any(|hook| others(hook).next().is_some());
    let names = match has_others {
        true => program_names(),
        false => HashMap::new(),
    };
    judge(&hooks, &names)
}

/// The programs of others, and whether each runs before ours.
fn others(hook: &ProgramsAtHook) -> impl Iterator<Item = (u32, bool)> {
    let own = hook
        .programs
        .iter()
        .position(|&program| Some(program) == hook.ours);
    let own = own.unwrap_or(hook.programs.len());
    let programs = hook.programs.iter().enumerate();
    programs
        .filter(move |(index, _)| *index != own)
        .map(move |(index, &program)| (program, index < own))
}

fn judge(hooks: &[ProgramsAtHook], names: &HashMap<u32, String>) -> Finding {
    let described: Vec<String> = hooks
        .iter()
        .filter_map(|hook| describe(hook, names))
        .collect();
    let detail = described.join("; ");
    if let Some(closed) = hooks.iter().find(|hook| !hook.is_open) {
        return Finding::failure(
            CHECK,
            detail,
            format!(
                "the program at {} is attached exclusively: its owner must attach it with BPF_F_ALLOW_MULTI or by a link, or stop",
                closed.hook
            ),
        );
    }
    if described.is_empty() {
        let has_own = hooks.iter().any(|hook| hook.ours.is_some());
        return Finding::ok(
            CHECK,
            match has_own {
                true => "an agent's programs, and none of others",
                false => "no programs",
            },
        );
    }
    Finding::warning(
        CHECK,
        detail,
        "programs that run before socklb's decide which addresses it sees, those after it see pods' addresses: run only one \
         load balancer for sockets (with Cilium: socketLB.enabled=false)",
    )
}

/// `connect4: 12 (cil_sock4_connect) before socklb's`; none without other programs.
fn describe(hook: &ProgramsAtHook, names: &HashMap<u32, String>) -> Option<String> {
    let list = |is_before: bool| -> Option<String> {
        let of = others(hook).filter(|(_, before)| *before == is_before);
        let of: Vec<String> = of
            .map(|(program, _)| match names.get(&program) {
                Some(name) if !name.is_empty() => format!("{program} ({name})"),
                _ => program.to_string(),
            })
            .collect();
        let side = if is_before { "before" } else { "after" };
        (!of.is_empty()).then(|| format!("{} {side} socklb's", of.join(", ")))
    };
    let sides: Vec<String> = [true, false].into_iter().filter_map(list).collect();
    (!sides.is_empty()).then(|| format!("{}: program {}", hook.hook, sides.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    fn hook(programs: &[u32], ours: Option<u32>, is_open: bool) -> ProgramsAtHook {
        ProgramsAtHook {
            hook: "connect4",
            programs: programs.to_vec(),
            is_open,
            ours,
        }
    }

    #[test]
    fn other_programs_are_told_with_their_side() {
        let names = HashMap::from([(7, "mesh".to_owned())]);
        for (programs, ours, outcome, parts) in [
            (&[][..], None, Outcome::Ok, &[][..]),
            (&[5], Some(5), Outcome::Ok, &[]),
            (&[7], None, Outcome::Warning, &["7 (mesh) before"]),
            (
                &[7, 5, 9],
                Some(5),
                Outcome::Warning,
                &["connect4", "7 (mesh) before", "9 after"],
            ),
        ] {
            let finding = judge(&[hook(programs, ours, true)], &names);
            assert_eq!(finding.outcome, outcome, "{programs:?}");
            for part in parts {
                assert!(finding.detail.contains(part), "{}", finding.detail);
            }
        }
    }

    #[test]
    fn an_exclusive_program_is_a_failure() {
        let finding = judge(&[hook(&[7], None, false)], &HashMap::new());
        assert_eq!(finding.outcome, Outcome::Failure);
        assert!(finding.remedy.is_some_and(|of| of.contains("connect4")));
    }
}
