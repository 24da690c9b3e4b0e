//! Each fault, as kube's client sees it.

use std::net::TcpStream;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{ListParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use lb_testbed::api_server::{ApiServer, Behaviour, Disturbance, Fault, Kind, Verb};

use crate::support::{
    Events, Follower, broken_line, client, code_of, line, must, raw, refusal, server, service,
    services, store_services, to_the_end, until,
};

async fn watch(server: &ApiServer) -> Result<Events<Service>> {
    let from = server.revision().to_string();
    let events = services(server)?
        .watch(&WatchParams::default(), &from)
        .await?;
    Ok(events.boxed())
}

/// The next event that is no bookmark.
async fn next_change(events: &mut Events<Service>) -> Result<(&'static str, String, String)> {
    loop {
        let line = line(events).await?;
        if line.0 != "BOOKMARK" {
            return Ok(line);
        }
    }
}

#[tokio::test]
async fn a_status_code_is_answered_the_given_number_of_times() -> Result<()> {
    let server = server()?;
    let services = services(&server)?;
    let nodes: Api<Node> = Api::all(client(&server)?);
    let any = ListParams::default();
    for (code, reason) in [
        (500, "InternalError"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (410, "Expired"),
    ] {
        server.fail(
            Fault::answer(code)
                .with(Kind::Service)
                .on(Verb::List)
                .times(2),
        );
        nodes.list(&any).await?;
        for _ in 0..2 {
            let refused = refusal(services.list(&any).await)?;
            assert_eq!(refused, (code, reason.to_owned()));
        }
        services.list(&any).await?;
    }
    Ok(())
}

#[test]
fn too_many_requests_has_retry_after() -> Result<()> {
    let server = server()?;
    server.fail(Fault::answer(429).times(1));
    let answer = raw(&server, "/api/v1/services")?;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    let answer = raw(&server, "/api/v1/services")?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_request_hangs_until_its_connection_is_cut() -> Result<()> {
    let server = server()?;
    server.fail(Fault::hang().with(Kind::Service));
    let services = services(&server)?;
    let hanging = tokio::spawn(async move { services.list(&ListParams::default()).await });
    until("the request", || {
        server.requests(Kind::Service, Verb::List) == 1
    })
    .await?;
    let nodes: Api<Node> = Api::all(client(&server)?);
    nodes.list(&ListParams::default()).await?;
    server.heal();
    assert!(!hanging.is_finished(), "nobody answers what hangs");
    server.cut();
    let cut = must("the end of what was cut", hanging).await??;
    assert!(cut.is_err(), "{cut:?}");
    Ok(())
}

#[tokio::test]
async fn a_connection_can_be_closed_without_an_answer() -> Result<()> {
    let server = server()?;
    let services = services(&server)?;
    server.fail(Fault::close());
    let closed = services.list(&ListParams::default()).await;
    assert!(
        matches!(
            closed,
            Err(kube::Error::HyperError(_) | kube::Error::Service(_))
        ),
        "{closed:?}"
    );
    server.heal();
    services.list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn garbage_is_one_invalid_line() -> Result<()> {
    let server = server()?;
    let mut events = watch(&server).await?;
    server.disturb(Kind::Node, Disturbance::Garbage);
    server.disturb(Kind::Service, Disturbance::Garbage);
    let error = loop {
        match must("garbage", events.next()).await?.context("an end")? {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, kube::Error::SerdeError(_)), "{error:?}");
    store_services(&server, ["after"])?;
    assert_eq!(next_change(&mut events).await?.1, "after");

    server.fail(Fault::watch(Disturbance::Garbage).times(1));
    let error = broken_line(&mut watch(&server).await?).await?;
    assert!(matches!(error, kube::Error::SerdeError(_)), "{error:?}");
    let mut follower = Follower::new(&server, watcher::Config::default())?;
    follower.until_known(&["after"]).await
}

#[test]
fn half_a_line_ends_the_stream() -> Result<()> {
    let server = server()?;
    server.fail(Fault::watch(Disturbance::HalfLine).times(1));
    let answer = raw(&server, "/api/v1/services?watch=true")?;
    let half = r#"{"type":"ADDED","object":{"met"#;
    assert!(
        answer.ends_with(&format!("{half}\r\n0\r\n\r\n")),
        "{answer}"
    );
    Ok(())
}

/// Another watch has received the events that the silent one is missing.
#[tokio::test]
async fn a_silent_watch_stays_open() -> Result<()> {
    let server = server()?;
    let mut silent = watch(&server).await?;
    server.disturb(Kind::Service, Disturbance::Silence);
    server.fail(Fault::watch(Disturbance::Silence).times(1));
    let mut silent_from_the_start = watch(&server).await?;
    let mut other = watch(&server).await?;
    store_services(&server, ["a"])?;
    assert_eq!(next_change(&mut other).await?.1, "a");
    for _ in 0..2 {
        assert_eq!(line(&mut other).await?.0, "BOOKMARK");
    }
    assert_eq!(server.open_watches(Kind::Service), 3);
    for events in [&mut silent, &mut silent_from_the_start] {
        let said = futures_util::poll!(events.next());
        assert!(said.is_pending(), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_can_be_sent_in_the_stream() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a"])?;
    let mut follower = Follower::new(&server, watcher::Config::default())?;
    follower.until_known(&["a"]).await?;
    server.fail(Fault::watch(Disturbance::Error(410)).times(1));
    must("another list", follower.until(|it| it.inits == 2)).await??;
    assert_eq!(follower.errors.last().and_then(code_of), Some(410));
    let mut events = watch(&server).await?;
    server.disturb(None, Disturbance::Error(500));
    assert_eq!(next_change(&mut events).await?.1, "500");
    let mut events = watch(&server).await?;
    server.disturb(None, Disturbance::End);
    to_the_end(&mut events).await?;
    Ok(())
}

#[tokio::test]
async fn gone_can_be_sent_in_the_stream_or_as_http() -> Result<()> {
    let server = server()?;
    let old = server.revision().to_string();
    store_services(&server, ["a"])?;
    server.compact();
    let services = services(&server)?;
    let params = WatchParams::default();
    let mut events: Events<Service> = services.watch(&params, &old).await?.boxed();
    let expected = ("ERROR", "410".to_owned(), "Expired".to_owned());
    assert_eq!(line(&mut events).await?, expected);
    to_the_end(&mut events).await?;
    server.behave(Behaviour {
        gone_as_http: true,
        ..Behaviour::default()
    });
    let refused = services.watch(&params, &old).await.map(|_| ());
    assert_eq!(refusal(refused)?, (410, "Expired".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_server_can_return_to_an_old_state() -> Result<()> {
    let server = server()?;
    store_services(&server, ["a", "b"])?;
    let uid = |name| {
        server
            .get(Kind::Service, "default", name)
            .unwrap_or_default()["metadata"]["uid"]
            .clone()
    };
    let (before, uid_before) = (server.revision(), uid("a"));
    let mut events = watch(&server).await?;
    server.restart_in_the_past()?;
    assert!(server.revision() < before);
    assert_eq!(uid("a"), uid_before);
    to_the_end(&mut events).await?;
    // A client that continues from its revision receives nothing, not even bookmarks; a client that lists again receives
    // everything.
    let services = services(&server)?;
    let mut ahead = services
        .watch(&WatchParams::default(), &before.to_string())
        .await?
        .boxed();
    let mut anew = watch(&server).await?;
    store_services(&server, ["c"])?;
    assert_eq!(next_change(&mut anew).await?.1, "c");
    assert_eq!(line(&mut anew).await?.0, "BOOKMARK");
    assert!(futures_util::poll!(ahead.next()).is_pending());
    let not_older = ListParams::default().at(&before.to_string());
    let not_older = not_older.matching(kube::api::VersionMatch::NotOlderThan);
    assert_eq!(refusal(services.list(&not_older).await)?.0, 504);
    server.restart_with(&[service("z").to_json()])?;
    // With a new client: the old one may send its request on a connection that is closed already.
    let list = crate::support::services(&server)?
        .list(&ListParams::default())
        .await?;
    assert_eq!(list.items.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_token_is_required_and_expires() -> Result<()> {
    let server = server()?;
    server.require_tokens(["old"]);
    let without = services(&server)?.list(&ListParams::default()).await;
    assert_eq!(refusal(without)?, (401, "Unauthorized".to_owned()));
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("kubeconfig");
    server.write_kubeconfig(&file)?;
    let config = Kubeconfig::read_from(&file)?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let services: Api<Service> = Api::all(Client::try_from(config)?);
    services.list(&ListParams::default()).await?;
    let from = server.revision().to_string();
    let mut events: Events<Service> = services
        .watch(&WatchParams::default(), &from)
        .await?
        .boxed();
    server.require_tokens(["new"]);
    let expired = services.list(&ListParams::default()).await;
    assert_eq!(refusal(expired)?, (401, "Unauthorized".to_owned()));
    store_services(&server, ["a"])?;
    assert_eq!(next_change(&mut events).await?.1, "a");
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() -> Result<()> {
    let server = server()?;
    let address = server.address();
    let mut events = watch(&server).await?;
    drop(server);
    to_the_end(&mut events).await?;
    let refused = TcpStream::connect(address).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
    Ok(())
}
