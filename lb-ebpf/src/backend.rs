//! One backend's element in BACKENDS: every read of it, and every count in it.

use lb_common::{Backend, View};

use crate::atomic::{self, Word};
use crate::ctx::Peer;
use crate::maps;

/// An element of BACKENDS.
#[derive(Clone, Copy)]
pub struct BackendLine {
    /// Its index in BACKENDS.
    pub id: u32,
    /// From a look-up in BACKENDS, so it is valid while the program runs.
    line: *mut Backend,
}

impl BackendLine {
    /// None if the id is not below the length of BACKENDS.
    #[inline(always)]
    pub fn look_up(id: u32) -> Option<Self> {
        let line = maps::BACKENDS.get_ptr_mut(id)?;
        Some(Self { id, line })
    }

    /// The backend's address and port.
    #[inline(always)]
    pub fn peer(self) -> Peer {
        // SAFETY: `line` is valid.
        let (address, port) = unsafe { ((*self.line).address, (*self.line).port) };
        Peer { address, port }
    }

    /// The id of its service port.
    #[inline(always)]
    pub fn service_port(self) -> u32 {
        // SAFETY: `line` is valid.
        unsafe { (*self.line).service_port }
    }

    /// Whether it is a backend of this view's service port. The agent may have given the id to another one.
    #[inline(always)]
    pub fn belongs_to(self, view: &View) -> bool {
        // SAFETY: `line` is valid.
        unsafe { (*self.line).service_port == view.service_port }
    }

    /// Whether it has one of these [`lb_common::backend::state`] bits.
    #[inline(always)]
    pub fn has_state(self, bits: u64) -> bool {
        self.state() & bits != 0
    }

    /// The same line if it has one of these [`lb_common::backend::state`] bits. What is read through the result is read after the
    /// bits, which the agent writes last when it gives the id to another backend.
    #[inline(always)]
    pub fn with_state(self, bits: u64) -> Option<Self> {
        let state = self.state();
        let line = atomic::after(self.line, state);
        (state & bits != 0).then_some(Self { line, ..self })
    }

    /// Its weight, at least 1.
    #[inline(always)]
    pub fn weight(self) -> u64 {
        // SAFETY: `line` is valid.
        unsafe { u64::from((*self.line).more_weight) + 1 }
    }

    /// Number of entries and SPILL elements that refer to it.
    #[inline(always)]
    pub fn active(self) -> u64 {
        self.active_word().load()
    }

    /// Counts a connection or flow that is sent here.
    #[inline(always)]
    pub fn count_connection(self) {
        // SAFETY: `line` is valid.
        unsafe { Word::new(&raw mut (*self.line).connections) }.add(1);
    }

    /// Counts an entry or SPILL element that now refers to it.
    #[inline(always)]
    pub fn count_active(self) {
        self.active_word().add(1);
    }

    /// Counts an entry or SPILL element that no longer refers to it.
    #[inline(always)]
    pub fn uncount_active(self) {
        self.active_word().add(u64::MAX);
    }

    /// Connects that failed in a row: [`lb_common::outlier::Failures`].
    #[inline(always)]
    pub fn failures(self) -> Word {
        // SAFETY: `line` is valid.
        unsafe { Word::new(&raw mut (*self.line).failures) }
    }

    /// Until when it is ejected: see [`lb_common::outlier::TRIAL`].
    #[inline(always)]
    pub fn ejected_until(self) -> Word {
        // SAFETY: `line` is valid.
        unsafe { Word::new(&raw mut (*self.line).ejected_until) }
    }

    /// Reads from its cache line, so that the CPU has it when it is needed. Nothing waits for that read.
    #[inline(always)]
    pub fn prefetch(self) {
        self.state();
    }

    #[inline(always)]
    fn state(self) -> u64 {
        // SAFETY: `line` is valid.
        unsafe { Word::new(&raw mut (*self.line).state) }.load()
    }

    #[inline(always)]
    fn active_word(self) -> Word {
        // SAFETY: `line` is valid.
        unsafe { Word::new(&raw mut (*self.line).active) }
    }
}
