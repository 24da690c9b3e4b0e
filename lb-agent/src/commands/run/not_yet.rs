//! What Services ask for and this version does not do: said aloud, since it would otherwise be missed in silence.

use crate::policy::ServicePort;

/// One line about all of them; none when nothing is missing.
pub fn line<'a>(ports: impl Iterator<Item = &'a ServicePort>) -> Option<String> {
    let affinity = ports.filter(|port| port.affinity_seconds.is_some()).count();
    (affinity > 0).then(|| {
        format!(
            "not in this version: {affinity} service ports are balanced without their session affinity"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn nothing_is_said_when_nothing_is_missing() {
        assert_eq!(line(std::iter::empty()), None);
    }
}
