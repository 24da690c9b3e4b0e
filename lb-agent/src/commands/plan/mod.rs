//! `lb-agent plan`: what the agent would program, by the same source and rules as `run`, without the kernel.

mod settings;

use std::io::{self, Write};

use serde::Serialize;

use self::settings::Settings;
use super::objects::Objects;
use super::output::{Output, write_json, write_yaml};
use super::source_settings::SourceSettings;
use super::table::{self, Table};
use crate::catalog::Problem;
use crate::policy::{Explainer, Frontend, Masquerading, Policy, ServicePort, View};

/// Writes the plan to stdout. Problems of objects are no errors.
///
/// # Errors
/// A path cannot be read, the API server does not answer, or stdout cannot be written.
pub fn plan(settings: &SourceSettings, output: Output) -> anyhow::Result<()> {
    let Objects {
        catalog,
        policy,
        problems,
    } = Objects::read(settings)?;

    let explainer = policy.explainer(&catalog);
    let stdout = io::stdout().lock();
    match output {
        Output::Json => write_json(stdout, &document(&policy, &explainer, &problems))?,
        Output::Yaml => write_yaml(stdout, &document(&policy, &explainer, &problems))?,
        Output::Table => {
            write_table(stdout, &policy, &explainer)?;
            for problem in &problems {
                writeln!(io::stderr(), "warning: {problem}")?;
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct PlanJson<'a> {
    services: Vec<ViewJson<'a>>,
    problems: &'a [Problem],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ViewJson<'a> {
    namespace: &'a str,
    name: &'a str,
    port: &'a str,
    protocol: String,
    family: String,
    scope: String,
    algorithm: String,
    #[serde(flatten)]
    settings: Settings,
    /// The percentage of connections that spill over.
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_over_percent: Option<u8>,
    frontends: Vec<FrontendJson>,
    backends: Vec<BackendJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FrontendJson {
    kind: String,
    address: String,
    port: u16,
    /// Only with the packet path.
    #[serde(skip_serializing_if = "Option::is_none")]
    masquerade: Option<String>,
    /// Only with the packet path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_ranges: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendJson<'a> {
    address: String,
    port: u16,
    node: Option<&'a str>,
    zone: Option<&'a str>,
    weight: u16,
    /// It is in the view only because connections spill over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    spill_over: bool,
}

fn document<'a>(
    policy: &'a Policy,
    explainer: &Explainer<'_>,
    problems: &'a [Problem],
) -> PlanJson<'a> {
    let services = policy.service_ports().flat_map(|port| {
        let settings = Settings::of(port, explainer);
        let views = port.views().into_iter();
        views.map(move |view| ViewJson::of(port, &view, settings, policy.packets()))
    });
    PlanJson {
        services: services.collect(),
        problems,
    }
}

impl<'a> ViewJson<'a> {
    fn of(
        port: &'a ServicePort,
        view: &View<'a>,
        settings: Settings,
        packets: Option<&Masquerading>,
    ) -> Self {
        let frontends = view.frontends.iter().map(|frontend| {
            let masquerade = packets.map(|packets| packets.of(port, frontend).to_string());
            frontend_json(port, frontend, masquerade)
        });
        let backends = view.backends.iter().map(|backend| BackendJson {
            address: backend.address.ip().to_string(),
            port: backend.address.port(),
            node: backend.node.as_deref(),
            zone: backend.zone.as_deref(),
            weight: backend.weight,
            spill_over: view.spill_over.is_some() && port.spills_to(backend.address),
        });
        Self {
            namespace: &port.key.namespace,
            name: &port.key.name,
            port: &port.key.port,
            protocol: port.key.protocol.to_string(),
            family: port.key.family.to_string(),
            scope: view.scope.to_string(),
            algorithm: port.algorithm.to_string(),
            settings,
            spill_over_percent: view.spill_over.map(|of| of.percent),
            frontends: frontends.collect(),
            backends: backends.collect(),
        }
    }
}

fn frontend_json(
    port: &ServicePort,
    frontend: &Frontend,
    masquerade: Option<String>,
) -> FrontendJson {
    let ranges = match port.has_source_ranges(frontend) {
        true => &port.source_ranges[..],
        false => &[],
    };
    FrontendJson {
        masquerade,
        source_ranges: ranges.iter().map(ToString::to_string).collect(),
        kind: frontend.kind.to_string(),
        address: frontend
            .address
            .map_or_else(|| "*".to_owned(), |address| address.to_string()),
        port: frontend.port,
    }
}

fn write_table(to: impl Write, policy: &Policy, explainer: &Explainer<'_>) -> io::Result<()> {
    let ports = policy.service_ports();
    let settings: Vec<Settings> = ports.map(|port| Settings::of(port, explainer)).collect();
    let columns = settings::columns(&settings);
    let mut head = vec!["NAMESPACE", "NAME", "PORT", "PROTOCOL", "SCOPE"];
    head.extend(columns.iter().map(|(name, _)| *name));
    head.extend(["FRONTENDS", "BACKENDS"]);
    let packets = policy.packets();
    if packets.is_some() {
        head.push("MASQUERADE");
    }
    let mut rows = Vec::new();
    for (port, settings) in policy.service_ports().zip(&settings) {
        let cells = columns
            .iter()
            .map(|(_, cell)| table::or_none(cell(settings).as_deref()));
        for view in port.views() {
            let mut row = vec![
                port.key.namespace.to_string(),
                port.key.name.to_string(),
                table::port_name(&port.key.port).to_owned(),
                port.key.protocol.to_string(),
                view.scope.to_string(),
            ];
            row.extend(cells.clone());
            row.extend([frontends_cell(&view), backends_cell(&view)]);
            row.extend(packets.map(|packets| masquerade_cell(packets, port, &view)));
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return writeln!(io::stderr(), "No Services to balance.");
    }
    Table::new(head).write(to, rows.iter())
}

/// What happens to the connections of each frontend, where that differs.
fn masquerade_cell(packets: &Masquerading, port: &ServicePort, view: &View<'_>) -> String {
    let mut cells: Vec<String> = Vec::new();
    for frontend in &view.frontends {
        let cell = packets.of(port, frontend).to_string();
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.join(",")
}

fn frontends_cell(view: &View<'_>) -> String {
    let cells = view
        .frontends
        .iter()
        .map(|frontend| match frontend.address {
            Some(address) => std::net::SocketAddr::new(address, frontend.port).to_string(),
            None => format!("*:{}", frontend.port),
        });
    cells.collect::<Vec<_>>().join(",")
}

/// Formats addresses as `kubectl get endpoints` does: the first three, and the number of further ones. Weights other than 1 follow
/// them, and last comes the part of the connections that spills over.
fn backends_cell(view: &View<'_>) -> String {
    const SHOWN: usize = 3;
    if view.backends.is_empty() {
        return "<none>".to_owned();
    }
    let shown = view.backends.iter().take(SHOWN);
    let shown = shown.map(|backend| match backend.weight {
        1 => backend.address.to_string(),
        weight => format!("{} x{weight}", backend.address),
    });
    let shown: Vec<_> = shown.collect();
    let mut cell = shown.join(",");
    if view.backends.len() > SHOWN {
        cell.push_str(&format!(" + {} more...", view.backends.len() - SHOWN));
    }
    if let Some(spill_over) = view.spill_over {
        cell.push_str(&format!(" ({}% spill over)", spill_over.percent));
    }
    cell
}
