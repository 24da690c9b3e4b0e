//! A terminal with a command in it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context as _, Result};
use pty_process::Size;
use pty_process::blocking::{self as pseudoterminal, Pty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use vt100::Parser;

use crate::support::eventually;

/// A terminal with a command in it, which is ended on drop.
pub(super) struct Terminal {
    /// None after a hang-up.
    pty: Option<Pty>,
    child: Child,
    parser: Parser,
    /// All that the command has written.
    written: Vec<u8>,
}

impl Terminal {
    pub(super) fn start(command: Command, width: u16, height: u16) -> Result<Self> {
        let (pty, pts) = pseudoterminal::open()?;
        pty.resize(Size::new(height, width))?;
        let child = pseudoterminal::Command::from(command).spawn(pts)?;
        rustix::io::ioctl_fionbio(&pty, true)?;
        Ok(Self {
            pty: Some(pty),
            child,
            parser: Parser::new(size(height)?, size(width)?, 0),
            written: Vec::new(),
        })
    }

    /// Waits until the text on the screen is right.
    pub(super) fn wait_for(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let mut text = String::new();
        eventually(what, || {
            text = self.text()?;
            Ok(is_so(&text))
        })
        .with_context(|| format!("the screen is:\n{text}"))?;
        Ok(text)
    }

    /// The text on the screen.
    pub(super) fn text(&mut self) -> Result<String> {
        let Some(pty) = &mut self.pty else {
            return Ok(self.parser.screen().contents());
        };
        let mut bytes = [0; 4096];
        loop {
            match pty.read(&mut bytes) {
                Ok(0) => break,
                Ok(number) => {
                    self.parser.process(&bytes[..number]);
                    self.written.extend(&bytes[..number]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The command has ended.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.parser.screen().contents())
    }

    /// All that the command has written so far.
    pub(super) fn written(&mut self) -> Result<String> {
        self.text()?;
        Ok(String::from_utf8_lossy(&self.written).into_owned())
    }

    pub(super) fn press(&mut self, keys: &str) -> Result<()> {
        let pty = self.pty.as_mut().context("the terminal is gone")?;
        Ok(pty.write_all(keys.as_bytes())?)
    }

    pub(super) fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        self.parser.set_size(size(height)?, size(width)?);
        let pty = self.pty.as_mut().context("the terminal is gone")?;
        Ok(pty.resize(Size::new(height, width))?)
    }

    pub(super) fn hang_up(&mut self) {
        self.pty = None;
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until the command ends.
    pub(super) fn ended(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        eventually("the command ends", || {
            self.text()?;
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("it has ended")
    }

    /// Whether the command has taken over the screen, the cursor and the keys; none if it has only some of these.
    pub(super) fn is_taken(&mut self) -> Result<Option<bool>> {
        self.text()?;
        let modes = tcgetattr(self.pty.as_ref().context("the terminal is gone")?)?.local_modes;
        let screen = self.parser.screen();
        let taken = [
            screen.alternate_screen(),
            screen.hide_cursor(),
            !modes.contains(LocalModes::ECHO),
            !modes.contains(LocalModes::ICANON),
        ];
        Ok(match taken {
            [true, true, true, true] => Some(true),
            [false, false, false, false] => Some(false),
            _ => None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(number: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(number).context("a terminal has a size")
}
