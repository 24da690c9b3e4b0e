//! The terminal: taken over at the start, and given back however the command ends.

use std::io::{self, IsTerminal as _};
use std::{panic, thread};

use anyhow::{Context as _, bail};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Events that wait for the main loop.
const QUEUE: usize = 64;

/// What happens at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(KeyEvent),
    /// The terminal has another size.
    Resize,
    /// A signal asks the command to end.
    End,
}

#[derive(Debug)]
pub(super) struct Screen {
    /// It shows the cursor again on drop.
    terminal: DefaultTerminal,
    events: mpsc::Receiver<io::Result<Event>>,
    ends: [Signal; 3],
}

/// Fails if the command has no terminal.
///
/// # Errors
/// stdin or stdout is another kind of file.
pub(super) fn check() -> anyhow::Result<()> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    bail!(
        "cannot show a screen: stdin and stdout are not a terminal; use `kubectl exec -it`, or `lb-agent services --watch` for text"
    )
}

impl Screen {
    /// # Errors
    /// The terminal cannot be used.
    pub fn open() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen to signals");
        let ends = [
            on(SignalKind::terminate())?,
            on(SignalKind::interrupt())?,
            on(SignalKind::hangup())?,
        ];
        show_cursor_on_panic();
        let terminal = ratatui::try_init()
            .and_then(|terminal| {
                // A terminal without an alternate screen still shows its old text.
                execute!(io::stdout(), Clear(ClearType::All))?;
                Ok(terminal)
            })
            .inspect_err(|_| ratatui::restore())
            .context("cannot use the terminal")?;
        Ok(Self {
            terminal,
            events: read_events(),
            ends,
        })
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        self.terminal
            .draw(draw)
            .context("cannot draw on the terminal")?;
        Ok(())
    }

    /// Waits for what happens next. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> anyhow::Result<Input> {
        let [terminate, interrupt, hangup] = &mut self.ends;
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = terminate.recv() => return Ok(Input::End),
                _ = interrupt.recv() => return Ok(Input::End),
                _ = hangup.recv() => return Ok(Input::End),
            };
            match event.transpose().context("cannot read the terminal")? {
                None => return Ok(Input::End),
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    return Ok(Input::Key(key));
                }
                Some(Event::Resize(..)) => return Ok(Input::Resize),
                Some(_) => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Reads the terminal on a thread, which ends with the process.
fn read_events() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, events) = mpsc::channel(QUEUE);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let has_failed = event.is_err();
            if sender.blocking_send(event).is_err() || has_failed {
                return;
            }
        }
    });
    events
}

/// ratatui restores everything else on a panic.
fn show_cursor_on_panic() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // The terminal may be gone.
        let _ = execute!(io::stdout(), Show);
        hook(info);
    }));
}
