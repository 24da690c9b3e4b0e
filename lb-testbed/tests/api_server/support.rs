//! Shared by the tests of the API server: a server, clients, and waiting.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Service;
use kube::core::WatchEvent;
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt as _};
use lb_testbed::api_server::ApiServer;
use lb_testbed::{Deadline, ServiceManifest, patiently, stretched};

/// Longest time for an expected event.
const LIMIT: Duration = Duration::from_secs(60);

/// How often to check the time limit.
const CHECK_EVERY: Duration = Duration::from_millis(500);

pub fn server() -> Result<ApiServer> {
    ApiServer::start("127.0.0.1:0")
}

/// A client without retries.
pub fn client(server: &ApiServer) -> Result<Client> {
    let mut config = Config::new(server.url().parse()?);
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

pub fn services(server: &ApiServer) -> Result<Api<Service>> {
    Ok(Api::all(client(server)?))
}

pub fn service(name: &str) -> ServiceManifest {
    ServiceManifest::new(name)
        .cluster_ip([10, 96, 0, 10])
        .port("http", 80)
}

/// Stores Services with these names.
pub fn store_services(
    server: &ApiServer,
    names: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<()> {
    names
        .into_iter()
        .try_for_each(|name| server.apply(&service(name.as_ref()).to_json()))
}

/// Waits for a future; the error names `what` was expected.
pub async fn must<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let deadline = Deadline::within(LIMIT);
    let mut future = pin!(future);
    loop {
        match tokio::time::timeout(CHECK_EVERY, &mut future).await {
            Ok(come) => return Ok(come),
            Err(_) if deadline.is_over() => bail!("waited in vain within {deadline}: {what}"),
            Err(_) => {}
        }
    }
}

/// Polls until a condition is true.
pub async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    must(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// The code and reason of the server's `Status`.
pub fn refusal<T: Debug>(result: kube::Result<T>) -> Result<(u16, String)> {
    match result {
        Err(kube::Error::Api(status)) => Ok((status.code, status.reason.clone())),
        other => bail!("not refused by the server: {other:?}"),
    }
}

/// The raw answer, until the server closes the connection.
pub fn raw(server: &ApiServer, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_read_timeout(Some(stretched(LIMIT)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    patiently(LIMIT, || stream.read_to_string(&mut answer))?;
    Ok(answer)
}

pub type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

/// The next line of a watch: its type, the object's name and the revision.
pub async fn line(events: &mut Events<Service>) -> Result<(&'static str, String, String)> {
    let event = must("a line of a watch", events.next())
        .await?
        .context("the watch has ended")??;
    let of = |what, it: Service| {
        (
            what,
            it.name_any(),
            it.resource_version().unwrap_or_default(),
        )
    };
    Ok(match event {
        WatchEvent::Added(it) => of("ADDED", it),
        WatchEvent::Modified(it) => of("MODIFIED", it),
        WatchEvent::Deleted(it) => of("DELETED", it),
        WatchEvent::Bookmark(it) => {
            let marks: Vec<_> = it.metadata.annotations.into_keys().collect();
            ("BOOKMARK", marks.join(","), it.metadata.resource_version)
        }
        WatchEvent::Error(status) => ("ERROR", status.code.to_string(), status.reason),
    })
}

/// Reads a watch to its end, which kube also reports for a cut connection.
pub async fn to_the_end(events: &mut Events<Service>) -> Result<()> {
    let end = async { while let Some(Ok(_)) = events.next().await {} };
    must("the end of a watch", end).await
}

/// The error of the next line of a watch.
pub async fn broken_line(events: &mut Events<Service>) -> Result<kube::Error> {
    match must("a broken line of a watch", events.next()).await? {
        Some(Err(error)) => Ok(error),
        other => bail!("not broken: {other:?}"),
    }
}

/// A watcher of Services, and the state that a client has from it.
pub struct Follower {
    events: Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<Service>>> + Send>>,
    /// The first port of each Service.
    pub known: BTreeMap<String, i32>,
    coming: BTreeMap<String, i32>,
    pub inits: usize,
    pub errors: Vec<watcher::Error>,
}

impl Follower {
    pub fn new(server: &ApiServer, config: watcher::Config) -> Result<Self> {
        Ok(Self {
            events: watcher(services(server)?, config).boxed(),
            known: BTreeMap::new(),
            coming: BTreeMap::new(),
            inits: 0,
            errors: Vec::new(),
        })
    }

    /// Follows until the client has exactly these Services.
    pub async fn until_known(&mut self, names: &[&str]) -> Result<()> {
        let what = format!("Services {names:?}");
        must(&what, self.until(|it| it.known.keys().eq(names))).await?
    }

    /// Follows until there were `count` errors.
    pub async fn until_errors(&mut self, count: usize) -> Result<()> {
        must("errors", self.until(|it| count <= it.errors.len())).await?
    }

    pub async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        while !is_so(self) {
            match self.events.next().await.context("a watcher never ends")? {
                Ok(event) => self.take(event),
                Err(error) => {
                    self.errors.push(error);
                    // Instead of a backoff: long enough not to flood the server.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: watcher::Event<Service>) {
        let port = |it: &Service| Some(it.spec.as_ref()?.ports.as_ref()?.first()?.port);
        match event {
            watcher::Event::Init => self.coming.clear(),
            watcher::Event::InitApply(it) => {
                self.coming
                    .insert(it.name_any(), port(&it).unwrap_or_default());
            }
            watcher::Event::InitDone => {
                self.known = std::mem::take(&mut self.coming);
                self.inits += 1;
            }
            watcher::Event::Apply(it) => {
                self.known
                    .insert(it.name_any(), port(&it).unwrap_or_default());
            }
            watcher::Event::Delete(it) => {
                self.known.remove(&it.name_any());
            }
        }
    }
}

/// The code of the `Status` in a watcher's error.
pub fn code_of(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        WatchError(status) => Some(status.code),
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => None,
    }
}
