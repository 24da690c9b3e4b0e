//! Lists: paging, selectors, revisions.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams, VersionMatch};
use kube::core::{ApiResource, ObjectList};
use kube::{Api, ResourceExt as _};
use lb_testbed::api_server::{Kind, Verb};
use lb_testbed::{Family, SliceManifest};
use serde_json::json;

use crate::support::{client, refusal, server, service, services, store_services};

fn names(list: &ObjectList<Service>) -> Vec<String> {
    list.iter().map(|service| service.name_any()).collect()
}

#[tokio::test]
async fn pages_add_up_to_one_revision() -> Result<()> {
    let server = server()?;
    store_services(&server, (0..25).map(|number| format!("s-{number:02}")))?;
    let revision = server.revision();
    let services = services(&server)?;
    let mut params = ListParams::default().limit(10);
    let mut found = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let page = services.list(&params).await?;
        assert_eq!(page.metadata.resource_version, Some(revision.to_string()));
        found.extend(names(&page));
        remaining.push(page.metadata.remaining_item_count);
        // No page shows changes between two pages.
        server.delete(Kind::Service, "default", "s-24");
        store_services(&server, ["s-99"])?;
        match page.metadata.continue_.as_deref() {
            Some(token) => params = params.continue_token(token),
            None => break,
        }
    }
    assert_eq!(remaining, [Some(15), Some(5), None]);
    let all: Vec<_> = (0..25).map(|number| format!("s-{number:02}")).collect();
    assert_eq!(found, all);
    assert_eq!(server.requests(Kind::Service, Verb::List), 3);
    Ok(())
}

#[tokio::test]
async fn a_token_expires_with_its_revision() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a", "b"])?;
    let services = services(&server)?;
    let params = ListParams::default().limit(1);
    let page = services.list(&params).await?;
    let token = page.metadata.continue_.context("there is more")?;
    store_services(&server, ["c"])?;
    server.compact();
    let refused = refusal(services.list(&params.continue_token(&token)).await)?;
    assert_eq!(refused, (410, "Expired".to_owned()));
    Ok(())
}

#[tokio::test]
async fn lists_of_earlier_and_later_revisions_are_answered() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a"])?;
    let before = server.revision();
    store_services(&server, ["b"])?;
    let services = services(&server)?;
    let at = |revision: u64, rule| {
        ListParams::default()
            .at(&revision.to_string())
            .matching(rule)
    };
    let exact = services.list(&at(before, VersionMatch::Exact)).await?;
    assert_eq!(names(&exact), ["a"]);
    let newer = services
        .list(&at(before, VersionMatch::NotOlderThan))
        .await?;
    assert_eq!(names(&newer), ["a", "b"]);
    let to_come = at(server.revision() + 1, VersionMatch::NotOlderThan);
    assert_eq!(refusal(services.list(&to_come).await)?.0, 504);
    Ok(())
}

#[tokio::test]
async fn lists_respect_selectors_and_namespaces() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a", "b"])?;
    server.apply(&service("elsewhere").namespace("other").to_json())?;
    let headless = service("headless").spec("clusterIP", json!("None"));
    server.apply(&headless.to_json())?;
    let mut proxied = service("proxied").to_json();
    proxied["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": ""});
    server.apply(&proxied)?;
    let services = services(&server)?;
    let list = async |params: ListParams| services.list(&params).await.map(|list| names(&list));
    let any = ListParams::default;
    assert_eq!(
        list(
            any()
                .labels("!service.kubernetes.io/service-proxy-name")
                .fields("spec.clusterIP!=None")
        )
        .await?,
        ["a", "b", "elsewhere"]
    );
    assert_eq!(
        list(any().labels("service.kubernetes.io/service-proxy-name=")).await?,
        ["proxied"]
    );
    assert_eq!(list(any().fields("metadata.name=b")).await?, ["b"]);
    assert_eq!(
        list(any().fields("metadata.namespace!=default")).await?,
        ["elsewhere"]
    );
    let of_other: Api<Service> = Api::namespaced(client(&server)?, "other");
    assert_eq!(names(&of_other.list(&any()).await?), ["elsewhere"]);
    let refused = services.list(&any().fields("spec.type=ClusterIP")).await;
    assert_eq!(refusal(refused)?, (400, "BadRequest".to_owned()));
    Ok(())
}

#[tokio::test]
async fn large_lists_are_answered() -> Result<()> {
    const COUNT: u32 = 10_000;
    let server = server()?;
    store_services(&server, (0..COUNT).map(|number| format!("s-{number}")))?;
    for number in 0..20 {
        let slice = SliceManifest::new("s-0", Family::IPv4)
            .named(&format!("s-0-{number}"))
            .port("http", 8080)
            .addresses((0..1_000).map(|host: u16| {
                let [high, low] = host.to_be_bytes();
                [10, number, high, low]
            }));
        server.apply(&slice.to_json())?;
    }
    let all = services(&server)?.list(&ListParams::default()).await?;
    assert_eq!(all.items.len(), usize::try_from(COUNT)?);
    let slices: Api<EndpointSlice> = Api::all(client(&server)?);
    let slices = slices.list(&ListParams::default()).await?;
    let endpoints: usize = slices
        .into_iter()
        .flat_map(|slice| slice.endpoints)
        .map(|endpoints| endpoints.len())
        .sum();
    assert_eq!(endpoints, 20_000);
    Ok(())
}

/// Objects in a list come without their kind, as a real server's do.
#[tokio::test]
async fn an_object_of_any_shape_is_stored() -> Result<()> {
    let server = server()?;
    let odd = service("odd").to_json();
    let odd =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": odd["metadata"], "spec": "odd"});
    server.apply(&odd)?;
    let typed = services(&server)?.list(&ListParams::default()).await;
    assert!(
        matches!(typed, Err(kube::Error::SerdeError(_))),
        "{typed:?}"
    );
    let resource = ApiResource::erase::<Service>(&());
    let untyped: Api<DynamicObject> = Api::all_with(client(&server)?, &resource);
    let url = "/api/v1/services";
    let request = axum::http::Request::get(url).body(Vec::new())?;
    let text = client(&server)?.request_text(request).await?;
    let raw: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(raw["kind"], "ServiceList");
    assert_eq!(raw["items"][0]["kind"], json!(null));
    let list = untyped.list(&ListParams::default()).await?;
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].data["spec"], "odd");
    Ok(())
}
