//! What a node expects of kube-proxy besides balancing.

mod conntrack;
mod health;
