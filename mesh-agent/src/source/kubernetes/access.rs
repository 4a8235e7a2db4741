//! The way to the API server, and who we are to it.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::task::spawn_blocking;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Variables that Kubernetes sets in every container, and `kubectl` reads.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
const KUBECONFIG: &str = "KUBECONFIG";

/// Where the way to the API server is described.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A kubeconfig file; without one, those of the variable `KUBECONFIG`, else what a pod finds in its container.
    pub kubeconfig: Option<PathBuf>,
    /// The context within it; without one, the current one.
    pub context: Option<String>,
}

/// A way to the API server.
#[derive(Clone)]
pub struct Connection {
    /// Sends requests.
    pub client: Client,
    /// Its address.
    pub server: String,
    /// What the agent introduces itself with, for messages.
    pub who: String,
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Neither way was given.
    #[error(
        "no API server to follow: name a kubeconfig with --kubeconfig FILE (or the variable KUBECONFIG), or run as a \
         pod of the cluster with a service account; for objects from files name a directory with --manifests DIR"
    )]
    Nothing,
    /// A kubeconfig that can't be used.
    #[error("kubeconfig {file}: {source}")]
    Kubeconfig {
        /// Its name.
        file: String,
        /// Why.
        source: KubeconfigError,
    },
    /// A context without a kubeconfig.
    #[error("--context {0} is of a kubeconfig: name that with --kubeconfig FILE")]
    NoKubeconfig(String),
    /// A pod without what its container should hold.
    #[error("in-cluster configuration (service account of the pod): {0}")]
    InCluster(#[from] InClusterError),
    /// Certificates or tokens that can't be used.
    #[error("access to {server}: {source}")]
    Client {
        /// The server.
        server: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Access {
    /// Reads the description, as it is now. Nothing is sent yet.
    ///
    /// # Errors
    /// Where there is none, or it can't be used.
    pub async fn open(&self) -> Result<Connection, AccessError> {
        let (mut config, who) = self.config().await?;
        config.connect_timeout = Some(CONNECT);
        // The reflector paces requests, and counts them.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        // A kubeconfig may name a program that gives the credentials, which takes as long as it likes.
        match spawn_blocking(move || Client::try_from(config)).await {
            Ok(Ok(client)) => Ok(Connection { client, server, who }),
            Ok(Err(source)) => Err(AccessError::Client {
                server,
                source: Box::new(source),
            }),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The agent ends.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn config(&self) -> Result<(Config, String), AccessError> {
        let Some((file, read)) = self.kubeconfig() else {
            if let Some(context) = &self.context {
                return Err(AccessError::NoKubeconfig(context.clone()));
            }
            if std::env::var_os(IN_CLUSTER).is_none() {
                return Err(AccessError::Nothing);
            }
            let who =
                "the token of the pod's service account (/var/run/secrets/kubernetes.io/serviceaccount)";
            return Ok((Config::incluster()?, who.to_owned()));
        };
        let named = |source| AccessError::Kubeconfig {
            file: file.clone(),
            source,
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let read = read.map_err(named)?;
        let config = Config::from_custom_kubeconfig(read, &options)
            .await
            .map_err(named)?;
        let token = config.auth_info.token_file.as_ref();
        let token = token.map_or_else(String::new, |token| format!(" (token in {token})"));
        Ok((config, format!("the user of kubeconfig {file}{token}")))
    }

    /// The kubeconfig and its name, where there is one.
    fn kubeconfig(&self) -> Option<(String, Result<Kubeconfig, KubeconfigError>)> {
        if let Some(path) = &self.kubeconfig {
            return Some((path.display().to_string(), Kubeconfig::read_from(path)));
        }
        let variable = std::env::var(KUBECONFIG).ok().filter(|paths| !paths.is_empty())?;
        match Kubeconfig::from_env() {
            Ok(read) => read.map(|read| (variable, Ok(read))),
            Err(error) => Some((variable, Err(error))),
        }
    }
}
