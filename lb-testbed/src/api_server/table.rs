//! The form in which objects go out: themselves, or rows of the tables that kubectl prints.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::Kind;
use super::list::Page;
use super::object::Object;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Objects,
    Tables,
}

impl Form {
    /// By the header `Accept`.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("as=Table") {
            Self::Tables
        } else {
            Self::Objects
        }
    }

    pub(super) fn of_page(self, kind: Kind, page: &Page) -> Vec<u8> {
        match self {
            Self::Objects => page.to_bytes(),
            Self::Tables => {
                let rows = page.objects.iter().map(Arc::as_ref);
                table(kind, page.metadata(), rows).to_string().into_bytes()
            }
        }
    }

    pub(super) fn of_object(self, object: &Object) -> Vec<u8> {
        let mut out = Vec::with_capacity(object.size() + 128);
        self.write(object, &mut out);
        out
    }

    /// A line of a watch.
    pub(super) fn write_event(self, what: &str, object: &Object, out: &mut Vec<u8>) {
        out.extend_from_slice(format!(r#"{{"type":"{what}","object":"#).as_bytes());
        self.write(object, out);
        out.extend_from_slice(b"}\n");
    }

    fn write(self, object: &Object, out: &mut Vec<u8>) {
        match self {
            Self::Objects => object.write(out),
            Self::Tables => {
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                let table = table(object.kind, metadata, [object]);
                out.extend_from_slice(table.to_string().as_bytes());
            }
        }
    }
}

fn table<'o>(kind: Kind, metadata: Value, objects: impl IntoIterator<Item = &'o Object>) -> Value {
    let columns: Vec<_> = columns(kind)
        .iter()
        .map(|name| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
        })
        .collect();
    let rows: Vec<_> = objects.into_iter().map(row).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(object: &Object) -> Value {
    let json = object.to_json();
    let mut cells = vec![object.key.name.clone()];
    cells.extend(cells_of(object.kind, &json));
    cells.push(age(&json));
    json!({
        "cells": cells,
        "object": {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": json["metadata"],
        },
    })
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &["Name", "Status", "Age"],
        Kind::Node => &["Name", "Status", "Zone", "Internal-IP", "Age"],
        Kind::Service => &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
        ],
        Kind::EndpointSlice => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        Kind::ServiceCidr => &["Name", "CIDRs", "Age"],
    }
}

/// What is between name and age.
fn cells_of(kind: Kind, json: &Value) -> Vec<String> {
    let spec = &json["spec"];
    match kind {
        Kind::Namespace => vec!["Active".to_owned()],
        Kind::Node => {
            let ready = each(&json["status"]["conditions"], |condition| {
                (condition["type"] == "Ready" && condition["status"] == "True")
                    .then(|| "Ready".to_owned())
            });
            let addresses = each(&json["status"]["addresses"], |address| {
                (address["type"] == "InternalIP").then(|| text(&address["address"]))
            });
            let zone = text(&json["metadata"]["labels"]["topology.kubernetes.io/zone"]);
            vec![
                joined(&ready, "NotReady"),
                or(zone, "<none>"),
                joined(&addresses, "<none>"),
            ]
        }
        Kind::Service => {
            let mut external = each(&spec["externalIPs"], |ip| Some(text(ip)));
            external.extend(each(
                &json["status"]["loadBalancer"]["ingress"],
                |ingress| Some(or(text(&ingress["ip"]), &text(&ingress["hostname"]))),
            ));
            let ports = each(&spec["ports"], |port| {
                let node_port = match &port["nodePort"] {
                    Value::Null => String::new(),
                    node_port => format!(":{node_port}"),
                };
                let protocol = or(text(&port["protocol"]), "TCP");
                Some(format!("{}{node_port}/{protocol}", port["port"]))
            });
            vec![
                or(text(&spec["type"]), "ClusterIP"),
                or(text(&spec["clusterIP"]), "<none>"),
                joined(&external, "<none>"),
                joined(&ports, "<none>"),
            ]
        }
        Kind::EndpointSlice => {
            let ports = each(&json["ports"], |port| Some(port["port"].to_string()));
            let endpoints = each(&json["endpoints"], |endpoint| {
                Some(text(&endpoint["addresses"][0]))
            });
            vec![
                text(&json["addressType"]),
                joined(&ports, "<unset>"),
                joined(&endpoints, "<unset>"),
            ]
        }
        Kind::ServiceCidr => vec![joined(&each(&spec["cidrs"], |cidr| Some(text(cidr))), "")],
    }
}

fn each(list: &Value, cell: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(cell)
        .collect()
}

/// The first three, as kubectl users know it.
fn joined(list: &[String], none: &str) -> String {
    match list {
        [] => none.to_owned(),
        [a, b, c, more @ ..] if !more.is_empty() => {
            format!("{a},{b},{c} + {} more...", more.len())
        }
        all => all.join(","),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn or(text: String, other: &str) -> String {
    if text.is_empty() {
        other.to_owned()
    } else {
        text
    }
}

fn age(json: &Value) -> String {
    let created = text(&json["metadata"]["creationTimestamp"]).parse::<Timestamp>();
    let Ok(created) = created else {
        return "<unknown>".to_owned();
    };
    let seconds = (Timestamp::now().as_second() - created.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let list: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        assert_eq!(joined(&list, "none"), "0,1,2 + 2 more...");
        assert_eq!(joined(&list[..3], "none"), "0,1,2");
        assert_eq!(joined(&[], "none"), "none");
    }

    #[test]
    fn a_service_has_the_cells_that_kubectl_users_know() {
        let service = json!({
            "spec": {
                "type": "NodePort", "clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.1"],
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}],
            },
            "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}},
        });
        assert_eq!(
            cells_of(Kind::Service, &service),
            [
                "NodePort",
                "10.96.0.1",
                "192.0.2.1,lb.example.com",
                "80:30080/TCP,53/UDP"
            ]
        );
    }

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in Kind::ALL {
            let cells = cells_of(kind, &json!({"spec": "odd"}));
            assert_eq!(cells.len() + 2, columns(kind).len(), "{kind:?}");
        }
    }
}
