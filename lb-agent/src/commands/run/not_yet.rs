//! What Services ask for and this version does not do: said aloud, since it would otherwise be missed in silence.

use crate::policy::{FrontendKind, ServicePort};

/// One line about all of them; none when nothing is missing.
pub fn line<'a>(ports: impl Iterator<Item = &'a ServicePort>) -> Option<String> {
    let (mut node_ports, mut affinity) = (0_usize, 0_usize);
    for port in ports {
        let of_nodes = port.frontends.iter();
        node_ports += of_nodes
            .filter(|f| f.kind == FrontendKind::NodePort)
            .count();
        affinity += usize::from(port.affinity_seconds.is_some());
    }
    let said = [
        (node_ports, "NodePorts are not served"),
        (
            affinity,
            "service ports are balanced without their session affinity",
        ),
    ];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    (!said.is_empty()).then(|| format!("not in this version: {}", said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn nothing_is_said_when_nothing_is_missing() {
        assert_eq!(line(std::iter::empty()), None);
    }
}
