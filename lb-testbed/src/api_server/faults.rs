//! Faults that a test injects: into later requests, and into open watches.

use super::kind::Kind;

/// The verb of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// A fault of requests: of all requests until the server is healed, unless it is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    failure: Failure,
    kind: Option<Kind>,
    verb: Option<Verb>,
    spared: u32,
    times: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Answer(u16),
    Hang,
    Close,
    Disturb(Disturbance),
}

/// A fault of a watch whose client has received status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// A line that is not JSON; the watch continues.
    Garbage,
    /// The first half of an event's line, then the end of the body.
    HalfLine,
    /// Half of the initial objects, and then nothing more.
    HalfOfTheList,
    /// Nothing more, not even bookmarks, while the connection stays open.
    Silence,
    /// An `ERROR` event with this code, then the end of the body. A client that is too far behind gets 410.
    Error(u16),
    /// The end of the body, as after the client's `timeoutSeconds`.
    End,
}

impl Fault {
    /// The answer has this status code; 429, 503 and 504 come with `Retry-After`.
    pub fn answer(code: u16) -> Self {
        Self::of(Failure::Answer(code))
    }

    /// The server reads the request and never answers.
    pub fn hang() -> Self {
        Self::of(Failure::Hang)
    }

    /// The server closes the connection instead of answering.
    pub fn close() -> Self {
        Self::of(Failure::Close)
    }

    /// A watch gets status 200, and then this disturbance.
    pub fn watch(disturbance: Disturbance) -> Self {
        Self::of(Failure::Disturb(disturbance)).on(Verb::Watch)
    }

    /// Only for this kind.
    #[must_use]
    pub fn with(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only for this verb.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Not for the next `spared` of these requests.
    #[must_use]
    pub fn after(mut self, spared: u32) -> Self {
        self.spared = spared;
        self
    }

    /// Only for the next `times` of these requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn of(failure: Failure) -> Self {
        Self {
            failure,
            kind: None,
            verb: None,
            spared: 0,
            times: None,
        }
    }

    fn concerns(&self, kind: Option<Kind>, verb: Verb) -> bool {
        (self.kind.is_none() || self.kind == kind)
            && self.verb.is_none_or(|mine| mine == verb)
            && self.times != Some(0)
    }
}

/// The faults in effect, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The failure for a request: of the first fault that concerns it, whose `times` go down by one.
    pub(super) fn strike(&mut self, kind: Option<Kind>, verb: Verb) -> Option<Failure> {
        let fault = self.0.iter_mut().find(|fault| fault.concerns(kind, verb))?;
        if fault.spared > 0 {
            fault.spared -= 1;
            return None;
        }
        fault.times = fault.times.map(|times| times - 1);
        let failure = fault.failure;
        self.0.retain(|fault| fault.times != Some(0));
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_matching_requests_the_given_number_of_times() {
        let mut faults = Faults::default();
        faults.add(
            Fault::answer(500)
                .with(Kind::Service)
                .on(Verb::List)
                .times(2),
        );
        faults.add(Fault::hang().on(Verb::Watch));
        faults.add(Fault::close().on(Verb::Get).after(1));
        let mut strike = |kind, verb| faults.strike(Some(kind), verb);
        assert_eq!(strike(Kind::Node, Verb::List), None);
        assert_eq!(strike(Kind::Service, Verb::Get), None);
        assert_eq!(strike(Kind::Service, Verb::Get), Some(Failure::Close));
        for _ in 0..2 {
            let failure = strike(Kind::Service, Verb::List);
            assert_eq!(failure, Some(Failure::Answer(500)));
        }
        assert_eq!(strike(Kind::Service, Verb::List), None);
        for _ in 0..9 {
            assert_eq!(strike(Kind::Node, Verb::Watch), Some(Failure::Hang));
        }
        faults.clear();
        assert_eq!(faults.strike(Some(Kind::Node), Verb::Watch), None);
    }
}
