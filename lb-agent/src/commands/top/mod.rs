//! `lb-agent top`: the Services by their connections, on a screen that refreshes itself.

mod app;
mod ask;
mod backend_row;
mod draw;
mod header;
mod keys;
mod list;
mod look;
mod open_service;
mod row;
mod service_row;
mod terminal;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use self::app::App;
use self::ask::Asker;
use self::draw::draw;
use self::keys::Step;
use self::look::Look;
use self::terminal::{Input, Screen};
use super::runtime::block_on;
use crate::serve::Selection;

/// What the screen shows.
#[derive(Clone, Debug)]
pub struct TopSettings {
    /// The unix socket of the agent.
    pub socket: PathBuf,
    pub selection: Selection,
    /// The time between an answer of the agent and the next question.
    pub interval: Duration,
}

/// Shows the Services until the user quits.
///
/// # Errors
/// There is no terminal, or no agent answers at the start.
pub fn top(settings: TopSettings) -> anyhow::Result<()> {
    terminal::check()?;
    block_on(async {
        let mut app = App::new(settings.selection);
        let mut asker = Asker::new(settings.socket, app.subject(), settings.interval);
        app.take(Ok(asker.next().await?));
        let look = Look::from_env();
        let mut screen = Screen::open()?;
        loop {
            screen.draw(|frame| draw(frame, &mut app, look))?;
            tokio::select! {
                input = screen.next() => match input? {
                    Input::Key(key) => match app.press(key) {
                        Step::Stay => {}
                        Step::Ask => asker.ask_about(app.subject()),
                        Step::Quit => return Ok(()),
                    },
                    Input::Resize => {}
                    Input::End => return Ok(()),
                },
                answer = asker.next(), if !app.is_paused => app.take(answer),
            }
        }
    })
}
