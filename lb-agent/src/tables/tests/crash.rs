//! Every prefix of every plan: the writer stops after each single store of random changes while sockets connect and close. The
//! next writer takes over and is stopped too, and the third one completes the tables.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::random_cases;
use super::sockets::Sockets;
use super::steps::{recover_stepwise, stepwise};
use crate::policy::Update;
use crate::tables::plan::Rollout;
use crate::tables::testing::world::{World, any_world, change};
use crate::tables::testing::{
    Allowed, Memory, State, check_allocators, check_quarantine_for_sockets, check_reads_back, grace,
};
use crate::tables::{Refused, Tables};

/// Enough for the old and the new version of every world together, and little more, so that ids are soon reused.
const ROOM: [u32; 4] = [72, 40, 1_000, 120];

/// Too little for some worlds.
const LITTLE_ROOM: [u32; 4] = [8, 6, 140, 8];

/// The state after the writer stops.
#[derive(Clone)]
struct Stop {
    state: State,
    sockets: Sockets,
    /// The index of the current change.
    turn: usize,
}

/// Records the tables after each store of one writer.
struct Watch {
    sockets: Sockets,
    allowed: Option<Allowed>,
    turn: usize,
    stops: Vec<Stop>,
}

impl Watch {
    fn see(&mut self, state: &mut State) {
        self.sockets.check(state);
        if let Some(allowed) = &self.allowed {
            allowed.check(state);
        }
        self.stops.push(Stop {
            state: state.clone(),
            sockets: self.sockets.clone(),
            turn: self.turn,
        });
        self.sockets.act(state);
    }
}

/// A writer that executes its plans step by step.
struct Writer {
    tables: Tables<Memory>,
    watch: Watch,
    lengths: [u32; 4],
    is_starting: bool,
}

impl Writer {
    /// A writer that takes over from another one, observed from its first store on.
    fn take_over(lengths: [u32; 4], left: Stop) -> Self {
        let mut memory = Memory::new(lengths);
        memory.state = left.state.clone();
        let mut watch = Watch {
            sockets: left.sockets,
            allowed: Some(Allowed::at_a_take_over(&memory.state)),
            turn: left.turn,
            stops: Vec::new(),
        };
        let tables = recover_stepwise(memory, &mut |state| watch.see(state));
        check_allocators(&tables);
        check_quarantine_for_sockets(&tables, &left.state);
        Self {
            tables,
            watch,
            lengths,
            is_starting: false,
        }
    }

    /// Applies a change. `before`: the worlds that the tables may partly contain.
    fn apply(&mut self, update: Update, before: &[&World], after: &World) -> Vec<Refused> {
        let state = &self.tables.backing.state;
        let mut allowed = Allowed::between(state, before, after);
        if self.is_starting {
            allowed = allowed.at_a_start(state, before, after);
        }
        if self.lengths == LITTLE_ROOM {
            allowed = allowed
                .also_gone(before, after)
                .also_reduced(state, before, after);
        }
        self.watch.allowed = Some(allowed);
        let rollout = Rollout::of(update, &mut self.tables.model);
        let refused = self.write(rollout);
        check_allocators(&self.tables);
        if self.lengths == ROOM {
            assert!(refused.is_empty(), "{refused:?}");
        }
        refused
    }

    fn write(&mut self, rollout: Rollout) -> Vec<Refused> {
        let watch = &mut self.watch;
        stepwise(&mut self.tables, rollout, &mut |state| watch.see(state))
    }

    /// The work of a starting agent that lists this world.
    fn start(&mut self, before: &[&World], world: &World) {
        self.is_starting = true;
        let mut refused = self.apply(change(&World::new(), world), before, world);
        self.is_starting = false;
        let rollout = Rollout::of_orphans(&mut self.tables.model);
        self.write(rollout);
        check_allocators(&self.tables);
        grace::<2>(&mut self.tables);
        check_allocators(&self.tables);
        if refused.is_empty() {
            check_reads_back(&self.tables, world);
        }
        // When all sockets are closed, nothing is quarantined, and service ports that did not fit are retried.
        let sockets = &mut self.watch.sockets;
        sockets.close_all(&mut self.tables.backing.state);
        self.tables.free_unnamed();
        assert!(
            !self.tables.has_quarantined(),
            "something is quarantined for no reason"
        );
        check_allocators(&self.tables);
        if !refused.is_empty() {
            let again: World = refused
                .drain(..)
                .map(|refused| (refused.port.key.clone(), refused.port))
                .collect();
            refused = self.apply(
                change(&World::new(), &again),
                &[before, &[world]].concat(),
                world,
            );
        }
        if refused.is_empty() {
            check_reads_back(&self.tables, world);
        }
    }

    fn stops(&mut self) -> Vec<Stop> {
        std::mem::take(&mut self.watch.stops)
    }
}

/// The stops of a writer that applies one world after the other.
fn run(lengths: [u32; 4], worlds: &[World], graces: u8, seed: u64) -> Vec<Stop> {
    let nothing = Stop {
        state: State {
            nat: Some(BTreeMap::new()),
            ..State::default()
        },
        sockets: Sockets::new(seed),
        turn: 0,
    };
    let mut writer = Writer::take_over(lengths, nothing);
    let mut before = World::new();
    for (turn, world) in worlds.iter().enumerate() {
        writer.watch.turn = turn;
        writer.apply(change(&before, world), &[&before], world);
        if graces >> turn & 1 == 1 {
            grace::<1>(&mut writer.tables);
        }
        check_allocators(&writer.tables);
        before = world.clone();
    }
    writer.stops()
}

/// Stops the writer at each store, and then the next writer at one of its stores.
fn stopped_everywhere(lengths: [u32; 4], worlds: &[World], last: &World, graces: u8, seed: u64) {
    let nothing = World::new();
    let stops = run(lengths, worlds, graces, seed);
    for (number, stop) in stops.into_iter().enumerate() {
        let turn = stop.turn;
        let before = [
            turn.checked_sub(1).map_or(&nothing, |turn| &worlds[turn]),
            &worlds[turn],
        ];
        let mut second = Writer::take_over(lengths, stop);
        second.start(&before, last);
        let mut stops = second.stops();
        if !stops.is_empty() {
            let again = stops.swap_remove(number * 7_919 % stops.len());
            Writer::take_over(lengths, again).start(&[before[0], before[1], last], last);
        }
    }
}

proptest! {
    #![proptest_config(random_cases(20))]

    #[test]
    fn a_writer_stopped_after_every_store_is_recovered(
        worlds in prop::collection::vec(any_world(), 1..4),
        last in any_world(),
        graces in any::<u8>(),
        seed in any::<u64>(),
    ) {
        stopped_everywhere(ROOM, &worlds, &last, graces, seed);
    }

    #[test]
    fn a_stopped_writer_is_recovered_in_full_tables(
        worlds in prop::collection::vec(any_world(), 1..4),
        last in any_world(),
        graces in any::<u8>(),
        seed in any::<u64>(),
    ) {
        stopped_everywhere(LITTLE_ROOM, &worlds, &last, graces, seed);
    }

}

proptest! {
    #![proptest_config(random_cases(8))]

    /// The usual restart: the wanted world is the one that the writer was applying.
    #[test]
    fn a_restarted_writer_continues_to_the_same_world(
        worlds in prop::collection::vec(any_world(), 2..4),
        graces in any::<u8>(),
        seed in any::<u64>(),
    ) {
        let last = worlds.last().cloned().unwrap_or_default();
        stopped_everywhere(ROOM, &worlds, &last, graces, seed);
    }
}
