//! Brings an update into the tables, plan by plan.
//!
//! A transaction of netfilter takes about as long as all other stores for a service port. So the NAT elements of new service ports
//! are put together for many of them, before anything that names their backends is stored. All of a plan that comes after its
//! NAT elements waits for them.

use std::net::SocketAddr;

use super::backing::Backing;
use super::model::Model;
use super::plan::{Plan, Record, Refused, Rollout, Step, Task};
use super::write::write_all;

/// How many new service ports are put together.
const TOGETHER: usize = 256;

/// Service ports whose NAT elements are not put yet.
#[derive(Default)]
struct Waiting {
    elements: Vec<(u32, SocketAddr)>,
    /// The rest of each plan.
    plans: Vec<(Task, Plan)>,
}

/// Returns what the tables could not take.
///
/// `plan`: empty; kept for its capacity. `between`: called after each store.
pub fn roll_out<B: Backing>(
    backing: &mut B,
    model: &mut Model,
    mut rollout: Rollout,
    plan: &mut Plan,
    mut between: impl FnMut(&mut B),
) -> Vec<Refused> {
    let mut waiting = Waiting::default();
    loop {
        let is_new = model.has_nat && rollout.is_next_new(model);
        if !is_new || waiting.plans.len() == TOGETHER {
            waiting.finish(backing, model, &mut rollout, &mut between);
        }
        let Some(task) = rollout.next(model, plan) else {
            return rollout.into_refused(model);
        };
        if is_new {
            waiting.begin(backing, model, task, plan, &mut between);
        } else {
            let result = write_all(backing, model, plan, &mut between);
            rollout.done(model, task, result);
        }
    }
}

impl Waiting {
    /// Does the steps of a plan that give the service port its id. Its NAT elements, if it has any, come next.
    fn begin<B: Backing>(
        &mut self,
        backing: &mut B,
        model: &mut Model,
        task: Task,
        plan: &mut Plan,
        between: &mut impl FnMut(&mut B),
    ) {
        let is_id = |step: &Step| matches!(step, Step::Record(Record::Port { .. }));
        let own = plan.iter().position(is_id).map_or(0, |place| place + 1);
        let mut rest = plan.split_off(own);
        if let Some(Step::PutNat(elements)) = rest.first_mut() {
            self.elements.append(elements);
            rest.remove(0);
        }
        // The next service port must get another id.
        let _ = write_all(backing, model, plan, between);
        self.plans.push((task, rest));
    }

    /// Puts the NAT elements, and does the rest of the plans.
    fn finish<B: Backing>(
        &mut self,
        backing: &mut B,
        model: &mut Model,
        rollout: &mut Rollout,
        between: &mut impl FnMut(&mut B),
    ) {
        if !self.elements.is_empty() {
            let elements = std::mem::take(&mut self.elements);
            let _ = write_all(backing, model, &mut vec![Step::PutNat(elements)], between);
        }
        for (task, mut plan) in self.plans.drain(..) {
            let result = write_all(backing, model, &mut plan, between);
            rollout.done(model, task, result);
        }
    }
}
