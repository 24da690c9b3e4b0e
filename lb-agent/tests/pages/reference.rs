//! docs/reference.md, from the command line's own definitions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use clap_markdown::{MarkdownOptions, help_markdown_custom};
use lb_agent::cli::Cli;

/// Replaces clap_markdown's first sentence.
const INTRODUCTION: &str = "\
Flags, environment variables and exit codes are stable interfaces: [stability.md](stability.md). [install.md](install.md) shows
their use in a cluster.";

const ANNOTATIONS: &str = "
## Annotations

A change takes effect on a live Service or pod, and loses no connection. A value that is not allowed is reported with the object's name, and the default is used.

| annotation | on | values | default | meaning |
| --- | --- | --- | --- | --- |
| `socklb.dev/algorithm` | Service | `random`, `least-conn`, `maglev`, `round-robin` | `--default-algorithm` | how a backend is chosen |
| `socklb.dev/outlier-detection` | Service | `\"true\"`, `\"false\"` | `\"true\"` with `--outlier-detection`, else `\"false\"` | avoid backends to which connects of this node fail: [outlier-detection.md](outlier-detection.md) |
| `socklb.dev/slow-start` | Service | `\"1s\"` to `\"1h\"`, like `\"30s\"` or `\"2m\"` | none: the whole share at once | the time in which a new backend gets its whole share: [below](#slow-start) |
| `socklb.dev/spill-over` | Service | `\"1\"` to `\"10\"`, like `\"1.4\"` | none: topology hints are followed | send a part of the connections elsewhere while too few of the zone's endpoints are ready: [below](#spill-over) |
| `socklb.dev/drain` | Service | `\"none\"`, `\"0s\"`, `\"1s\"` to `\"24h\"`, like `\"30s\"` | `--drain`, else `\"none\"` | within this time, end TCP connections whose backend has stopped serving: [draining.md](draining.md) |
| `socklb.dev/ignore` | Service | `\"true\"`, `\"false\"` | `\"false\"` | leave the Service to another program |
| `socklb.dev/sockets` | Pod | `\"true\"`, `\"false\"` | `\"true\"` | leave the pod's sockets alone; counts only with `--pods`, `--namespaces`, `--except-pods`, `--except-namespaces` or `--host false` |
| `socklb.dev/weight` | EndpointSlice | `\"0\"` to `\"1000\"` | `\"1\"` | the weight of each endpoint of the slice: [below](#weights) |
| `service.cilium.io/weight` | EndpointSlice | `\"0\"` to `\"65535\"` | `\"100\"` | the same, for slices without `socklb.dev/weight` |

### Weights

An endpoint's share of new connections is its weight divided by the sum of all weights in the view. Each algorithm honours weights: `random` and
`round-robin` as the share, `round-robin` without long sequences to one backend, `maglev` as the share of clients, and `least-conn` compares open connections
divided by weight. Session affinity comes first: weights count when a client gets a backend.

* **Weight 0** means maintenance: no new connections. Open connections stay, and so do UDP flows; session affinity moves to another backend.
  Such an endpoint counts as not ready, also for topology hints, `Local` traffic policies and `healthCheckNodePort`: if every ready endpoint of a view has
  weight 0, endpoints that terminate and still serve get the connections, and without any the Service refuses them, as one without endpoints.
* **An endpoint in several slices** has the weight of the slice that counts by its conditions: not terminating before terminating, then ready before not
  ready, then the first by the slice's name. Kubernetes' own controller chooses the slice of an endpoint, so give weights to slices
  that you write yourself, or whose controller does.
* **Exactness.** Weights are divided by their greatest common divisor. A view has up to 1,024 slots, or 8 for each backend if that is more; if the sum of the
  divided weights exceeds it, they are scaled down, and each backend keeps at least one slot. A Maglev table has 100 to 200 slots for each
  backend when it is made, and gives each at least one. When the table of slots is full, a Service is balanced without its weights, and `status` reports it.
* **Cilium's annotation** is the one of Cilium 1.20, where it has an effect with Maglev only. As there, a slice without it counts as 100, but only in Services of
  which some slice has Cilium's annotation without `socklb.dev/weight`.

### Slow start

With `socklb.dev/slow-start: 30s`, the weight of a backend that comes grows to its whole value in 30 seconds, in tenths: a tenth of it at first, two tenths
after 6 seconds, then another tenth every 3 seconds. The steps come with the agent's tick, so they may be a second late. `backends -o wide` shows the part that counts.

* A backend is new when a view gets it: it has become ready, its weight is no longer 0, or hints select it. One that goes and comes back starts again.
* Those that a Service has when the agent first sees it, or when it gets the annotation, are not new. So after a restart of the agent, each backend has its
  whole share. A change of the time counts for backends that are starting.
* `least-conn` divides a backend's open connections by the weight that counts, so that a new one does not get every connection. With `maglev`, clients
  move to it step by step.
* If all backends of a view are starting since the same time, their shares are equal.
* Backends to which connections [spill over](#spill-over) are not new: they serve their own zone.

### Spill-over

Topology hints (`trafficDistribution`, `service.kubernetes.io/topology-mode`) keep connections in the node's zone, or on the node, however few endpoints
are left there. With `socklb.dev/spill-over: \"1.4\"`, these get no more than they can carry:

* The **health** of the zone is the sum of the weights of its ready endpoints, divided by that of all its endpoints, ready or not. Terminating ones, and
  those of weight 0, count on neither side.
* The share of connections that **stays** is the health times the factor, and never more than all. The rest goes to the other ready endpoints, by their weights.

| ready of ten in the zone | stays with `\"1\"` | with `\"1.4\"` | with `\"2\"` |
| --- | --- | --- | --- |
| 8 | 80 % | 100 % | 100 % |
| 6 | 60 % | 84 % | 100 % |
| 4 | 40 % | 56 % | 80 % |
| 2 | 20 % | 28 % | 40 % |
| 0 | hints are ignored, as in kube-proxy | | |

* **The factor** says how much more than its usual load an endpoint can carry. 1.4 is the default of Envoy's `overprovisioning_factor`, which means the same.
  In a rolling update, new endpoints are not ready at first. With 1.4 nothing spills over as long as five of seven are ready: so it is in zones with
  three endpoints or more, if a quarter more start there (`maxSurge: 25%`) and none is missing (`maxUnavailable: 0`). With a Deployment's defaults, where another
  quarter may be missing, up to 20 % spill over for a time; `\"1.75\"` avoids that. Where a second endpoint starts beside the only one, `\"2\"` does.
* **The zone's endpoints** are those with a hint for it. Kubernetes gives hints to ready endpoints only, so one that is not ready and has none belongs to its own
  zone (`zone` of the endpoint). If hints for nodes select, the same holds for the node, with `nodeName`; the rest then goes to all other endpoints, also to
  those of other zones.
* **Every algorithm** honours the shares, mostly within 1 %, and within 2 % if the weights are equal: they are weights themselves, and `plan` and `backends` show them as such. A
  part of less than an eighth goes to some of the other endpoints only (one for each thousandth), which are others on each node: a view has no room
  for smaller shares. `explain` has the step `SpillOver`; the column USED of `backends` says `spill-over`.
* **Open connections and session affinity** are not changed. A client with affinity keeps its backend while the view has it.
* Nothing spills over without hints, in views of the policy `Local`, or if such a view would have endpoints that hints select and others.
";

const VARIABLES: &str = "
## Environment variables

A flag on the command line takes precedence over its variable.

| variable | same as |
| --- | --- |
";

/// Each environment variable, with the flag that it sets.
fn variables(command: &Command, found: &mut BTreeMap<String, String>) {
    for argument in command.get_arguments() {
        if let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) {
            found.insert(variable.to_string_lossy().into_owned(), format!("--{flag}"));
        }
    }
    for command in command.get_subcommands() {
        variables(command, found);
    }
}

#[test]
fn the_reference_page_is_current() {
    let options = MarkdownOptions::new()
        .title("Reference".to_owned())
        .show_footer(false);
    let text = help_markdown_custom::<Cli>(&options);
    let generic =
        "This document contains the help content for the `lb-agent` command-line program.";
    assert!(text.contains(generic), "{text}");
    let text = text.replace(generic, INTRODUCTION);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    let mut page = format!("{}\n{ANNOTATIONS}{VARIABLES}", lines.join("\n"));
    let mut found = BTreeMap::new();
    variables(&Cli::command(), &mut found);
    assert!(!found.is_empty());
    for (variable, flag) in found {
        writeln!(page, "| `{variable}` | `{flag}` |").expect("a string takes it");
    }
    crate::check("reference.md", &page);
}
