//! The queries of the dashboard and of the alerts, against the metrics of agents: every metric and label exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lb_testbed::sandboxed;
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, AggregateExpr, Expr, LabelModifier, VectorSelector, token};
use serde_json::Value;

use super::{Measured, scrape};

/// Labels that Prometheus adds.
const OF_TARGET: [&str; 2] = ["job", "instance"];

/// A series of Prometheus' own for each target.
const UP: &str = "up";

/// The labels of each metric, with their values.
struct Exposed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exposed {
    fn read(text: &str) -> Result<Self> {
        let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        all.insert(UP.to_owned(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').context("no value")?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let metric = all.entry(name.to_owned()).or_default();
            for label in labels.trim_end_matches('}').split(',') {
                if let Some((label, value)) = label.split_once('=') {
                    let values = metric.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
        Ok(Self(all))
    }

    /// The labels that a selector's series have.
    fn select(&self, selector: &VectorSelector) -> Result<BTreeSet<String>> {
        let name = selector
            .name
            .as_deref()
            .context("a selector without a name")?;
        let labels = self
            .0
            .get(name)
            .with_context(|| format!("no metric {name}"))?;
        ensure!(selector.matchers.or_matchers.is_empty(), "{name}: or");
        for matcher in &selector.matchers.matchers {
            if OF_TARGET.contains(&matcher.name.as_str()) {
                continue;
            }
            let values = labels.get(&matcher.name);
            let values = values.with_context(|| format!("{name} has no label {}", matcher.name))?;
            if matcher.op == MatchOp::Equal {
                ensure!(values.contains(&matcher.value), "{name}: no {matcher}");
            }
        }
        let of_target = OF_TARGET.map(str::to_owned);
        Ok(labels.keys().cloned().chain(of_target).collect())
    }

    /// The labels of the result of an expression.
    fn labels(&self, expr: &Expr) -> Result<BTreeSet<String>> {
        Ok(match expr {
            Expr::VectorSelector(selector) => self.select(selector)?,
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs)?,
            Expr::Aggregate(aggregate) => self.aggregated(aggregate)?,
            Expr::Binary(binary) => {
                let left = self.labels(&binary.lhs)?;
                left.into_iter().chain(self.labels(&binary.rhs)?).collect()
            }
            Expr::Call(call) => {
                let mut labels = BTreeSet::new();
                for argument in &call.args.args {
                    labels.extend(self.labels(argument)?);
                }
                match call.func.name {
                    "histogram_quantile" => ensure!(labels.remove("le"), "no label le: {expr}"),
                    "absent" => labels.clear(),
                    _ => {}
                }
                labels
            }
            Expr::Paren(inner) => self.labels(&inner.expr)?,
            Expr::Unary(inner) => self.labels(&inner.expr)?,
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => BTreeSet::new(),
            Expr::Subquery(_) | Expr::Extension(_) => bail!("this test cannot read {expr}"),
        })
    }

    fn aggregated(&self, aggregate: &AggregateExpr) -> Result<BTreeSet<String>> {
        let inner = self.labels(&aggregate.expr)?;
        let picks = [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id());
        match &aggregate.modifier {
            None if picks => Ok(inner),
            None => Ok(BTreeSet::new()),
            Some(LabelModifier::Include(by)) => {
                let by: BTreeSet<String> = by.labels.iter().cloned().collect();
                ensure!(by.is_subset(&inner), "no label {:?}", &by - &inner);
                Ok(by)
            }
            Some(LabelModifier::Exclude(without)) => {
                let without = without.labels.iter().cloned().collect();
                Ok(&inner - &without)
            }
        }
    }

    /// Checks a query, and the names of labels that a text about its result uses.
    fn check(&self, query: &str, used: &[&str]) -> Result<()> {
        let resolved = query.replace("$__rate_interval", "5m");
        let parsed = parser::parse(&resolved).map_err(|error| anyhow!("{error}"));
        let labels = parsed.and_then(|expr| self.labels(&expr));
        let labels = labels.with_context(|| query.to_owned())?;
        for label in used {
            ensure!(labels.contains(*label), "{query} has no label {label}");
        }
        Ok(())
    }
}

/// What each of two agents exposes.
struct Agents {
    usual: Exposed,
    looking_on: Exposed,
}

impl Agents {
    /// Checks a query as [`Exposed::check`] does: one of the agents has everything that it names.
    fn check(&self, query: &str, used: &[&str]) -> Result<()> {
        let Err(error) = self.usual.check(query, used) else {
            return Ok(());
        };
        let looking_on = self.looking_on.check(query, used);
        looking_on.with_context(|| format!("{error:#}; and with --shadow and --pods"))
    }
}

fn deployed(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring");
    fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())
}

/// The names between `start` and the next character that no name has.
fn names_after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rests = text.split(start).skip(1);
    let names = rests.filter_map(|rest| rest.split(|c| !is_of_name(c)).next());
    names.collect()
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    value[list].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("no {field} in {value}"))
}

fn check_dashboard(agents: &Agents) -> Result<usize> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana-dashboard.json")?)?;
    let mut queries = 0;
    for target in items(&dashboard, "panels").flat_map(|panel| items(panel, "targets")) {
        let legend = text(target, "legendFormat")?;
        agents.check(text(target, "expr")?, &names_after(legend, "{{"))?;
        queries += 1;
    }
    for variable in items(&dashboard["templating"], "list") {
        let query = text(variable, "definition")?;
        let inside = query.strip_prefix("label_values(");
        let inside = inside.and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside
            .and_then(|pair| pair.rsplit_once(", "))
            .context("pair")?;
        agents.check(selector, &[label])?;
        queries += 1;
    }
    Ok(queries)
}

fn check_alerts(agents: &Agents) -> Result<usize> {
    let rules: Value = serde_saphyr::from_str(&deployed("alerts.yaml")?)?;
    let mut queries = 0;
    for rule in items(&rules, "groups").flat_map(|group| items(group, "rules")) {
        let summary = text(&rule["annotations"], "summary")?;
        agents.check(text(rule, "expr")?, &names_after(summary, "$labels."))?;
        queries += 1;
    }
    Ok(queries)
}

#[test]
fn every_metric_and_label_of_the_dashboard_and_the_alerts_exists() {
    sandboxed(|sandbox| {
        let mut measured = Measured::start(sandbox)?;
        let usual = Exposed::read(&scrape(None)?.text)?;
        measured.look_on()?;
        let looking_on = Exposed::read(&scrape(None)?.text)?;
        // The usual agent has no sample of these.
        for (query, label) in [
            ("socklb_pods", "state"),
            ("socklb_shadow_flows_total", "result"),
        ] {
            assert!(usual.check(query, &[label]).is_err(), "{query}");
            looking_on.check(query, &[label])?;
        }
        let agents = Agents { usual, looking_on };
        assert!(check_dashboard(&agents)? > 50);
        assert!(check_alerts(&agents)? > 15);
        // The check finds mistakes.
        for (query, label) in [
            ("socklb_no_such_metric", "job"),
            ("socklb_ready{table=\"VIEWS\"}", "job"),
            (
                "socklb_packet_connections_refused_total{reason=\"unknown\"}",
                "job",
            ),
            ("sum by (table) (socklb_ready)", "table"),
            ("sum by (table) (socklb_table_used)", "instance"),
            ("rate(socklb_ready[5m]", "job"),
            ("socklb_pods{state=\"lost\"}", "job"),
            ("socklb_shadow_flows_total{result=\"other\"}", "job"),
            ("socklb_shadow_overruns_total", "result"),
            // Each agent has one of these.
            ("socklb_pods - socklb_packet_connections_total", "state"),
        ] {
            assert!(agents.check(query, &[label]).is_err(), "{query}");
        }
        Ok(())
    });
}
