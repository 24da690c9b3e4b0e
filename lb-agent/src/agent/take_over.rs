//! Two agents on one pin folder, as in a rolling update: the new agent asks the old one to hand over.
//!
//! Only the lock of the folder decides which agent may write. The new agent lists the source, waits for the lock in the
//! kernel's queue, and asks over the unix socket. The old agent closes its ports and releases the lock. It then tries
//! the lock at intervals, and never asks for it.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use super::settings::AgentSettings;
use super::source;
use crate::kernel::{self, KernelError, Pins};
use crate::policy::ClientSelection;
use crate::serve::{self, FetchError, HandOver, HandingOver, Probes, ProcessStage};
use crate::source::{Batch, ClientKinds};

/// How often an agent in standby tries the lock. The agent that asked for the lock is in the kernel's queue, and so
/// gets it long before.
const TRY: Duration = Duration::from_millis(500);

/// A holder that does not answer within this time is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// When to ask a holder again that agreed, in case a third agent got the lock first.
const AFTER_YES: Duration = Duration::from_secs(5);
/// When to ask a holder again that does not listen; it may be about to.
const AFTER_SILENCE: Duration = Duration::from_secs(1);
/// When to ask a holder again that gave any other answer, or none. Also how often to log that this agent is waiting.
const AFTER_NO: Duration = Duration::from_secs(30);

/// The state at the start of a tenure: the source is watched, and this agent holds the pin folder.
pub struct Prepared {
    pub began: Instant,
    pub source: source::WatchedSource,
    pub batches: mpsc::Receiver<Batch>,
    /// The batches that the source has sent so far.
    pub first: Batch,
    pub pins: Pins,
}

/// Opens the source and locks the pin folder, however long that takes. Writes nothing before.
///
/// `asks`: ask the agent that holds the folder to hand it over. Otherwise only wait for that agent to exit.
pub async fn prepare(
    settings: &AgentSettings,
    probes: &Probes,
    asks: bool,
) -> anyhow::Result<Prepared> {
    let stood_by = match asks {
        true => None,
        false => Some(stand_by(&settings.kernel.pin_dir).await?),
    };
    if stood_by.is_some() {
        probes.enter(ProcessStage::Starting);
    }
    let began = Instant::now();
    let kinds = client_kinds(settings.clients.as_ref());
    let (source, mut first) = source::open(&settings.source, kinds).await?;
    let (sender, mut batches) = mpsc::channel(16);
    let source = source.watch(&settings.source, sender)?;
    let pins = match stood_by {
        Some(pins) => pins,
        None => match kernel::lock(&settings.kernel) {
            Err(KernelError::Locked { .. }) => {
                probes.enter(ProcessStage::Waiting);
                wait(settings, &mut batches, &mut first).await?
            }
            result => result?,
        },
    };
    Ok(Prepared {
        began,
        source,
        batches,
        first,
        pins,
    })
}

/// The kinds that an agent with this selection reads too.
fn client_kinds(selection: Option<&ClientSelection>) -> ClientKinds {
    ClientKinds {
        pods: selection.is_some(),
        namespaces: selection.is_some_and(ClientSelection::needs_namespaces),
    }
}

/// Waits until the agent that took over has exited.
async fn stand_by(folder: &Path) -> Result<Pins, KernelError> {
    loop {
        sleep(TRY).await;
        match Pins::open(folder) {
            Err(KernelError::Locked { .. }) => {}
            result => {
                tracing::info!(
                    event = "agent.successor_exited",
                    "the agent that took over has exited: starting again",
                );
                return result;
            }
        }
    }
}

/// Waits for the lock, and asks the holder for it.
async fn wait(
    settings: &AgentSettings,
    batches: &mut mpsc::Receiver<Batch>,
    first: &mut Batch,
) -> anyhow::Result<Pins> {
    let folder = settings.kernel.pin_dir.clone();
    // This wait cannot be cancelled: only the end of the process ends it early.
    let lock = tokio::task::spawn_blocking(move || Pins::wait(&folder));
    let asking = async {
        list(&settings.kernel.pin_dir, batches, first).await;
        keep_asking(settings).await
    };
    let pins = tokio::select! {
        pins = lock => pins.context("cannot wait for the lock of the pin folder")??,
        never = asking => match never {},
    };
    tracing::info!(
        event = "agent.took_over",
        path = %pins.folder().display(),
        "took over the pin folder from another agent",
    );
    Ok(pins)
}

/// Collects batches of the source until every kind is listed. The holder, whose lists are complete, works on until
/// then, so the hand-over is short.
async fn list(folder: &Path, batches: &mut mpsc::Receiver<Batch>, first: &mut Batch) {
    let mut reminder = interval(AFTER_NO);
    while !first.has_listed {
        tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => first.append(batch),
                None => return,
            },
            _ = reminder.tick() => tracing::info!(
                event = "hand_over.postponed",
                path = %folder.display(),
                holder = kernel::holder_of(folder),
                "another agent holds the pin folder: listing all objects before asking for it",
            ),
        }
    }
}

async fn keep_asking(settings: &AgentSettings) -> Infallible {
    let folder = &settings.kernel.pin_dir;
    let mut warned: Option<Instant> = None;
    loop {
        let holder = kernel::holder_of(folder);
        let again = match ask(settings).await {
            Ok(HandingOver { version }) => {
                tracing::info!(
                    event = "hand_over.promised",
                    path = %folder.display(),
                    holder,
                    version,
                    "the agent that holds the pin folder hands it over",
                );
                AFTER_YES
            }
            Err(No { reason, why, again }) => {
                if warned.is_none_or(|at| at.elapsed() >= AFTER_NO) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        event = "hand_over.refused",
                        path = %folder.display(),
                        holder,
                        reason,
                        error = why,
                        "another agent holds the pin folder and does not hand it over: waiting until it exits",
                    );
                }
                again
            }
        };
        sleep(again).await;
    }
}

/// Why the holder does not hand over, and when to ask it again.
struct No {
    /// One of a few fixed words.
    reason: &'static str,
    why: String,
    again: Duration,
}

async fn ask(settings: &AgentSettings) -> Result<HandingOver, No> {
    let no = |reason, why| No {
        reason,
        why,
        again: AFTER_NO,
    };
    let (device, inode) =
        identity(&settings.kernel.pin_dir).map_err(|error| no("error", error.to_string()))?;
    let wanted = HandOver {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device,
        inode,
    };
    let socket = settings.socket.display();
    let asked = serve::post(&settings.socket, serve::HAND_OVER, &wanted);
    let Ok(answer) = timeout(ANSWER_WITHIN, asked).await else {
        let seconds = ANSWER_WITHIN.as_secs();
        let why = format!("no answer on {socket} within {seconds} s");
        return Err(no("no_answer", why));
    };
    answer.map_err(|error| match error {
        FetchError::Status { status, .. } if status.as_u16() == 404 => {
            let why = format!("the agent on {socket} is too old to hand over");
            no("too_old", why)
        }
        FetchError::Status { status, .. } if status.as_u16() == 409 => no(
            "other_pin_dir",
            format!(
                "the agent on {socket} has another --pin-dir: set --socket to that of the holder"
            ),
        ),
        FetchError::Connect { error, .. } => No {
            reason: "not_listening",
            why: format!(
                "no agent listens on {socket} ({error}): set --socket to that of the holder"
            ),
            again: AFTER_SILENCE,
        },
        error => no("error", error.to_string()),
    })
}

/// The device and the inode number of the pin folder.
pub fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let folder = folder.metadata()?;
    Ok((folder.dev(), folder.ino()))
}
