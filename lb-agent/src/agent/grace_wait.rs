//! The grace period under way, if any.

use std::future::pending;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::kernel::{Grace, KernelError};

/// Waits on its own thread, since a grace period blocks for 10 to 20 ms.
#[derive(Debug, Default)]
pub struct GraceWait(Option<JoinHandle<Result<(), KernelError>>>);

impl GraceWait {
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    pub fn start(&mut self, period: &Arc<Grace>) {
        let period = Arc::clone(period);
        self.0 = Some(tokio::task::spawn_blocking(move || period.wait()));
    }

    /// Returns when the grace period is over; never returns if none is under way.
    ///
    /// Errors: the kernel refuses the system call that waits.
    pub async fn over(&mut self) -> anyhow::Result<()> {
        let Some(thread) = &mut self.0 else {
            return pending().await;
        };
        let result = thread.await;
        self.0 = None;
        result.context("cannot wait for a grace period")??;
        Ok(())
    }
}
