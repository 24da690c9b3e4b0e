//! The changes: the servers of one Service after another are replaced, and now and then a Service is added or removed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::starvation;

use super::services::Services;
use crate::kubernetes::Cluster;

/// 66 changes a second.
const PERIOD: Duration = Duration::from_millis(15);

/// The number of changes per second to make, in the time that this process was given.
const LEAST: f64 = 50.0;

/// One in this many changes adds or removes a Service.
const GUEST: usize = 10;

pub struct Churn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Made>>>,
}

impl Churn {
    pub fn start(cluster: &Arc<Cluster>, services: &Arc<Services>, random: fastrand::Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, cluster, services) = (stop.clone(), cluster.clone(), services.clone());
        let thread = thread::spawn(move || run(&stopped, &cluster, &services, random));
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// From now on nothing changes.
    pub fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it runs until now")?;
        let made = thread
            .join()
            .map_err(|_| anyhow::anyhow!("what makes changes panicked"))??;
        println!("{made}");
        ensure!(
            made.is_enough(),
            "{made}: this machine is too slow to make {LEAST}"
        );
        Ok(())
    }
}

/// The number of changes, and their time.
struct Made {
    changes: u32,
    passed: Duration,
    /// How long, of that time, threads of the test waited for a CPU.
    starved: Duration,
}

impl Made {
    fn is_enough(&self) -> bool {
        let given = self.passed.saturating_sub(self.starved);
        f64::from(self.changes) >= LEAST * given.as_secs_f64()
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = f64::from(self.changes) / self.passed.as_secs_f64();
        write!(
            f,
            "{rate:.0} changes a second for {:.0} s, of which something of the test waited for a CPU for {:.0} s",
            self.passed.as_secs_f64(),
            self.starved.as_secs_f64()
        )
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(
    stop: &AtomicBool,
    cluster: &Cluster,
    services: &Services,
    mut random: fastrand::Rng,
) -> Result<Made> {
    let began = Instant::now();
    let mut changes = 0;
    while !stop.load(Ordering::Relaxed) {
        if random.usize(..GUEST) == 0 {
            let guest = &services.guests()[random.usize(..services.guests().len())];
            match guest.is_there() {
                true => guest.delete(&cluster.server)?,
                false => guest.create(&cluster.server, &mut random)?,
            }
        } else {
            let changing = &services.changing()[random.usize(..services.changing().len())];
            changing.change(&cluster.server, &mut random)?;
        }
        changes += 1;
        let next = began + PERIOD * changes;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(Made {
        changes,
        passed: began.elapsed(),
        starved: starvation::starved_since(began),
    })
}
