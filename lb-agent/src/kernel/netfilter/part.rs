//! The parts of our table, for messages.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Table,
    Chain(String),
    Map(String),
    Elements,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the table"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Map(name) => write!(f, "map {name}"),
            Self::Elements => write!(f, "elements of the maps"),
        }
    }
}
