//! Plays the API server of Kubernetes 1.28: TLS, lists, watches, writes, and everything that can go wrong with them.
//!
//! The server runs on threads of its own, which stand where the one that started it stands (network namespace,
//! cgroup). Clients use it like the real one; the test uses the [`ApiServer`] handle, from synchronous code.
//!
//! ```ignore
//! let server = ApiServer::builder(dir).start()?;
//! server.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
//! // ... a client with dir/kubeconfig, or with dir/token and dir/ca.crt as in a pod ...
//! server.compact();
//! server.cut();
//! assert_eq!(server.count("list", "namespaces"), 2);
//! ```
//!
//! [`ApiServer::put`] and [`ApiServer::remove`] write as etcd would hold it, with nothing filled in; the verbs of
//! HTTP do what the real server's do. What is not played: admission, validation of `spec` and `status`, controllers
//! (but for emptying a deleted namespace), SPDY (`pods/exec` takes WebSocket only), protobuf, `OpenAPI`, `Table`, HTTP/2, compression.

mod access;
mod answer;
mod apply;
mod certificates;
mod checks;
pub mod command;
mod compare;
mod defaults;
mod delete;
mod discovery;
mod exec;
mod failure;
mod faults;
mod fields;
mod hex;
mod identity;
mod list;
mod log;
mod logs;
mod managed;
mod object;
mod patch;
mod query;
pub mod resource;
mod route;
#[cfg(test)]
mod scene;
mod schema;
mod selector;
mod serve;
mod shared;
mod store;
mod strategic;
mod stream;
mod watch;
mod write;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use access::{Denial, Rule, User};
pub use certificates::Identity;
pub use exec::Exec;
pub use faults::{Gone, Match};
pub use log::Request;

use access::Access;
use certificates::Authority;
use resource::Resource;
use serve::Order;
use shared::Shared;
use store::Store;

/// Who has the token of [`ApiServer::token`].
pub const AGENT: &str = "system:serviceaccount:mesh-system:mesh-agent";

/// Changes of each resource that are kept for watches and old lists.
const WINDOW: usize = 10_000;
/// As the real server, about.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// A server about to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    dir: PathBuf,
    listen: SocketAddr,
    names: Vec<String>,
    window: usize,
    bookmarks: Duration,
}

impl Builder {
    /// Address to listen at; port 0 takes a free one. Without: 127.0.0.1 and a free port.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// One more name or address that the certificate is good for.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.into());
        self
    }

    /// Changes of each resource that are kept; who asks for older ones is told 410.
    #[must_use]
    pub fn window(mut self, changes: usize) -> Self {
        self.window = changes;
        self
    }

    /// Time between two bookmarks.
    #[must_use]
    pub fn bookmarks(mut self, interval: Duration) -> Self {
        self.bookmarks = interval;
        self
    }

    /// Starts it, and writes into the directory: `ca.crt`, `token` and `namespace` as in a pod, `kubeconfig` with
    /// the token, `admin.kubeconfig` with a client certificate that may do anything.
    pub fn start(self) -> Result<ApiServer> {
        ApiServer::start(self)
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct ApiServer {
    dir: PathBuf,
    address: SocketAddr,
    authority: Authority,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    runtime: Option<Runtime>,
}

impl ApiServer {
    /// A server that writes its files into this directory.
    #[must_use]
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder {
            dir: dir.as_ref().into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            names: Vec::new(),
            window: WINDOW,
            bookmarks: BOOKMARKS,
        }
    }

    fn start(builder: Builder) -> Result<Self> {
        let listener =
            TcpListener::bind(builder.listen).with_context(|| format!("listening at {}", builder.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let authority = Authority::new()?;
        let mut names = builder.names;
        names.extend(["localhost", "kubernetes", "kubernetes.default.svc"].map(Into::into));
        names.extend([address.ip().to_string(), "127.0.0.1".into()]);
        let tls = authority.server(names)?;
        let shared = Arc::new(Shared::new(
            Store::new(builder.window),
            Access::default(),
            builder.bookmarks,
        ));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("apiserver")
            .enable_all()
            .build()?;
        let listener = {
            let _within = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (orders, receiver) = mpsc::unbounded_channel();
        runtime.spawn(serve::serve(
            shared.clone(),
            tls.into(),
            listener,
            address,
            receiver,
        ));
        let server = Self {
            dir: builder.dir,
            address,
            authority,
            shared,
            orders,
            runtime: Some(runtime),
        };
        server.write_files()?;
        Ok(server)
    }

    fn write_files(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        fs::write(self.dir.join("ca.crt"), self.authority.certificate())?;
        fs::write(self.dir.join("namespace"), "mesh-system")?;
        self.set_token(&identity::token())?;
        let token = self.dir.join("token");
        let agent = serde_json::json!({ "tokenFile": token });
        fs::write(self.dir.join("kubeconfig"), self.kubeconfig(&agent))?;
        let admin = self.client(&User::admin())?;
        let (certificate, key) = (self.dir.join("admin.crt"), self.dir.join("admin.key"));
        fs::write(&certificate, &admin.certificate)?;
        fs::write(&key, &admin.key)?;
        let admin = serde_json::json!({"client-certificate": certificate, "client-key": key});
        fs::write(self.dir.join("admin.kubeconfig"), self.kubeconfig(&admin))?;
        Ok(())
    }

    /// A kubeconfig for these credentials.
    #[must_use]
    pub fn kubeconfig(&self, user: &Value) -> String {
        let name = "double";
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": self.url(), "certificate-authority": self.dir.join("ca.crt"),
            }}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        })
        .to_string()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A file it wrote: `ca.crt`, `token`, `namespace`, `kubeconfig`, `admin.kubeconfig`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    // --- who may do what ---

    /// The bearer token in the file.
    pub fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("token"))?)
    }

    /// Takes this token for the agent from now on, and the one in the file no longer. The file is replaced.
    pub fn set_token(&self, token: &str) -> Result<()> {
        let old = self.token().unwrap_or_default();
        {
            let mut access = self.shared.access();
            access.remove_token(&old);
            access.add_token(token, User::named(AGENT));
        }
        let fresh = self.dir.join("token.new");
        fs::write(&fresh, token)?;
        fs::rename(&fresh, self.dir.join("token"))?;
        Ok(())
    }

    /// Takes one more token.
    pub fn add_token(&self, token: &str, user: User) {
        self.shared.access().add_token(token, user);
    }

    /// A client certificate for a user.
    pub fn client(&self, user: &User) -> Result<Identity> {
        let identity = self.authority.client(&user.name, &user.groups)?;
        self.shared.access().add_certificate(&identity.der, user.clone());
        Ok(identity)
    }

    /// Answers 403 to what fits, except for administrators.
    pub fn deny(&self, denial: Denial) {
        self.shared.access().deny(denial);
    }

    /// Lets a user do what these rules say and nothing else, as a role bound to it does.
    pub fn restrict(&self, user: &str, rules: Vec<Rule>) {
        self.shared.access().restrict(user, rules);
    }

    /// Denies nothing any more, but for what users are [restricted](Self::restrict) to.
    pub fn allow_all(&self) {
        self.shared.access().allow_all();
    }

    // --- objects ---

    /// Writes an object as it is, whatever was there; only the version is the server's. Gives that version.
    pub fn put(&self, object: &Value) -> Result<u64> {
        let resource = resource_of(object)?;
        if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            bail!("an object without metadata.name: {object}");
        }
        Ok(self
            .shared
            .write(|store| store.put(resource, object.clone()).version))
    }

    /// Writes many, with one wake-up of the watchers.
    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let objects: Vec<_> = objects
            .into_iter()
            .map(|object| Ok((resource_of(&object)?, object)))
            .collect::<Result<_>>()?;
        self.shared.write(|store| {
            for (resource, object) in objects {
                store.put(resource, object);
            }
        });
        Ok(())
    }

    /// Removes an object at once. Gives the version of its deletion.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) -> Result<u64> {
        let resource = named(plural)?;
        let key = object::key(namespace, name);
        let removed = self.shared.write(|store| store.remove(resource, &key));
        removed
            .map(|object| object.version)
            .with_context(|| format!("no {plural} {key}"))
    }

    /// The object, or `None`.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let resource = named(plural)?;
        let store = self.shared.store();
        let found = store.get(resource, &object::key(namespace, name));
        Ok(found.map(|object| object.value()))
    }

    /// All there are.
    pub fn all(&self, plural: &str) -> Result<Vec<Value>> {
        let store = self.shared.store();
        let objects = store.objects(named(plural)?);
        Ok(objects.values().map(|object| object.value()).collect())
    }

    /// How many there are.
    pub fn len(&self, plural: &str) -> Result<usize> {
        Ok(self.shared.store().objects(named(plural)?).len())
    }

    /// Version of the last write.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.store().version()
    }

    // --- pods ---

    /// Runs commands in pods (`pods/exec`, over WebSocket) by starting what this makes of them; an error is the container
    /// runtime's. Without it no pod can run any.
    pub fn run_commands(&self, runner: impl Fn(&Exec) -> Result<Command, String> + Send + Sync + 'static) {
        *self.shared.runner() = exec::Runner::new(runner);
    }

    /// What a pod's container said: the one that runs, or the one before.
    pub fn set_log(&self, namespace: &str, pod: &str, previous: bool, text: &str) {
        self.shared.logs().set(namespace, pod, previous, text);
    }

    // --- history ---

    /// Forgets all changes so far: older versions and pieces of lists are answered with 410.
    pub fn compact(&self) {
        self.shared.write(Store::compact);
    }

    /// Changes of each resource that are kept from now on.
    pub fn set_window(&self, changes: usize) {
        self.shared.write(|store| store.set_window(changes));
    }

    /// Goes on at a higher version.
    pub fn skip_to(&self, version: u64) {
        self.shared.write(|store| store.skip_to(version));
    }

    /// Restarts with a backup of etcd: what was written after this version never was, versions start again from
    /// there, and all connections break off.
    pub fn restore(&self, version: u64) -> Result<()> {
        let restored = self.shared.write(|store| store.restore(version));
        self.shared.cut();
        restored.map_err(|failure| anyhow::anyhow!(failure.message))
    }

    /// From the next bookmark on.
    pub fn set_bookmarks(&self, interval: Duration) {
        self.shared.set_bookmarks(interval);
    }

    // --- faults ---

    /// Goes down: connections break off, new ones are refused by the kernel.
    pub fn down(&self) -> Result<()> {
        self.listen(false)?;
        self.shared.cut();
        Ok(())
    }

    /// Comes back at the same address.
    pub fn up(&self) -> Result<()> {
        self.listen(true)
    }

    /// Down for some time; the caller waits.
    pub fn down_for(&self, time: Duration) -> Result<()> {
        self.down()?;
        std::thread::sleep(time);
        self.up()
    }

    fn listen(&self, listen: bool) -> Result<()> {
        let (done, answer) = std_mpsc::channel();
        self.orders
            .send(Order { listen, done })
            .ok()
            .context("the server ended")?;
        answer
            .recv()
            .context("the server ended")?
            .with_context(|| format!("listening at {}", self.address))
    }

    /// Breaks off all connections; new ones are taken.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Breaks off every open watch in the middle of the next event it is told.
    pub fn tear_watches(&self) {
        self.shared.disturb(|faults| faults.torn += 1);
    }

    /// Tells every watch that its version is too old, until [`Self::well`].
    pub fn expire_watches(&self, how: Gone) {
        self.shared.disturb(|faults| faults.gone = Some(how));
    }

    /// Answers these requests with a code (429, 500, 503, ...), as often as said or else until [`Self::well`].
    pub fn refuse(&self, whom: Match, code: u16, retry_after: Option<u64>, times: Option<usize>) {
        self.shared
            .disturb(|faults| faults.refuse(whom, code, retry_after, times));
    }

    /// Answers these requests late.
    pub fn delay(&self, whom: Match, by: Duration) {
        self.shared.disturb(|faults| faults.delay(whom, by));
    }

    /// Tells watches each event twice.
    pub fn duplicate_events(&self) {
        self.shared.disturb(|faults| faults.duplicates = true);
    }

    /// Tells watches of this resource nothing until [`Self::release_events`], while others go on.
    pub fn hold_events(&self, plural: &str) {
        self.shared.disturb(|faults| faults.held.insert(plural.into()));
    }

    /// Tells what was held back.
    pub fn release_events(&self, plural: &str) {
        self.shared.disturb(|faults| faults.held.remove(plural));
    }

    /// Answers lists and watches of "any version" (`resourceVersion=0`) as of this version: the watch cache is behind.
    pub fn serve_stale(&self, version: u64) {
        self.shared.disturb(|faults| faults.cached = Some(version));
    }

    /// Is a replica that lags behind: as [`Self::serve_stale`], and what is newer than this version comes in lists of the
    /// latest only, which ask etcd. Watches are told nothing, and lists that must not be older are refused.
    pub fn lag_behind(&self, version: u64) {
        self.shared.disturb(|faults| {
            faults.cached = Some(version);
            faults.lagging = true;
        });
    }

    /// No more faults.
    pub fn well(&self) {
        self.shared.disturb(faults::Faults::clear);
    }

    // --- requests ---

    /// Requests so far, in the order of their answers.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// How many there were of a verb for a resource.
    #[must_use]
    pub fn count(&self, verb: &str, plural: &str) -> usize {
        let fits = |request: &&Request| request.verb == verb && request.resource == plural;
        self.shared.requests().iter().filter(fits).count()
    }

    /// Bytes that watches were told so far.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.shared.told()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.requests().clear();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.down();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn resource_of(object: &Value) -> Result<&'static Resource> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    resource::of_kind(api_version, kind).with_context(|| {
        format!("the server knows no {api_version:?} {kind:?}: add it to the table of resources")
    })
}

fn named(plural: &str) -> Result<&'static Resource> {
    resource::named(plural)
        .with_context(|| format!("the server knows no {plural}: add it to the table of resources"))
}

/// Now, to the second, as objects say it.
fn now() -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now).map_or_else(|_| String::new(), |time| time.to_string())
}
