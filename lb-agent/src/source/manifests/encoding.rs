//! Detects a file's encoding as kubectl does: by a byte order mark, else UTF-8 (`FileVisitor.Visit` of cli-runtime, which reads
//! through `unicode.BOMOverride`).

use std::fmt;

const MARK: char = '\u{feff}';

/// The text of a file.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Decoded {
    /// Without the byte order mark. U+FFFD replaces each invalid byte.
    pub(super) text: String,
    /// The first invalid position.
    pub(super) flaw: Option<Flaw>,
}

/// A position in a file that is not valid text. Its bytes are not shown, because the file may be secret.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Flaw {
    /// From 1.
    line: usize,
    /// In bytes, from 1 at the start of the line.
    byte: usize,
    encoding: &'static str,
}

/// Decodes a whole file. This never fails: U+FFFD replaces invalid bytes.
pub(super) fn decode(bytes: Vec<u8>) -> Decoded {
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(&bytes, u16::from_le_bytes),
        Some([0xfe, 0xff]) => utf16(&bytes, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: Vec<u8>) -> Decoded {
    let (mut text, flaw) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let before = &bytes[..good];
            let line_start = before.iter().rposition(|&byte| byte == b'\n');
            let flaw = Flaw {
                line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
                byte: good - line_start.map_or(0, |at| at + 1) + 1,
                encoding: "UTF-8",
            };
            (String::from_utf8_lossy(bytes).into_owned(), Some(flaw))
        }
    };
    if text.starts_with(MARK) {
        text.remove(0);
    }
    Decoded { text, flaw }
}

/// `bytes` includes the byte order mark.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Decoded {
    let (units, rest) = bytes.as_chunks();
    let mut decoded = Decoded::default();
    let (mut line, mut line_start, mut at) = (1, 0, 0);
    let flaw = |line, byte| Flaw {
        line,
        byte,
        encoding: "UTF-16",
    };
    for read in char::decode_utf16(units.iter().copied().map(unit)) {
        let character = read.unwrap_or_else(|_| {
            decoded
                .flaw
                .get_or_insert_with(|| flaw(line, at - line_start + 1));
            char::REPLACEMENT_CHARACTER
        });
        // An unpaired surrogate has one unit, and so has its replacement.
        at += 2 * character.len_utf16();
        if at > 2 {
            decoded.text.push(character);
        }
        if character == '\n' {
            line += 1;
            line_start = at;
        }
    }
    if !rest.is_empty() {
        decoded
            .flaw
            .get_or_insert_with(|| flaw(line, at - line_start + 1));
        decoded.text.push(char::REPLACEMENT_CHARACTER);
    }
    decoded
}

impl Decoded {
    /// Whether the text ends within a character. The file may be half-written.
    pub(super) fn is_cut(&self) -> bool {
        self.flaw.is_some() && self.text.ends_with(char::REPLACEMENT_CHARACTER)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, byte {}: not {}; it and any further ones are read as U+FFFD: save the file as UTF-8",
            self.line, self.byte, self.encoding
        )
    }
}
