//! The lines above the table.

use ratatui::style::Stylize as _;
use ratatui::text::{Line, Span};

use super::app::App;
use super::look::Look;
use super::open_service::OpenService;
use super::service_row::ServiceRow;
use crate::commands::services::{addresses, ports};
use crate::commands::table;
use crate::counted::counted;
use crate::serve::ServiceStatus;

/// Most problems of a Service to show; `lb-agent services -o json` has all of them.
const PROBLEMS: usize = 3;

/// The node, and the sums over the Services.
pub(super) fn of_node(app: &App, look: Look) -> Vec<Line<'static>> {
    let rows = app.services.rows();
    let active: u64 = rows.iter().map(|row| row.service.active).sum();
    let sums = [
        Some(counted(rows.len(), "Service")),
        rate(rows).map(|rate| format!("{rate:.1} connections/s")),
        Some(format!("{active} active")),
        app.node.refused.map(|rate| format!("{rate:.1} refused/s")),
    ];
    let sums = sums.into_iter().flatten().collect::<Vec<_>>().join("   ");
    let mut sums = vec![Span::from(sums)];
    if app.node.problems > 0 {
        sums.push("   ".into());
        sums.push(look.attention(counted(app.node.problems, "problem")));
    }
    vec![title(app), Line::from(sums)]
}

/// A Service.
pub(super) fn of_service(app: &App, open: &OpenService, look: Look) -> Vec<Line<'static>> {
    let name = format!("{}/{}", open.namespace, open.name);
    let Some(row) = &open.row else {
        let gone = look.attention("The agent does not balance it any more.".to_owned());
        return vec![
            title(app),
            Line::from(vec![name.bold(), "   ".into(), gone]),
        ];
    };
    let service = &row.service;
    let facts = [
        service.service_type.to_string(),
        addresses(&service.cluster_ips).join(", "),
        ports(&service.ports),
    ];
    let facts = facts.iter().filter(|fact| !fact.is_empty());
    let facts: String = facts.map(|fact| format!("   {fact}")).collect();
    let mut lines = vec![
        title(app),
        Line::from(vec![name.bold(), facts.into()]),
        Line::from(settings(service).join("   ")),
        Line::from(numbers(row).join("   ")),
    ];
    let problems = service.problems.iter().take(PROBLEMS);
    lines.extend(problems.map(|problem| Line::from(look.attention(problem.clone()))));
    lines
}

fn title(app: &App) -> Line<'static> {
    let mut title = vec![
        "socklb top".bold(),
        format!("   node {}   {}", app.node.name, app.node.version).into(),
    ];
    if app.is_paused {
        title.push("   ".into());
        title.push("paused".bold().reversed());
    }
    Line::from(title)
}

/// The sum of the known rates.
fn rate(rows: &[ServiceRow]) -> Option<f64> {
    let known = rows.iter().filter_map(|row| row.rates.connections);
    known.reduce(|sum, rate| sum + rate)
}

fn settings(service: &ServiceStatus) -> Vec<String> {
    let affinity = service.affinity_seconds;
    let external = service.external_traffic_policy.as_ref();
    let settings = [
        Some(table::or_none(service.algorithm.as_deref())),
        affinity.map(|seconds| format!("affinity {seconds} s")),
        Some(format!(
            "internal traffic {}",
            service.internal_traffic_policy
        )),
        external.map(|policy| format!("external traffic {policy}")),
    ];
    settings.into_iter().flatten().collect()
}

fn numbers(row: &ServiceRow) -> Vec<String> {
    let service = &row.service;
    let (backends, rates) = (service.backends, row.rates);
    let numbers = [
        rates
            .connections
            .map(|rate| format!("{rate:.1} connections/s")),
        rates.refused.map(|rate| format!("{rate:.1} refused/s")),
        rates.failed.map(|rate| format!("{rate:.1} failed/s")),
        Some(format!("{} active", service.active)),
        Some(counted(service.connections, "connection")),
        Some(format!(
            "backends: {} of {} used, {} serving",
            backends.used, backends.total, backends.serving
        )),
    ];
    numbers.into_iter().flatten().collect()
}
