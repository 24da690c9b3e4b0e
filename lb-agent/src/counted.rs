//! Numbers of things in texts for people.

use std::fmt::Display;

/// A number with its noun: `1 backend`, `2 backends`.
///
/// `noun`: in the singular, with a plural in "s".
#[must_use]
pub fn counted(number: impl Display, noun: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let texts = [0, 1, 2, 11, 21].map(|number| counted(number, "network device"));
        assert_eq!(
            texts,
            [
                "0 network devices",
                "1 network device",
                "2 network devices",
                "11 network devices",
                "21 network devices"
            ]
        );
    }
}
