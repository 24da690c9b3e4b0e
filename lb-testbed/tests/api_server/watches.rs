//! Watches, followed by kube's watcher and read line by line.

use anyhow::Result;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::WatchParams;
use kube::runtime::watcher;
use lb_testbed::api_server::{ApiServer, Behaviour, Fault, Kind, StreamingLists, Verb};
use serde_json::json;

use crate::support::{
    Events, Follower, code_of, line, must, refusal, server, service, services, store_services,
    to_the_end, until,
};

/// Bookmarks come only where a test waits for them.
fn quiet(server: &ApiServer) {
    server.behave(Behaviour {
        bookmarks_every: std::time::Duration::from_secs(3_600),
        ..Behaviour::default()
    });
}

async fn watch(server: &ApiServer, params: &WatchParams, from: &str) -> Result<Events<Service>> {
    Ok(services(server)?.watch(params, from).await?.boxed())
}

#[tokio::test]
async fn streaming_and_paged_lists_agree() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a", "b", "c"])?;
    for (config, lists) in [
        (watcher::Config::default().page_size(2), 2),
        (watcher::Config::default().streaming_lists(), 0),
    ] {
        let listed = server.requests(Kind::Service, Verb::List);
        let mut follower = Follower::new(&server, config)?;
        follower.until_known(&["a", "b", "c"]).await?;
        assert_eq!(server.requests(Kind::Service, Verb::List) - listed, lists);
        store_services(&server, ["d"])?;
        follower.until_known(&["a", "b", "c", "d"]).await?;
        let changed = service("d").port("more", 81).to_json();
        server.apply(&changed)?;
        server.delete(Kind::Service, "default", "d");
        follower.until_known(&["a", "b", "c"]).await?;
        assert_eq!((follower.inits, follower.errors.len()), (1, 0));
    }
    Ok(())
}

#[tokio::test]
async fn many_changes_come_in_order() -> Result<()> {
    const CHANGES: u64 = 3_000;
    let server = server()?;
    quiet(&server);
    let start = server.revision();
    let mut events = watch(&server, &WatchParams::default(), &start.to_string()).await?;
    let changer = std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            (0..CHANGES).try_for_each(|number| store_services(&server, [format!("s-{number}")]))
        });
        changes.join()
    });
    changer.map_err(|_| anyhow::anyhow!("the changes failed"))??;
    for number in 0..CHANGES {
        let revision = (start + 1 + number).to_string();
        let expected = ("ADDED", format!("s-{number}"), revision);
        assert_eq!(line(&mut events).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_begins_with_existing_objects_or_after_a_revision() -> Result<()> {
    let server = server()?;
    quiet(&server);
    store_services(&server, ["a", "b"])?;
    let between = server.revision();
    store_services(&server, ["c"])?;
    let now = server.revision();
    let params = WatchParams::default();
    let added = |name: &str, revision: u64| ("ADDED", name.to_owned(), revision.to_string());
    let mut from_state = watch(&server, &params, "0").await?;
    for (name, revision) in [("a", between - 1), ("b", between), ("c", now)] {
        assert_eq!(line(&mut from_state).await?, added(name, revision));
    }
    let mut later = watch(&server, &params, &between.to_string()).await?;
    assert_eq!(line(&mut later).await?, added("c", now));
    let mut streamed = watch(&server, &params.initial_events(), "0").await?;
    for (name, revision) in [("a", between - 1), ("b", between), ("c", now)] {
        assert_eq!(line(&mut streamed).await?, added(name, revision));
    }
    let end = "k8s.io/initial-events-end".to_owned();
    assert_eq!(
        line(&mut streamed).await?,
        ("BOOKMARK", end, now.to_string())
    );
    server.delete(Kind::Service, "default", "a");
    for events in [&mut from_state, &mut later, &mut streamed] {
        let gone = ("DELETED", "a".to_owned(), (now + 1).to_string());
        assert_eq!(line(events).await?, gone);
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_reports_objects_that_leave_or_enter_its_selection() -> Result<()> {
    let server = server()?;
    quiet(&server);
    let from = server.revision().to_string();
    let params = WatchParams::default();
    let by_label = params.clone().labels("!proxied");
    let by_field = params.fields("spec.clusterIP!=None");
    let mut by_label = watch(&server, &by_label, &from).await?;
    let mut by_field = watch(&server, &by_field, &from).await?;
    let plain = service("web").to_json();
    let mut labelled = plain.clone();
    labelled["metadata"]["labels"] = json!({"proxied": ""});
    let headless = service("web").spec("clusterIP", json!("None")).to_json();
    for object in [&plain, &labelled, &headless, &plain] {
        server.apply(object)?;
    }
    let seen = async |events: &mut Events<Service>, count| {
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push(line(events).await?.0);
        }
        anyhow::Ok(seen)
    };
    assert_eq!(
        seen(&mut by_label, 4).await?,
        ["ADDED", "DELETED", "ADDED", "MODIFIED"]
    );
    assert_eq!(
        seen(&mut by_field, 4).await?,
        ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    );
    assert_eq!(
        server.last_request(Kind::Service, Verb::Watch),
        Some(format!(
            "/api/v1/services?&watch=true&timeoutSeconds=290&fieldSelector=spec.clusterIP%21%3DNone&allowWatchBookmarks=true&resourceVersion={from}"
        ))
    );
    Ok(())
}

#[tokio::test]
async fn bookmarks_carry_the_latest_revision() -> Result<()> {
    let server = server()?;
    let from = server.revision();
    let mut events = watch(&server, &WatchParams::default(), &from.to_string()).await?;
    // An object of another kind, which this watch does not report.
    server.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}))?;
    let expected = ("BOOKMARK", String::new(), (from + 1).to_string());
    while line(&mut events).await? != expected {}
    let silent = WatchParams::default().disable_bookmarks().timeout(1);
    let mut silent = watch(&server, &silent, &from.to_string()).await?;
    let end = must("the end that was asked for", silent.next()).await?;
    assert!(end.is_none(), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn a_watcher_that_returns_too_late_lists_again() -> Result<()> {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let server = server()?;
        store_services(&server, ["a", "b"])?;
        let mut follower = Follower::new(&server, config)?;
        follower.until_known(&["a", "b"]).await?;
        // Away for a while, in which things happen and are forgotten.
        server.fail(Fault::close().on(Verb::Watch));
        server.cut();
        follower.until_errors(1).await?;
        server.delete(Kind::Service, "default", "a");
        store_services(&server, ["c"])?;
        server.compact();
        server.heal();
        follower.until_known(&["b", "c"]).await?;
        assert_eq!(follower.inits, 2);
        assert_eq!(follower.errors.last().and_then(code_of), Some(410));
    }
    Ok(())
}

#[tokio::test]
async fn a_watcher_that_returns_in_time_misses_nothing() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a", "b"])?;
    let mut follower = Follower::new(&server, watcher::Config::default())?;
    follower.until_known(&["a", "b"]).await?;
    server.fail(Fault::close().on(Verb::Watch));
    server.cut();
    follower.until_errors(1).await?;
    server.delete(Kind::Service, "default", "a");
    store_services(&server, ["c"])?;
    server.heal();
    follower.until_known(&["b", "c"]).await?;
    assert_eq!(follower.inits, 1);
    Ok(())
}

#[tokio::test]
async fn old_servers_refuse_streaming_lists() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a"])?;
    let params = WatchParams::default().initial_events();
    let is = |streaming_lists| {
        server.behave(Behaviour {
            streaming_lists,
            ..Behaviour::default()
        });
    };
    is(StreamingLists::Refused);
    let refused = services(&server)?.watch(&params, "0").await.map(|_| ());
    assert_eq!(refusal(refused)?, (422, "Invalid".to_owned()));
    is(StreamingLists::Ignored);
    let mut ignored = watch(&server, &params, "0").await?;
    assert_eq!(line(&mut ignored).await?.0, "ADDED");
    let (what, marks, _) = line(&mut ignored).await?;
    assert_eq!((what, marks.as_str()), ("BOOKMARK", ""), "no end is marked");
    Ok(())
}

#[tokio::test]
async fn open_watches_are_counted() -> Result<()> {
    let server = server()?;
    let one: Api<Service> = services(&server)?;
    let from = server.revision().to_string();
    let first = one.watch(&WatchParams::default(), &from).await?.boxed();
    let mut second = watch(&server, &WatchParams::default(), &from).await?;
    assert_eq!(server.open_watches(Kind::Service), 2);
    assert_eq!(server.open_watches(Kind::EndpointSlice), 0);
    drop(first);
    until("one watch", || server.open_watches(Kind::Service) == 1).await?;
    server.cut();
    assert_eq!(server.open_watches(Kind::Service), 0);
    to_the_end(&mut second).await
}
