//! The cluster of a kubeconfig, and its agents.

use std::{collections::BTreeSet, env, fmt, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, Error,
    api::ListParams,
    client::UpgradeConnectionError,
    config::{KubeConfigOptions, Kubeconfig},
};
use mesh_common::names::install;

use super::{args::Remote, choice::choose};
use crate::{causes::reasons, cli::failure::Failure};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// The way to a cluster.
pub struct Cluster {
    /// Sends requests.
    pub client: Client,
    /// Namespace of the agents.
    pub namespace: String,
    server: String,
}

/// The pod of an agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)
    }
}

/// Where kubectl looks for a kubeconfig: `$KUBECONFIG`, else `~/.kube/config`.
pub fn kubeconfigs() -> Vec<PathBuf> {
    let named = env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    match named {
        Some(paths) => env::split_paths(&paths).collect(),
        None => env::home_dir()
            .map(|home| home.join(".kube/config"))
            .into_iter()
            .collect(),
    }
}

impl Cluster {
    /// Of the kubeconfig that is named, else kubectl's.
    pub async fn open(remote: &Remote) -> Result<Self, Failure> {
        let named = remote.kubeconfig.as_ref();
        let shown = named.map_or_else(
            || {
                env::join_paths(kubeconfigs())
                    .unwrap_or_default()
                    .display()
                    .to_string()
            },
            |file| file.display().to_string(),
        );
        let wrong = |error: &dyn std::error::Error| {
            Failure::failed(format!(
                "kubeconfig {shown}: {error}; name another with --kubeconfig FILE"
            ))
        };
        let kubeconfig = named.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        let kubeconfig = kubeconfig.map_err(|error| wrong(&error))?;
        let options = KubeConfigOptions {
            context: remote.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| wrong(&error))?;
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        Ok(Self {
            client: Client::try_from(config).map_err(|error| wrong(&error))?,
            server: server.trim_end_matches('/').to_owned(),
            namespace: remote.agent_namespace.clone(),
        })
    }

    /// The node a pod is on.
    pub async fn node_of(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = api.get(name).await.map_err(|error| match &error {
            Error::Api(status) if status.code == 404 => Failure::failed(format!(
                "pod {namespace}/{name} is not in the cluster {} (see `kubectl -n {namespace} get pods`)",
                self.server
            )),
            _ => self.refused(&error, &format!("getting pod {namespace}/{name}"), "ClusterRole"),
        })?;
        let node = pod.spec.and_then(|spec| spec.node_name);
        node.ok_or_else(|| {
            Failure::failed(format!(
                "pod {namespace}/{name} is on no node yet: see `kubectl -n {namespace} describe pod {name}`"
            ))
        })
    }

    /// The agent of a node.
    pub async fn agent(&self, node: &str) -> Result<Agent, Failure> {
        let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let choice = choose(&self.agents(here).await?, node, &self.namespace)?;
        if let Some(remark) = choice.remark {
            eprintln!("meshctl: {remark}");
        }
        Ok(Agent {
            namespace: self.namespace.clone(),
            pod: choice.pod,
        })
    }

    /// The nodes that have an agent.
    pub async fn nodes(&self) -> Result<Vec<String>, Failure> {
        let agents = self.agents(ListParams::default()).await?;
        let nodes: BTreeSet<String> = agents.into_iter().filter_map(|pod| pod.spec?.node_name).collect();
        if nodes.is_empty() {
            return Err(Failure::failed(format!(
                "no node has an agent in namespace {}: see `kubectl -n {} get daemonset`, or say --agent-namespace",
                self.namespace, self.namespace
            )));
        }
        Ok(nodes.into_iter().collect())
    }

    async fn agents(&self, which: ListParams) -> Result<Vec<Pod>, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let agents = which.labels(&format!("{}={}", install::NAME_LABEL, install::AGENT));
        let doing = format!("listing the agents in namespace {}", self.namespace);
        let list = api
            .list(&agents)
            .await
            .map_err(|error| self.refused(&error, &doing, "Role"))?;
        Ok(list.items)
    }

    /// Why a command could not be run in an agent's pod.
    pub fn not_run(&self, error: &Error, agent: &Agent) -> Failure {
        let doing = format!("running meshctl in pod {agent}");
        match error {
            Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => match code.as_u16() {
                403 => self.forbidden(&doing, "get and create pods/exec", "Role"),
                404 => Failure::failed(format!("{doing}: it is gone; ask again")),
                _ => Failure::failed(format!(
                    "{doing}: {} answered {code} instead of opening a WebSocket: see whether a proxy stands before it",
                    self.server
                )),
            },
            _ => self.refused(error, &doing, "Role"),
        }
    }

    /// Why a request failed; `role` is what gives the permission for it.
    pub fn refused(&self, error: &Error, doing: &str, role: &str) -> Failure {
        match error {
            Error::Api(status) if status.code == 403 => self.forbidden(doing, &status.message, role),
            Error::Api(status) if status.code == 401 => Failure::failed(format!(
                "{doing}: {} does not know who asks: see the user of the kubeconfig's context, and whether its \
                 credentials have expired",
                self.server
            )),
            Error::Api(status) => Failure::failed(format!("{doing}: {}: {}", self.server, status.message)),
            _ => Failure::failed(format!(
                "{doing}: {} does not answer: {}",
                self.server,
                reasons(error)
            )),
        }
    }

    fn forbidden(&self, doing: &str, what: &str, role: &str) -> Failure {
        Failure::failed(format!(
            "{doing}: forbidden ({what}): whoever administers {} can bind you to the {role} {} \
             (manifests/components/operator)",
            self.server,
            install::OPERATOR
        ))
    }
}
