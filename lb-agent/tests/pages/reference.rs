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

A changed annotation takes effect on a live object, and no connection is lost. If a value is not allowed, the agent reports it with the object's name and uses the default.
The agent also reports an annotation whose name begins with `socklb.dev/`, but is not in the list or is for another kind; it has no effect. The agent reads annotations of
pods only with one of the flags at `socklb.dev/sockets`.

| annotation | on | values | default | meaning |
| --- | --- | --- | --- | --- |
| `socklb.dev/algorithm` | Service | `random`, `least-conn`, `maglev`, `round-robin` | `--default-algorithm` | how a backend is chosen |
| `socklb.dev/outlier-detection` | Service | `\"true\"`, `\"false\"` | `\"true\"` with `--outlier-detection`, else `\"false\"` | avoid backends to which connects from this node fail: [outlier-detection.md](outlier-detection.md) |
| `socklb.dev/slow-start` | Service | `\"1s\"` to `\"1h\"`, like `\"30s\"` or `\"2m\"` | none: the whole share at once | the time until a new backend has its whole share: [below](#slow-start) |
| `socklb.dev/spill-over` | Service | `\"1\"` to `\"10\"`, like `\"1.4\"` | none: topology hints are followed | send a part of the connections elsewhere while too few of the zone's endpoints are ready: [below](#spill-over) |
| `socklb.dev/drain` | Service | `\"none\"`, `\"0s\"`, `\"1s\"` to `\"24h\"`, like `\"30s\"` | `--drain`, else `\"none\"` | within this time, end TCP connections whose backend has stopped serving: [draining.md](draining.md) |
| `socklb.dev/ignore` | Service | `\"true\"`, `\"false\"` | `\"false\"` | `\"true\"`: leave the Service to another program |
| `socklb.dev/sockets` | Pod | `\"true\"`, `\"false\"` | `\"true\"` | `\"false\"`: leave the pod's sockets alone; counts only with `--pods`, `--namespaces`, `--except-pods`, `--except-namespaces` or `--host false` |
| `socklb.dev/weight` | EndpointSlice | `\"0\"` to `\"1000\"` | `\"1\"` | the weight of each endpoint of the slice: [below](#weights) |
| `service.cilium.io/weight` | EndpointSlice | `\"0\"` to `\"65535\"` | `\"100\"` | the same, for slices without `socklb.dev/weight` |

### Weights

An endpoint's share of new connections is its weight divided by the sum of all weights in the view. Each algorithm honours weights. With `random` and
`round-robin` the share is one of connections, and `round-robin` avoids long sequences to one backend. With `maglev` it is a share of clients. `least-conn` compares open
connections divided by weight. Session affinity comes first: weights count only when a client gets a backend.

* **Weight 0** means maintenance: no new connections. Open connections stay, and so do UDP flows; session affinity moves to another backend.
  Such an endpoint counts as not ready, also for topology hints, `Local` traffic policies and `healthCheckNodePort`. If every ready endpoint of a view has
  weight 0, endpoints that terminate and still serve get the connections. If there are none, the Service refuses connections, like a Service without endpoints.
* **An endpoint in several slices** has the weight of one of them. A slice in which the endpoint is not terminating comes first, then one in which it is ready, then
  the first by name. Kubernetes' EndpointSlice controller decides which slice an endpoint is in, so set weights only on slices that you write yourself, or that a
  controller of your own writes.
* **Precision.** Weights are divided by their greatest common divisor. A view has up to 1,024 slots, or 8 for each backend if that is more. If the sum of the
  divided weights is larger, they are scaled down, and each backend keeps at least one slot. A new Maglev table has 100 to 200 slots for each
  backend, and gives each backend at least one. When the table of slots is full, a Service is balanced without its weights, and `status` reports it.
* **Cilium's annotation** is that of Cilium 1.20, where it has an effect only with Maglev. As in Cilium, a slice without it has weight 100, but only in Services in
  which some slice has Cilium's annotation and no `socklb.dev/weight`.

### Slow start

With `socklb.dev/slow-start: 30s`, the weight of a new backend grows to its whole value in 30 seconds, in tenths: one tenth at first, two tenths
after 6 seconds, then another tenth every 3 seconds. The agent checks once a second, so a step may be a second late. `backends -o wide` shows the effective part of a weight.

* A backend is new when it enters a view: it has become ready, its weight is no longer 0, or hints select it. A backend that leaves and returns starts again.
* Backends that a Service has when the agent first sees it, or when the Service gets the annotation, are not new. So after a restart of the agent, each backend has its
  whole share. A changed time also applies to backends that are starting.
* `least-conn` divides a backend's open connections by its effective weight, so that a new backend does not get every connection. With `maglev`, clients
  move to it step by step.
* If all backends of a view started at the same time, their shares are equal.
* Backends to which connections [spill over](#spill-over) are not new: they serve their own zone already.

### Spill-over

Topology hints (`trafficDistribution`, `service.kubernetes.io/topology-mode`) keep connections in the node's zone, or on the node, however few endpoints
are left there. With `socklb.dev/spill-over: \"1.4\"`, these endpoints get no more connections than they can carry:

* The **health** of the zone is the sum of the weights of its ready endpoints, divided by the sum of the weights of all its endpoints, ready or not. Terminating
  endpoints, and those of weight 0, count in neither sum.
* The share of connections that **stays** is the health times the factor, but at most 100 %. The rest goes to the other ready endpoints, by their weights.

| ready of ten in the zone | stays with `\"1\"` | with `\"1.4\"` | with `\"2\"` |
| --- | --- | --- | --- |
| 8 | 80 % | 100 % | 100 % |
| 6 | 60 % | 84 % | 100 % |
| 4 | 40 % | 56 % | 80 % |
| 2 | 20 % | 28 % | 40 % |
| 0 | hints are ignored, as in kube-proxy | | |

* **The factor** says how much more than its usual load an endpoint can carry. 1.4 is the default of Envoy's `overprovisioning_factor`, which means the same.
  In a rolling update, new endpoints are not ready at first. With 1.4 nothing spills over as long as five of seven endpoints are ready. This holds in zones with
  three endpoints or more, if a quarter more start there (`maxSurge: 25%`) and none is missing (`maxUnavailable: 0`). With a Deployment's defaults, another
  quarter may be missing, and up to 20 % spill over for a time; `\"1.75\"` avoids that. If a zone has one endpoint and a second one starts beside it, `\"2\"` avoids spill-over.
* **The zone's endpoints** are those with a hint for it. Kubernetes gives hints only to ready endpoints, so an endpoint that is not ready and has no hint belongs to its own
  zone (`zone` of the endpoint). Hints for nodes work in the same way with `nodeName`; connections that do not stay on the node then go to all other endpoints, even to
  those of other zones.
* **Every algorithm** honours the shares, mostly within 1 %, and within 2 % if the weights are equal. The shares are weights themselves, and `plan` and `backends` show them as
  weights. If less than an eighth spills over, it goes to only some of the other endpoints (one for each thousandth), because a view has no room for smaller shares. Each
  node chooses different endpoints. `explain` has the step `SpillOver`; the column USED of `backends` says `spill-over`.
* **Open connections and session affinity** are not changed. A client with affinity keeps its backend as long as the view has that backend.
* Nothing spills over without hints, or in views of the policy `Local`. The same holds for a Service with a policy `Local` if this node has endpoints that hints select and
  endpoints that they do not.
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
