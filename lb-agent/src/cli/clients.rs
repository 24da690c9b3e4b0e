//! Which pods' sockets are balanced: the flags.

use clap::{ArgAction, Args};

use crate::policy::{ClientSelection, Selector};

#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Balance only the sockets of pods with these labels: a label selector as of kubectl, such as 'app=web,tier!=back' or
    /// 'env in (dev,test)'; '' selects all. The others' go to the packet path, or to kube-proxy. With this or one of the next four
    /// flags, pods with the annotation socklb.dev/sockets: "false" are left out, and a pod's sockets are balanced from the moment at
    /// which its network namespace is found [default: all pods].
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    pub pods: Option<Selector>,

    /// Balance only the sockets of pods in namespaces with these labels [default: all namespaces].
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    pub namespaces: Option<Selector>,

    /// Leave out pods with these labels, such as 'security.istio.io/tlsMode=istio' [default: none].
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    pub except_pods: Option<Selector>,

    /// Leave out pods in namespaces with these labels, such as 'istio-injection=enabled' [default: none].
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    pub except_namespaces: Option<Selector>,

    /// Balance the sockets of processes in the host's network, and so of pods with hostNetwork.
    #[arg(long, value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub host: bool,
}

impl ClientArgs {
    /// None: all clients.
    pub(super) fn selection(self) -> Option<ClientSelection> {
        let selection = ClientSelection {
            pods: self.pods,
            namespaces: self.namespaces,
            except_pods: self.except_pods,
            except_namespaces: self.except_namespaces,
            includes_host: self.host,
        };
        let everybody = ClientSelection {
            pods: None,
            namespaces: None,
            except_pods: None,
            except_namespaces: None,
            includes_host: true,
        };
        (selection != everybody).then_some(selection)
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    text.parse()
}
