//! What a node expects of kube-proxy besides balancing.

mod conntrack;
mod entries;
mod health;
mod new_flows;
mod sysctls;
