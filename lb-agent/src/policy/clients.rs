//! Which pods' sockets the hooks serve: selectors of pods and of their namespaces, and the annotation `socklb.dev/sockets`.

use std::fmt;

use super::annotations;
use super::report::Report;
use super::selector::Selector;
use crate::catalog::{Kind, Namespace, ObjectId, Pod, Problem};

/// Which clients the hooks serve. Without one they serve all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSelection {
    /// Only these pods (`--pods`).
    pub pods: Option<Selector>,
    /// Only pods in these namespaces (`--namespaces`).
    pub namespaces: Option<Selector>,
    /// Not these pods (`--except-pods`).
    pub except_pods: Option<Selector>,
    /// No pods in these namespaces (`--except-namespaces`).
    pub except_namespaces: Option<Selector>,
    /// Processes in the host's network namespace too (`--host`).
    pub includes_host: bool,
}

/// Why the hooks leave a client's sockets alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotServed {
    Annotation,
    Pods,
    ExceptPods,
    Namespaces,
    ExceptNamespaces,
    /// The labels of the pod's namespace are not known yet.
    UnknownNamespace,
    Host,
}

impl ClientSelection {
    /// Whether labels of namespaces matter.
    #[must_use]
    pub const fn needs_namespaces(&self) -> bool {
        self.namespaces.is_some() || self.except_namespaces.is_some()
    }

    /// Why a pod is not served; none: it is. Does not apply to pods in the host's network: see [`Self::why_not_host`].
    ///
    /// `namespace`: the pod's, if it is known.
    #[must_use]
    pub fn why_not(&self, pod: &Pod, namespace: Option<&Namespace>) -> Option<NotServed> {
        if pod.metadata.annotations.sockets.as_deref() == Some("false") {
            return Some(NotServed::Annotation);
        }
        let labels = &pod.metadata.labels;
        if self.pods.as_ref().is_some_and(|pods| !pods.matches(labels)) {
            return Some(NotServed::Pods);
        }
        if self
            .except_pods
            .as_ref()
            .is_some_and(|except| except.matches(labels))
        {
            return Some(NotServed::ExceptPods);
        }
        if !self.needs_namespaces() {
            return None;
        }
        let Some(namespace) = namespace else {
            return Some(NotServed::UnknownNamespace);
        };
        let labels = &namespace.metadata.labels;
        if self
            .namespaces
            .as_ref()
            .is_some_and(|of| !of.matches(labels))
        {
            return Some(NotServed::Namespaces);
        }
        let except = self.except_namespaces.as_ref();
        except
            .is_some_and(|except| except.matches(labels))
            .then_some(NotServed::ExceptNamespaces)
    }

    /// Why processes in the host's network namespace, and so pods with `hostNetwork`, are not served; none: they are.
    #[must_use]
    pub fn why_not_host(&self) -> Option<NotServed> {
        (!self.includes_host).then_some(NotServed::Host)
    }

    /// A number that differs from those of other selections, and from 0.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a, since the next release must calculate the same.
        let hash = self
            .to_string()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        hash.max(1)
    }
}

/// As flags.
impl fmt::Display for ClientSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (flag, selector) in [
            ("pods", &self.pods),
            ("namespaces", &self.namespaces),
            ("except-pods", &self.except_pods),
            ("except-namespaces", &self.except_namespaces),
        ] {
            if let Some(selector) = selector {
                write!(f, "--{flag} '{selector}' ")?;
            }
        }
        write!(f, "--host {}", self.includes_host)
    }
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Annotation => "it has the annotation socklb.dev/sockets: \"false\"",
            Self::Pods => "--pods does not select it",
            Self::ExceptPods => "--except-pods selects it",
            Self::Namespaces => "--namespaces does not select its namespace",
            Self::ExceptNamespaces => "--except-namespaces selects its namespace",
            Self::UnknownNamespace => "the labels of its namespace are not known",
            Self::Host => "it is in the host's network, and --host is false",
        })
    }
}

/// The problems of a pod's annotations. One that has a problem counts as if it were absent.
#[must_use]
pub fn annotation_problems(pod: &Pod) -> Vec<Problem> {
    let mut problems = Vec::new();
    let id = ObjectId::new(Kind::Pod, pod.metadata.object_name());
    let mut report = Report::new(id, &mut problems);
    let annotations = &pod.metadata.annotations;
    if let Some(value) = annotations.sockets.as_deref()
        && !matches!(value, "true" | "false")
    {
        report.add(format!(
            "annotation socklb.dev/sockets {value:?}: write \"false\", or \"true\" as without it; it is ignored"
        ));
    }
    annotations::report_meaningless(annotations, Kind::Pod, &mut report);
    problems
}
