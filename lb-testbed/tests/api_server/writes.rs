//! Writes over HTTP, as a controller does them, and refused ones.

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use lb_testbed::api_server::{Behaviour, Kind, StreamingLists};
use serde_json::{Value, json};

use crate::support::{client, refusal, server, service};

fn port(service: &Service) -> Option<i32> {
    Some(service.spec.as_ref()?.ports.as_ref()?.first()?.port)
}

#[tokio::test]
async fn an_object_is_created_replaced_patched_and_deleted() -> Result<()> {
    let server = server()?;
    let services: Api<Service> = Api::default_namespaced(client(&server)?);
    let post = PostParams::default();
    let web: Service = serde_json::from_value(service("web").to_json())?;
    let created = services.create(&post, &web).await?;
    assert!(created.uid().is_some_and(|uid| uid.len() == 36));
    assert!(created.creation_timestamp().is_some());
    let again = services.create(&post, &web).await;
    assert_eq!(refusal(again)?, (409, "AlreadyExists".to_owned()));

    let mut changed = created.clone();
    changed.labels_mut().insert("a".to_owned(), "b".to_owned());
    let replaced = services.replace("web", &post, &changed).await?;
    assert_ne!(replaced.resource_version(), created.resource_version());
    assert_eq!(replaced.uid(), created.uid());
    let stale = services.replace("web", &post, &changed).await;
    assert_eq!(refusal(stale)?, (409, "Conflict".to_owned()));

    let ports = json!({"spec": {"ports": [{"port": 81}]}});
    let params = PatchParams::default();
    let merged = services
        .patch("web", &params, &Patch::Merge(&ports))
        .await?;
    assert_eq!(port(&merged), Some(81));
    assert_eq!(merged.labels().get("a").map(String::as_str), Some("b"));
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    services
        .patch("web", &params, &Patch::Merge(&status))
        .await?;
    let stored = server
        .get(Kind::Service, "default", "web")
        .unwrap_or_default();
    assert_eq!(stored["status"], status["status"]);
    assert_eq!(stored["spec"]["clusterIP"], "10.96.0.10");

    services.delete("web", &DeleteParams::default()).await?;
    assert_eq!(server.get(Kind::Service, "default", "web"), None);
    for refused in [
        services.get("web").await.map(drop),
        services.replace("web", &post, &web).await.map(drop),
        services
            .patch("web", &params, &Patch::Merge(&ports))
            .await
            .map(drop),
        services
            .delete("web", &DeleteParams::default())
            .await
            .map(drop),
    ] {
        assert_eq!(refusal(refused)?, (404, "NotFound".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn patches_of_other_types_and_nameless_objects_are_refused() -> Result<()> {
    let server = server()?;
    let services: Api<Service> = Api::default_namespaced(client(&server)?);
    let web = service("web").to_json();
    let apply = PatchParams::apply("test");
    let applied = services.patch("web", &apply, &Patch::Apply(&web)).await;
    assert_eq!(refusal(applied)?, (415, "UnsupportedMediaType".to_owned()));
    let params = PatchParams::default();
    let merged = services
        .patch("web", &params, &Patch::Strategic(&web))
        .await;
    assert_eq!(refusal(merged)?, (415, "UnsupportedMediaType".to_owned()));
    let nameless = services
        .create(&PostParams::default(), &Service::default())
        .await;
    assert_eq!(refusal(nameless)?, (422, "Invalid".to_owned()));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let secret = server.apply(&secret);
    assert!(secret.is_err_and(|error| error.to_string().contains("Secret")));
    Ok(())
}

#[tokio::test]
async fn resources_can_be_discovered() -> Result<()> {
    let server = server()?;
    let client = client(&server)?;
    let core = client.list_core_api_resources("v1").await?;
    let names: Vec<_> = core.resources.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["namespaces", "nodes", "pods", "services"]);
    let groups = client.list_api_groups().await?.groups;
    let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["discovery.k8s.io", "networking.k8s.io"]);
    assert_eq!(client.apiserver_version().await?.major, "1");
    Ok(())
}

#[tokio::test]
async fn an_old_server_has_no_service_cidrs() -> Result<()> {
    let server = server()?;
    server.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]},
    }))?;
    let client = client(&server)?;
    let cidrs: Api<ServiceCIDR> = Api::all(client.clone());
    assert_eq!(cidrs.list(&ListParams::default()).await?.items.len(), 1);
    server.behave(Behaviour {
        service_cidrs: false,
        streaming_lists: StreamingLists::Ignored,
        ..Behaviour::default()
    });
    assert_eq!(refusal(cidrs.list(&ListParams::default()).await)?.0, 404);
    let group = client
        .list_api_group_resources("networking.k8s.io/v1")
        .await?;
    assert_eq!(group.resources.len(), 0);
    Ok(())
}

/// Exported objects carry what only a server may say; a new object gets its own.
#[tokio::test]
async fn a_created_object_gets_new_metadata() -> Result<()> {
    let server = server()?;
    let mut old = service("web").to_json();
    old["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    server.apply(&old)?;
    let created =
        |json: Option<Value>| json.unwrap_or_default()["metadata"]["creationTimestamp"].clone();
    let stored = server.get(Kind::Service, "default", "web");
    assert_eq!(created(stored), "2001-01-01T00:00:00Z");
    let services: Api<Service> = Api::default_namespaced(client(&server)?);
    old["metadata"]["name"] = json!("other");
    let other: Service = serde_json::from_value(old)?;
    services.create(&PostParams::default(), &other).await?;
    let stored = server.get(Kind::Service, "default", "other");
    assert_ne!(created(stored), "2001-01-01T00:00:00Z");
    Ok(())
}
