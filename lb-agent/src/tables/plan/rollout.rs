//! An update as a series of plans: everything new first, then the removals, so that a frontend that moves from one service port
//! to another is never missing. Frontends that no service port wants are removed before that, so that they never show a choice that
//! was not meant for them. Guards come last.

use std::collections::{BTreeSet, VecDeque};

use lb_common::{Address, FrontendKey};

use super::super::encode::frontend_keys;
use super::super::model::Model;
use super::add::add;
use super::assign::{ApplyError, assign};
use super::guards::guard;
use super::reduced::reduced;
use super::reuse_ids::reuse_ids;
use super::step::Plan;
use super::trim::{remove, remove_frontends, trim};
use crate::policy::{ServicePort, ServicePortKey, Update};

/// A service port that the tables could not take. Whatever they have of it stays in effect as far as it is still wanted.
#[derive(Debug)]
pub struct Refused {
    pub port: ServicePort,
    pub error: ApplyError,
    /// The tables have some of it.
    pub is_in_effect: bool,
}

/// How often a service port is reduced at most: once for each table that may be full, and for SLOTS two more times.
const MOST_REDUCTIONS: usize = 5;

/// An update on its way into the tables: [`Self::next`] gives the next plan, and [`Self::done`] takes its result.
#[derive(Debug)]
pub struct Rollout {
    tasks: VecDeque<Task>,
    /// All frontends of the service ports that have changed.
    wanted: BTreeSet<FrontendKey>,
    /// To be trimmed when everything new is in place.
    added: Vec<ServicePort>,
    /// Service ports that are to be removed, and the names of those that were asked for.
    removed: Vec<(u32, Option<ServicePortKey>)>,
    /// Those that were refused earlier, if at all, and are not any more.
    fitting: Vec<ServicePortKey>,
    phase: Phase,
    refused: Vec<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Add,
    Trim,
    Remove,
    Guard,
}

/// What a plan is for.
#[derive(Debug)]
pub enum Task {
    /// Removes the frontends of a service port that no changed service port wants.
    RemoveUnwanted(ServicePortKey, u32),
    Add {
        port: ServicePort,
        reductions: usize,
    },
    Trim(ServicePort),
    RemoveFrontends(u32, Option<ServicePortKey>),
    Remove(u32),
    Guard(Address),
    /// A service port that the tables could not take: there is nothing to do.
    Refused,
}

impl Rollout {
    /// Of an update, the oldest Services first.
    pub fn of(mut update: Update, model: &mut Model) -> Self {
        update.changed.sort_by_key(ServicePort::seniority);
        model.guards.name(&update);
        reuse_ids(model, &update.changed);
        let ids = update.changed.iter().filter_map(|port| {
            let id = *model.ids.get(&port.key)?;
            Some(Task::RemoveUnwanted(port.key.clone(), id))
        });
        let mut tasks: VecDeque<Task> = ids.collect();
        let wanted = update.changed.iter().flat_map(frontend_keys).collect();
        tasks.extend(update.changed.into_iter().map(|mut port| {
            port.backends
                .retain(|backend| super::super::encode::backend_state(backend) != 0);
            Task::Add {
                port,
                reductions: 0,
            }
        }));
        let removed = update.removed.iter().filter_map(|key| {
            let id = model.ids.get(key)?;
            Some((*id, Some(key.clone())))
        });
        Self {
            tasks,
            wanted,
            added: Vec::new(),
            removed: removed.collect(),
            fitting: update.removed,
            phase: Phase::Add,
            refused: Vec::new(),
        }
    }

    /// Removes what an earlier agent left and no object asks for.
    pub fn of_orphans(model: &mut Model) -> Self {
        let orphans = std::mem::take(&mut model.orphans);
        Self {
            tasks: VecDeque::new(),
            wanted: BTreeSet::new(),
            added: Vec::new(),
            removed: orphans.into_iter().map(|id| (id, None)).collect(),
            fitting: Vec::new(),
            phase: Phase::Add,
            refused: Vec::new(),
        }
    }

    /// Whether the next plan adds a service port of which the tables have nothing. Such plans do not depend on each other's steps,
    /// but for the id of the service port.
    pub fn is_next_new(&self, model: &Model) -> bool {
        let Some(Task::Add { port, .. }) = self.tasks.front() else {
            return false;
        };
        !model.ids.contains_key(&port.key)
            && !frontend_keys(port).any(|key| model.frontends.contains_key(&key))
    }

    /// The next plan, written to `plan`, and what it is for. None: that was all.
    pub fn next(&mut self, model: &mut Model, plan: &mut Plan) -> Option<Task> {
        loop {
            let Some(task) = self.tasks.pop_front() else {
                self.phase = self.begin_next_phase(model)?;
                continue;
            };
            plan.clear();
            match &task {
                Task::RemoveUnwanted(_, id) => remove_frontends(model, *id, &self.wanted, plan),
                Task::Add { port, .. } => match assign(model, port) {
                    Ok(target) => add(model, port, &target, plan),
                    Err(error) => {
                        self.done(model, task, Err(error));
                        return Some(Task::Refused);
                    }
                },
                Task::Trim(port) => trim(model, port, plan),
                Task::RemoveFrontends(id, _) => {
                    remove_frontends(model, *id, &BTreeSet::new(), plan);
                }
                Task::Remove(id) => remove(model, *id, plan),
                Task::Guard(address) => guard(model, *address, plan),
                Task::Refused => {}
            }
            return Some(task);
        }
    }

    /// The plan for a task was written, or some of its stores failed.
    pub fn done(&mut self, model: &Model, task: Task, result: Result<(), ApplyError>) {
        match (task, result) {
            (Task::Add { port, .. }, Ok(())) => {
                self.added.push(port);
            }
            (Task::Add { port, reductions }, Err(error)) => {
                if reductions < MOST_REDUCTIONS
                    && let Some(port) = reduced(model, &port, &error)
                {
                    let reductions = reductions + 1;
                    self.tasks.push_front(Task::Add { port, reductions });
                }
                if reductions == 0 {
                    self.refuse(port, error);
                }
            }
            (Task::Trim(port), Err(error)) => self.refuse(port, error),
            (Task::RemoveFrontends(id, _), Ok(())) => self.tasks.push_front(Task::Remove(id)),
            (Task::RemoveUnwanted(key, _) | Task::RemoveFrontends(_, Some(key)), Err(error)) => {
                tracing::error!(
                    event = "tables.frontend_not_removed",
                    service_port = %key,
                    %error,
                    "cannot remove a frontend",
                );
            }
            (Task::RemoveFrontends(..) | Task::Guard(_), Err(error)) => {
                tracing::error!(
                    event = "tables.element_not_written",
                    %error,
                    "cannot change an element of FRONTENDS",
                );
            }
            _ => {}
        }
    }

    /// What the tables could not take.
    pub fn into_refused(self, model: &Model) -> Vec<Refused> {
        let mut refused = self.refused;
        for refused in &mut refused {
            refused.is_in_effect = model.ids.contains_key(&refused.port.key);
        }
        refused
    }

    fn refuse(&mut self, port: ServicePort, error: ApplyError) {
        self.refused.push(Refused {
            port,
            error,
            is_in_effect: false,
        });
    }

    /// Queues the tasks of the next phase. None: there is none.
    fn begin_next_phase(&mut self, model: &mut Model) -> Option<Phase> {
        match self.phase {
            Phase::Add => {
                let added = std::mem::take(&mut self.added);
                let keys = added.iter().map(|port| port.key.clone());
                self.fitting.extend(keys);
                self.tasks.extend(added.into_iter().map(Task::Trim));
                Some(Phase::Trim)
            }
            Phase::Trim => {
                let removed = std::mem::take(&mut self.removed);
                for (_, key) in &removed {
                    key.as_ref().map(|key| model.ids.remove(key));
                }
                let removed = removed.into_iter();
                let tasks = removed.map(|(id, key)| Task::RemoveFrontends(id, key));
                self.tasks.extend(tasks);
                Some(Phase::Remove)
            }
            Phase::Remove => {
                for key in &self.fitting {
                    model.guards.remove_unfit(key);
                }
                for refused in &self.refused {
                    model.guards.add_unfit(&refused.port);
                }
                let changed = std::mem::take(&mut model.guards.changed);
                self.tasks.extend(changed.into_iter().map(Task::Guard));
                Some(Phase::Guard)
            }
            Phase::Guard => None,
        }
    }
}
