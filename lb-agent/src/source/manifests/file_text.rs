//! Reads a file's text. A file that is too large, or unexpectedly not a regular file, is reported, and reading it never blocks.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::encoding::{self, Decoded};

/// In bytes. A dump of a large cluster has half of it. An endless file, like /dev/zero, is cut off here.
const LARGEST: u64 = 64 << 20;

/// The problem with a file, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    why: String,
    remedy: &'static str,
}

/// Reads a file's text.
///
/// `may_wait`: the user named the file although it is not a regular one, and reading it may block.
pub(super) fn read(path: &Path, may_wait: bool) -> Result<Decoded, Unreadable> {
    let file = open(path, may_wait)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| LARGEST < length) {
        return Err(Unreadable {
            why: format!("is larger than {} MiB", LARGEST >> 20),
            remedy: "split it",
        });
    }
    Ok(encoding::decode(bytes))
}

/// A former regular file may be a FIFO now. A blocking open would wait for its writer.
fn open(path: &Path, may_wait: bool) -> Result<File, Unreadable> {
    let mut options = OpenOptions::new();
    options.read(true);
    if !may_wait {
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options
        .open(path)
        .map_err(|error| not_opened(path, &error))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if may_wait || is_file {
        return Ok(file);
    }
    Err(Unreadable {
        why: "is not a regular file".to_owned(),
        remedy: "write one",
    })
}

fn not_opened(path: &Path, error: &io::Error) -> Unreadable {
    let target = fs::read_link(path).ok();
    match target.filter(|_| error.kind() == io::ErrorKind::NotFound) {
        Some(target) => Unreadable {
            why: format!("is a link to {}, which does not exist", target.display()),
            remedy: "correct the link or remove it",
        },
        None => failed(error),
    }
}

fn failed(error: &io::Error) -> Unreadable {
    Unreadable {
        why: format!("cannot be read: {error}"),
        remedy: "make it readable",
    }
}

impl Unreadable {
    /// Formats the problem in one line.
    ///
    /// `keeps`: the file was read before, and its previous contents stay in effect.
    pub(super) fn line(&self, keeps: bool) -> String {
        if keeps {
            format!(
                "{}; its last readable contents stay in effect: {}",
                self.why, self.remedy
            )
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why, self.remedy)
    }
}
