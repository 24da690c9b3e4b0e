//! `lb-agent explain`: what a connect to a target gets, and why.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::objects::Objects;
use super::output::{Output, write_json, write_yaml};
use super::runtime::block_on;
use super::source_settings::SourceSettings;
use super::table::{self, Table};
use crate::agent::{Facts, explain_from};
use crate::catalog::{Kind, ObjectId, ObjectName};
use crate::serve::{
    self, ExplainRequest, ExplainedEndpoint, ExplainedPort, ExplainedView, Explanation, Outcome,
    Target, ViewInTables,
};

/// Where the facts come from.
#[derive(Clone, Debug)]
pub enum From {
    /// The agent that listens on this unix socket.
    Agent(PathBuf),
    /// Objects only, without an agent.
    Objects(Box<SourceSettings>),
}

/// Exit status if a connect would be refused.
const REFUSED: u8 = 1;
/// Exit status if the target does not exist.
const UNKNOWN: u8 = 2;

/// Prints an explanation, and returns the exit code: 0, 1 if a connect would be refused, or 2 if there is no such target.
///
/// # Errors
/// No agent listens there, the objects cannot be read, or stdout cannot be written.
pub fn explain(from: &From, request: &ExplainRequest, output: Output) -> anyhow::Result<ExitCode> {
    let explanation = match from {
        From::Agent(socket) => {
            let path = request.path();
            block_on(async { Ok(serve::fetch(socket, &path).await?) })?
        }
        From::Objects(settings) => of_objects(settings, request)?,
    };
    let stdout = io::stdout().lock();
    match output {
        Output::Json => write_json(stdout, &explanation)?,
        Output::Yaml => write_yaml(stdout, &explanation)?,
        Output::Table => write_text(stdout, &explanation)?,
    }
    Ok(match explanation.verdict.outcome {
        Outcome::Refused => ExitCode::from(REFUSED),
        Outcome::Balanced | Outcome::Unchanged => ExitCode::SUCCESS,
        Outcome::Unknown => ExitCode::from(UNKNOWN),
    })
}

fn of_objects(settings: &SourceSettings, request: &ExplainRequest) -> anyhow::Result<Explanation> {
    let Objects {
        catalog,
        policy,
        problems,
    } = Objects::read(settings)?;
    let mut explanation = explain_from(&Facts::of_objects(&catalog, &policy), request);
    // The source reports what the policy never sees.
    if let Target::Service {
        namespace, name, ..
    } = &request.target
    {
        let id = ObjectId::new(Kind::Service, ObjectName::new(namespace, name)).to_string();
        let of_service = problems.iter().filter(|problem| problem.object == id);
        explanation
            .problems
            .extend(of_service.map(ToString::to_string));
        explanation.problems.sort();
        explanation.problems.dedup();
    }
    Ok(explanation)
}

fn write_text(mut to: impl Write, explanation: &Explanation) -> io::Result<()> {
    let node = match &explanation.zone {
        Some(zone) => format!("{}, zone {zone}", explanation.node),
        None => explanation.node.clone(),
    };
    write_fields(
        &mut to,
        &[("Target", explanation.target.clone()), ("Node", node)],
    )?;
    for note in &explanation.notes {
        write_fields(&mut to, &[("Note", note.clone())])?;
    }
    for port in &explanation.service_ports {
        write_port(&mut to, port)?;
    }
    if !explanation.skipped.is_empty() {
        writeln!(to)?;
        let rows: Vec<[String; 4]> = explanation
            .skipped
            .iter()
            .map(|of| {
                [
                    of.object.clone(),
                    table::or_none(Some(&of.what)),
                    of.reason.clone(),
                    of.message.clone(),
                ]
            })
            .collect();
        Table::new(["SKIPPED", "FRONTEND", "REASON", "MESSAGE"]).write(&mut to, rows.iter())?;
    }
    if !explanation.problems.is_empty() {
        writeln!(to, "\nProblems:")?;
    }
    for problem in &explanation.problems {
        writeln!(to, "  {problem}")?;
    }
    writeln!(to, "\n{}", explanation.verdict.message)
}

fn write_port(to: &mut impl Write, port: &ExplainedPort) -> io::Result<()> {
    writeln!(to)?;
    let affinity = port.affinity_seconds.map_or_else(
        || "none".to_owned(),
        |seconds| format!("a client keeps its backend for {seconds} s after its last connection"),
    );
    let name = table::port_name(&port.port);
    let mut fields = vec![
        ("Service", format!("{}/{}", port.namespace, port.name)),
        (
            "Port",
            format!("{name}, {}, {}", port.protocol, port.family),
        ),
        ("Algorithm", port.algorithm.clone()),
        ("Affinity", affinity),
    ];
    let more = [
        port.slow_start_seconds
            .map(|seconds| ("Slow start", format!("{seconds} s"))),
        port.drain_seconds
            .map(|seconds| ("Drain", format!("{seconds} s"))),
        port.outlier_detection
            .then(|| ("Outliers", "ejected after failed connects".to_owned())),
    ];
    fields.extend(more.into_iter().flatten());
    write_fields(to, &fields)?;
    let rows: Vec<[String; 4]> = port
        .frontends
        .iter()
        .map(|of| {
            [
                of.address.clone(),
                of.kind.clone(),
                of.scope.clone(),
                of.verdict.message.trim_end_matches('.').to_owned(),
            ]
        })
        .collect();
    Table::new(["FRONTEND", "KIND", "VIEW", "RESULT"]).write(&mut *to, rows.iter())?;
    for client in &port.clients {
        let backend = client
            .backend
            .as_deref()
            .unwrap_or("a backend that is gone");
        let line = format!(
            "its {} go to {backend} for {} s after now",
            client.of, client.seconds_left
        );
        write_fields(to, &[("Client", line)])?;
    }
    let ejected = ejected(port);
    port.views
        .iter()
        .try_for_each(|view| write_view(to, view, &ejected))?;
    write_tables(to, port)
}

/// The addresses of backends that get no new connections for a time, as the tables say.
fn ejected(port: &ExplainedPort) -> BTreeSet<&str> {
    let tables = port.frontends.iter().filter_map(|of| of.tables.as_ref());
    let backends = tables
        .flat_map(|of| &of.views)
        .flat_map(|view| &view.backends);
    backends
        .filter(|of| of.state.split(',').any(|word| word.trim() == "ejected"))
        .map(|of| &*of.address)
        .collect()
}

/// What the tables contain for each frontend.
fn write_tables(to: &mut impl Write, port: &ExplainedPort) -> io::Result<()> {
    let mut rows: Vec<[String; 6]> = Vec::new();
    for frontend in &port.frontends {
        let Some(tables) = &frontend.tables else {
            continue;
        };
        let numbers = |number: &dyn Fn(&ViewInTables) -> String| {
            let numbers: Vec<String> = tables.views.iter().map(number).collect();
            table::or_none(Some(&numbers.join(",")))
        };
        let differences = tables.differences.iter().map(|of| of.message.clone());
        let mut differences: Vec<String> = differences.collect();
        if differences.is_empty() {
            differences.push("as wanted".to_owned());
        }
        rows.push([
            frontend.address.clone(),
            table::or_none(tables.id.map(|id| id.to_string()).as_deref()),
            numbers(&|view| view.index.to_string()),
            numbers(&|view| view.slots.to_string()),
            numbers(&|view| view.backends.len().to_string()),
            differences.join("; "),
        ]);
    }
    if !rows.is_empty() {
        writeln!(to)?;
    }
    Table::new(["TABLES", "ID", "VIEW", "SLOTS", "BACKENDS", "STATE"]).write(to, rows.iter())
}

fn write_view(
    to: &mut impl Write,
    view: &ExplainedView,
    ejected: &BTreeSet<&str>,
) -> io::Result<()> {
    writeln!(to)?;
    let used_by = format!("{}, for {}", view.scope, view.used_by);
    let policy = format!("traffic policy {}", view.traffic_policy);
    write_fields(to, &[("View", used_by), ("Rules", policy)])?;
    for step in &view.steps {
        write_fields(to, &[("", step.message.clone())])?;
    }
    let rows: Vec<[String; 6]> = view
        .endpoints
        .iter()
        .map(|of| {
            [
                of.address.clone(),
                table::or_none(of.node.as_deref()),
                table::or_none(of.zone.as_deref()),
                state(of),
                of.slice.clone(),
                match &of.message {
                    None if ejected.contains(&*of.address) => "chosen, and ejected".to_owned(),
                    None => "chosen".to_owned(),
                    Some(message) => message.clone(),
                },
            ]
        })
        .collect();
    Table::new(["ENDPOINT", "NODE", "ZONE", "STATE", "SLICE", "RESULT"]).write(to, rows.iter())
}

/// The conditions of an endpoint that matter.
fn state(endpoint: &ExplainedEndpoint) -> String {
    match (endpoint.ready, endpoint.terminating, endpoint.serving) {
        (true, _, _) => "ready",
        (false, false, _) => "unready",
        (false, true, true) => "terminating,serving",
        (false, true, false) => "terminating",
    }
    .to_owned()
}

fn write_fields(to: &mut impl Write, fields: &[(&str, String)]) -> io::Result<()> {
    for (name, value) in fields {
        let name = match name.is_empty() {
            true => String::new(),
            false => format!("{name}:"),
        };
        writeln!(to, "{name:<12}{value}")?;
    }
    Ok(())
}
