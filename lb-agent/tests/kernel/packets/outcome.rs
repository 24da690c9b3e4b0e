//! What becomes of a question: answered, refused at once, or dropped.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Pod, Question};

use super::scene::{Protocol, put};
use crate::support::eventually;

/// How long nothing comes before a question counts as dropped. An answer that is expected has longer.
const SILENCE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// By a reset, or by an ICMP error.
    Refused,
    /// No packet came back.
    Dropped,
}

/// What becomes of one question.
pub fn outcome(client: &Pod, question: Question, protocol: Protocol) -> Result<Outcome> {
    match put(client, question, protocol) {
        Ok(_) => Ok(Outcome::Answered),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Outcome::Refused),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Outcome::Dropped),
            _ => Err(error).context("neither answered nor refused"),
        },
    }
}

/// Asks once; fails unless it becomes this.
pub fn expect(client: &Pod, to: SocketAddr, protocol: Protocol, wanted: Outcome) -> Result<()> {
    let question = match wanted {
        Outcome::Dropped => Question::to(to).within(SILENCE),
        Outcome::Answered | Outcome::Refused => Question::to(to),
    };
    let name = client.name();
    let became = outcome(client, question, protocol)
        .with_context(|| format!("{name} asks {to} over {protocol:?}"))?;
    ensure!(
        became == wanted,
        "{name} asks {to} over {protocol:?}: {became:?} instead of {wanted:?}"
    );
    Ok(())
}

/// Asks until it becomes this.
pub fn wait_for(client: &Pod, to: SocketAddr, protocol: Protocol, wanted: Outcome) -> Result<()> {
    let question = Question::to(to).within(SILENCE);
    let what = format!(
        "{to} over {protocol:?} is {wanted:?} from {}",
        client.name()
    );
    // While devices and addresses change, there may be no route.
    eventually(&what, || {
        Ok(outcome(client, question, protocol).is_ok_and(|became| became == wanted))
    })
}
