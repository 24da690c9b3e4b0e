//! Two agents on one pin folder, as in a rolling update: the one that comes asks the one that is there to make way.
//!
//! The folder's lock alone decides who may write. The one that comes lists the source, waits for the lock in the kernel's
//! queue, and asks over the unix socket; the one that is there closes its ports and lets go. It then tries now and
//! then whether the lock is free, and never asks.

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
use crate::serve::{self, FetchError, HandOver, HandingOver, Probes, ProcessStage};
use crate::source::Batch;

/// How often one that stands by tries the lock. Whoever asked for it is in the kernel's queue and has it long before.
const TRY: Duration = Duration::from_millis(500);

/// A holder that does not answer within this is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How soon to ask again one that said yes, in case somebody else was quicker.
const AFTER_YES: Duration = Duration::from_secs(5);
/// One that does not listen: it may be about to.
const AFTER_SILENCE: Duration = Duration::from_secs(1);
/// One that answered something else, or nothing. Also how often it is said that something is waited for.
const AFTER_NO: Duration = Duration::from_secs(30);

/// What a turn begins with: the source is watched, and the pin folder is ours.
pub struct Prepared {
    pub began: Instant,
    pub source: source::WatchedSource,
    pub batches: mpsc::Receiver<Batch>,
    /// What the source has said already.
    pub first: Batch,
    pub pins: Pins,
}

/// Opens the source and gets hold of the pin folder, however long that takes. Nothing is written before.
///
/// `asks`: another agent that has the folder is asked to make way; else only its end is waited for.
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
    let (source, mut first) = source::open(&settings.source).await?;
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

/// Waits until the agent that was handed over to is gone.
async fn stand_by(folder: &Path) -> Result<Pins, KernelError> {
    loop {
        sleep(TRY).await;
        match Pins::open(folder) {
            Err(KernelError::Locked { .. }) => {}
            result => {
                tracing::info!("the lb-agent that took over is gone: starting again");
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
    // Not to be called off: only the end of the process ends it early.
    let lock = tokio::task::spawn_blocking(move || Pins::wait(&folder));
    let asking = async {
        list(&settings.kernel.pin_dir, batches, first).await;
        keep_asking(settings).await
    };
    let pins = tokio::select! {
        pins = lock => pins.context("cannot wait for the lock of the pin folder")??,
        never = asking => match never {},
    };
    tracing::info!("took over {}", pins.folder().display());
    Ok(pins)
}

/// Takes in what the source says until every kind was listed. A holder that knows more goes on with its work until then,
/// and the hand-over is short.
async fn list(folder: &Path, batches: &mut mpsc::Receiver<Batch>, first: &mut Batch) {
    let mut says = interval(AFTER_NO);
    while !first.has_listed {
        tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => first.append(batch),
                None => return,
            },
            _ = says.tick() => tracing::info!(
                "another lb-agent holds {}{}: it goes on until this one has listed the source",
                folder.display(),
                holder(folder)
            ),
        }
    }
}

async fn keep_asking(settings: &AgentSettings) -> Infallible {
    let folder = &settings.kernel.pin_dir;
    let mut said: Option<Instant> = None;
    loop {
        let holder = holder(folder);
        let again = match ask(settings).await {
            Ok(HandingOver { version }) => {
                tracing::info!(
                    "the lb-agent that holds {}{holder}, version {version}, hands over",
                    folder.display()
                );
                AFTER_YES
            }
            Err(No { why, again }) => {
                if said.is_none_or(|at| at.elapsed() >= AFTER_NO) {
                    said = Some(Instant::now());
                    tracing::warn!(
                        "waiting for {}: another lb-agent holds it{holder} and does not hand over: {why}",
                        folder.display()
                    );
                }
                again
            }
        };
        sleep(again).await;
    }
}

/// ` (process 123)`.
fn holder(folder: &Path) -> String {
    kernel::holder_of(folder).map_or_else(String::new, |process| format!(" (process {process})"))
}

/// Why the holder does not make way, and when to ask it again.
struct No {
    why: String,
    again: Duration,
}

async fn ask(settings: &AgentSettings) -> Result<HandingOver, No> {
    let no = |why| No {
        why,
        again: AFTER_NO,
    };
    let (device, inode) =
        identity(&settings.kernel.pin_dir).map_err(|error| no(error.to_string()))?;
    let wanted = HandOver {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device,
        inode,
    };
    let socket = settings.socket.display();
    let asked = serve::post(&settings.socket, serve::HAND_OVER, &wanted);
    let Ok(answer) = timeout(ANSWER_WITHIN, asked).await else {
        let seconds = ANSWER_WITHIN.as_secs();
        return Err(no(format!("no answer on {socket} within {seconds} s")));
    };
    answer.map_err(|error| match error {
        FetchError::Status { status, .. } if status.as_u16() == 404 => {
            no(format!("the one on {socket} is too old to be asked"))
        }
        FetchError::Status { status, .. } if status.as_u16() == 409 => no(format!(
            "the one on {socket} has another --pin-dir, so the holder must have another --socket"
        )),
        FetchError::Connect { error, .. } => No {
            why: format!("nobody listens on {socket} ({error}): it may have another --socket"),
            again: AFTER_SILENCE,
        },
        error => no(error.to_string()),
    })
}

/// The device and the inode of the pin folder.
pub fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let folder = folder.metadata()?;
    Ok((folder.dev(), folder.ino()))
}
