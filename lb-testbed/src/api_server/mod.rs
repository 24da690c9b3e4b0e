//! A small Kubernetes API server in memory, over real HTTP, for tests and benches of clients that watch Services and
//! EndpointSlices. A test changes objects through its handle, as a controller would, and injects faults. kubectl can read and
//! write too, with what any client needs: no tables, strategic merge patches or server-side apply.
//!
//! ```no_run
//! use lb_testbed::ServiceManifest;
//! use lb_testbed::api_server::{ApiServer, Disturbance, Fault, Kind, Verb};
//!
//! # fn main() -> anyhow::Result<()> {
//! let server = ApiServer::start("127.0.0.1:0")?;
//! server.apply(&ServiceManifest::new("web").cluster_ip([10, 96, 0, 10]).port("http", 80).to_json())?;
//! server.fail(Fault::answer(500).with(Kind::Service).on(Verb::List).times(3));
//! server.disturb(Kind::Service, Disturbance::Silence);
//! println!("{} has {} watches", server.url(), server.open_watches(Kind::Service));
//! # Ok(())
//! # }
//! ```
//!
//! It does not validate objects, choose ClusterIPs, or make slices. It stores what it receives and adds the metadata that a
//! server adds. An object needs a name; its fields may have any shape.

mod behaviour;
mod connections;
mod discovery;
mod faults;
mod history;
mod kind;
mod line;
mod list;
mod object;
mod patch;
mod query;
mod refusal;
mod routes;
mod selector;
mod shared;
mod store;
mod tls;
mod watch;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{fs, mem};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

pub use self::behaviour::{Behaviour, StreamingLists};
pub use self::faults::{Disturbance, Fault, Verb};
pub use self::kind::Kind;
use self::object::{Key, key_of};
use self::shared::Shared;
use self::store::Store;
pub use self::tls::TlsFront;

/// The first revision of a server: high, so that a server restored from a backup has a lower one.
const FIRST_REVISION: u64 = 1_000_000;

/// A server on a thread of its own. All that it does ends when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Listens on an address, with port 0 on a free port, in the caller's network namespace.
    pub fn start(address: impl ToSocketAddrs) -> Result<Self> {
        let listener = TcpListener::bind(address).context("the API server cannot listen")?;
        Self::serve(listener)
    }

    /// Serves on a socket that listens already, perhaps in another network namespace.
    pub fn serve(listener: TcpListener) -> Result<Self> {
        Self::serve_store(listener, filled(FIRST_REVISION, [])?)
    }

    fn serve_store(listener: TcpListener, store: Store) -> Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared::new(store));
        let (stop, stopped) = oneshot::channel();
        let runtime = crate::runtime::runtime().context("cannot make the API server's runtime")?;
        let inside = shared.clone();
        let thread = thread::Builder::new()
            .name("api-server".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => tokio::select! {
                            () = connections::accept(listener, inside) => {}
                            _ = stopped => {}
                        },
                        Err(error) => eprintln!("the API server cannot accept: {error}"),
                    }
                });
            })
            .context("cannot start the API server's thread")?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig; with an accepted token, if tokens are required.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        let tokens = self.shared.state().tokens.clone();
        let user = match tokens.iter().flatten().next() {
            Some(token) => json!({"token": token}),
            None => json!({}),
        };
        let name = "testbed";
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url()}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        });
        fs::write(path, format!("{config:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Creates or replaces an object, as a controller would. Without a change there is no event.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let (kind, key, fields) = split_object(object)?;
        self.shared.change(|store| store.put(kind, key, fields));
        Ok(())
    }

    /// Returns whether the object existed. The namespace is empty for kinds without one.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = Key::new(namespace, name);
        self.shared.change(|store| store.remove(kind, &key)).is_ok()
    }

    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.state();
        let object = state.store.get(kind, &Key::new(namespace, name));
        object.ok().map(|object| object.to_json())
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.shared.state().store.revision()
    }

    /// The number of requests for objects of a kind, including those that failed.
    pub fn requests(&self, kind: Kind, verb: Verb) -> u64 {
        let state = self.shared.state();
        let requests = state.requests.get(&(kind, verb));
        requests.map_or(0, |requests| requests.count)
    }

    /// Path and query of the last of these requests.
    pub fn last_request(&self, kind: Kind, verb: Verb) -> Option<String> {
        let state = self.shared.state();
        let requests = state.requests.get(&(kind, verb));
        requests.map(|requests| requests.last.clone())
    }

    pub fn open_watches(&self, kind: Kind) -> usize {
        let state = self.shared.state();
        state.open_watches.get(&kind).copied().unwrap_or(0)
    }

    /// Changes the server's behaviour, from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state().behaviour = behaviour;
    }

    /// Makes requests need one of these bearer tokens. Open watches stay open.
    pub fn require_tokens<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) {
        let tokens = tokens.into_iter().map(str::to_owned).collect();
        self.shared.state().tokens = Some(tokens);
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        self.shared.state().faults.add(fault);
    }

    /// Removes all faults. Hanging requests and silent watches stay so until they are cut.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Disturbs the open watches, of one kind or of all.
    pub fn disturb(&self, kind: impl Into<Option<Kind>>, disturbance: Disturbance) {
        self.shared.disturb(kind.into(), disturbance);
    }

    /// Closes all connections at once. Clients may connect again.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Drops the history, as a server does after some minutes: watches from an earlier revision, and further pages of earlier
    /// lists, get 410.
    pub fn compact(&self) {
        self.shared.change(Store::forget_history);
    }

    /// Stops the server: it closes its connections, and the kernel refuses new ones. Its objects are kept for
    /// [`Stopped::start`].
    #[must_use]
    pub fn stop(mut self) -> Stopped {
        self.end();
        let store = mem::replace(&mut self.shared.state().store, Store::at(0));
        Stopped {
            address: self.address,
            store,
        }
    }

    /// Restarts as from an old backup: connections are cut, and revisions start low again.
    pub fn restart_in_the_past(&self) -> Result<()> {
        let objects: Vec<Value> = {
            let state = self.shared.state();
            state.store.all().map(|object| object.to_json()).collect()
        };
        self.restart_with(&objects)
    }

    /// As [`Self::restart_in_the_past`], with other objects than before.
    pub fn restart_with(&self, objects: &[Value]) -> Result<()> {
        let store = filled(0, objects)?;
        // Watches get no events for this: their connections end.
        self.shared.state().store = store;
        self.cut();
        Ok(())
    }

    /// Stops the server's thread and waits for it.
    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A stopped server's address and objects.
#[derive(Debug)]
pub struct Stopped {
    address: SocketAddr,
    store: Store,
}

impl Stopped {
    /// Starts it again on its address. As with a real server, the revision has increased and there is no history: a watch from an
    /// earlier revision gets 410.
    pub fn start(mut self) -> Result<ApiServer> {
        // In a cluster some object always changes.
        let mut fields = Map::new();
        let annotations = json!({"restarted-at": self.store.revision().to_string()});
        fields.insert("metadata".to_owned(), json!({"annotations": annotations}));
        let key = Key::new("", "kube-system");
        self.store.put(Kind::Namespace, key, fields);
        self.store.forget_history();
        let listener =
            TcpListener::bind(self.address).context("the API server cannot listen again")?;
        ApiServer::serve_store(listener, self.store)
    }
}

/// A store with the namespaces that every cluster has, and these objects.
fn filled<'o>(revision: u64, objects: impl IntoIterator<Item = &'o Value>) -> Result<Store> {
    let mut store = Store::at(revision);
    for namespace in ["default", "kube-system"] {
        store.put(Kind::Namespace, Key::new("", namespace), Map::new());
    }
    for object in objects {
        let (kind, key, fields) = split_object(object)?;
        store.put(kind, key, fields);
    }
    Ok(store)
}

fn split_object(object: &Value) -> Result<(Kind, Key, Map<String, Value>)> {
    let kind = Kind::of(object)?;
    let Value::Object(fields) = object else {
        bail!("not a JSON object: {object}");
    };
    let mut fields = fields.clone();
    let key = key_of(kind, &mut fields, None)
        .map_err(|refusal| anyhow::anyhow!("{}: {object}", refusal.message()))?;
    Ok((kind, key, fields))
}
