//! The words `failures` and `ejected_until` of a backend's line: outlier detection.
//!
//! Programs count the connects that fail in a row. The agent ejects a backend. From then on programs pass the backend over until the
//! time in `ejected_until`. After that time one connect is the trial: if it does not fail within [`TRIAL_NS`], or is seen to be
//! established, a program readmits the backend. All of that works without an agent too, except for ejecting.

/// `failures`: connects that failed in a row, each of another socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    /// The lower half of a socket's cookie: of the last one that failed, or of the one whose connect is the trial. 0: none.
    pub socket: u32,
}

impl Failures {
    /// From its word in a backend's line.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            count: (word >> 32) as u32,
            socket: word as u32,
        }
    }

    /// Its word in a backend's line: the count in the upper half, the socket in the lower half.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.count as u64) << 32 | self.socket as u64
    }

    /// Half of a cookie, by which [`Self::socket`] names a socket.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn of_cookie(cookie: u64) -> u32 {
        cookie as u32
    }
}

/// The bit of `ejected_until` that says: the trial is under way, and the backend is readmitted at that time unless it fails.
/// The other bits are a time in ns of CLOCK_MONOTONIC, rounded to an even number. The whole word is 0 for a backend that is not
/// ejected.
pub const TRIAL: u64 = 1;

/// How long a trial lasts, in ns. The kernel retransmits the SYN after 1 s (`TCP_TIMEOUT_INIT`), and that counts as failed. More than that, since a
/// busy machine may send the SYN some time after the program has run.
pub const TRIAL_NS: u64 = 2_500_000_000;

/// The time from a trial that failed to the next one, in ns, unless the agent sets another.
pub const RETRY_NS: u64 = 5_000_000_000;
