//! Which service ports have changed, for those who ask.

use std::collections::BTreeMap;

use crate::policy::{ServicePort, ServicePortKey, Update};

/// Collects nothing until somebody asks for it.
#[derive(Debug, Default)]
pub struct ChangedPorts(Option<BTreeMap<ServicePortKey, Option<ServicePort>>>);

impl ChangedPorts {
    /// Collects changes from now on.
    pub fn collect(&mut self) {
        self.0 = Some(BTreeMap::new());
    }

    /// `update`: with NodePorts on the node's addresses.
    pub fn note(&mut self, update: &Update) {
        if let Some(ports) = &mut self.0 {
            ports.extend(update.removed.iter().map(|key| (key.clone(), None)));
            let changed = update.changed.iter();
            ports.extend(changed.map(|port| (port.key.clone(), Some(port.clone()))));
        }
    }

    /// The service ports that have changed since the last call, and those that were removed and have not come back.
    pub fn take(&mut self) -> (Vec<ServicePort>, Vec<ServicePortKey>) {
        let changed = self.0.as_mut().map(std::mem::take);
        let mut ports = (Vec::new(), Vec::new());
        for (key, port) in changed.unwrap_or_default() {
            match port {
                Some(port) => ports.0.push(port),
                None => ports.1.push(key),
            }
        }
        ports
    }
}
