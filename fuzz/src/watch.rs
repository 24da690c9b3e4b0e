//! Watches of an API server that sends arbitrary answers, down to the bytes of their bodies.

use std::time::Duration;

use lb_agent::source::Kubernetes;
use lb_agent::source::kubernetes::{Access, KubernetesSettings};
use tokio::sync::mpsc;

use crate::effect::{Effect, check_problems};
use crate::server::Script;

/// The answers of a server, as [`Script`] reads them.
///
/// # Panics
/// Without a runtime, or if the effect of the answers is wrong.
pub fn run(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("threads are not needed");
    runtime.block_on(follow(Script::read(bytes)));
}

/// Until the server has nothing more to send.
async fn follow(script: Script) {
    let settings = KubernetesSettings {
        access: Access::default(),
        node_name: "node-a".to_owned(),
        wants_foreign: false,
        clients: lb_agent::source::ClientKinds::default(),
        wants_service_cidrs: true,
        silent_within: Duration::from_secs(30),
    };
    let (over, server) = script.serve();
    let (sender, mut batches) = mpsc::channel(16);
    Kubernetes::at(settings, server).watch(sender);
    let mut effect = Effect::new();
    let receive = async {
        while let Some(batch) = batches.recv().await {
            check_problems(&batch.problems);
            effect.take(batch.changes);
            if batch.has_listed {
                effect.settle();
            }
        }
    };
    tokio::select! {
        () = receive => {}
        _ = over => {}
        () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
    }
    effect.settle();
}
