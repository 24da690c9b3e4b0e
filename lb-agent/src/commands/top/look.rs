//! Colours, if the user wants any.

use std::env;

use ratatui::style::Stylize as _;
use ratatui::text::Span;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub has_color: bool,
}

impl Look {
    /// Without colours if `NO_COLOR` is set: <https://no-color.org>.
    pub fn from_env() -> Self {
        let no_color = env::var_os("NO_COLOR");
        Self {
            has_color: no_color.is_none_or(|value| value.is_empty()),
        }
    }

    pub fn trouble(self, text: String) -> Span<'static> {
        match self.has_color {
            true => text.red().bold(),
            false => text.bold(),
        }
    }

    pub fn attention(self, text: String) -> Span<'static> {
        match self.has_color {
            true => text.yellow(),
            false => text.bold(),
        }
    }
}
