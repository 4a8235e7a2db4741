//! Pods that are not in the mesh, whatever they ask for: their sockets belong to somebody else.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1 as api;
use mesh_common::names::{istio, unenrolled};

/// Why a pod is not in the mesh, whatever its labels say.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unenrolled {
    /// It uses the network of its node, whose sockets are all sorts of programs'.
    HostNetwork,
    /// Its sockets are not in this kernel.
    Unsupported(Sandbox),
    /// Another mesh takes its connections.
    OtherMesh(Mesh),
}

/// What runs containers with a kernel of their own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Sandbox {
    /// gVisor: a kernel in user space.
    Gvisor,
    /// Kata Containers: a virtual machine.
    Kata,
}

/// How another mesh takes connections.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mesh {
    /// Istio's sidecar, or a gateway.
    IstioProxy,
    /// Linkerd's sidecar.
    LinkerdProxy,
    /// Istio's ambient mode.
    Ambient,
}

/// First words of the names that runtime classes of such runtimes have. The handler would say it for sure, but is in
/// another object: gVisor's documents, GKE and kata-deploy name the class like the handler.
const RUNTIMES: [(&str, Sandbox); 3] = [
    ("gvisor", Sandbox::Gvisor),
    ("runsc", Sandbox::Gvisor),
    ("kata", Sandbox::Kata),
];

impl Unenrolled {
    /// From what a pod says of itself; `None` for one that may be in the mesh.
    pub(super) fn of(spec: &api::PodSpec, annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let host = spec.host_network.unwrap_or_default().then_some(Self::HostNetwork);
        let sandbox = || sandbox(spec.runtime_class_name.as_deref()?).map(Self::Unsupported);
        let ambient = || is_redirected(annotations).then_some(Mesh::Ambient);
        host.or_else(sandbox)
            .or_else(|| sidecar(spec).or_else(ambient).map(Self::OtherMesh))
    }

    /// The reason without its particulars, as one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::HostNetwork => unenrolled::HOST_NETWORK,
            Self::Unsupported(_) => unenrolled::UNSUPPORTED,
            Self::OtherMesh(_) => unenrolled::OTHER_MESH,
        }
    }

    const fn particulars(self) -> Option<&'static str> {
        match self {
            Self::HostNetwork => None,
            Self::Unsupported(Sandbox::Gvisor) => Some("gvisor"),
            Self::Unsupported(Sandbox::Kata) => Some("kata"),
            Self::OtherMesh(Mesh::IstioProxy) => Some(istio::PROXY),
            Self::OtherMesh(Mesh::LinkerdProxy) => Some(LINKERD_PROXY),
            Self::OtherMesh(Mesh::Ambient) => Some(istio::AMBIENT),
        }
    }
}

impl fmt::Display for Unenrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self.particulars() {
            Some(particulars) => write!(f, " ({particulars})"),
            None => Ok(()),
        }
    }
}

/// Name of the container of Linkerd's proxy (`charts/partials/templates/_proxy.tpl`).
const LINKERD_PROXY: &str = "linkerd-proxy";

fn sandbox(class: &str) -> Option<Sandbox> {
    let word = class.split('-').next().unwrap_or_default();
    let (_, sandbox) = RUNTIMES.into_iter().find(|(name, _)| *name == word)?;
    Some(sandbox)
}

/// A sidecar is a container, or an init container that keeps running beside them.
fn sidecar(spec: &api::PodSpec) -> Option<Mesh> {
    let init = spec.init_containers.iter().flatten();
    let native = init.filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let mut meshes = spec.containers.iter().chain(native).map(|it| match &*it.name {
        istio::PROXY => Some(Mesh::IstioProxy),
        LINKERD_PROXY => Some(Mesh::LinkerdProxy),
        _ => None,
    });
    meshes.find_map(|mesh| mesh)
}

/// Istio's CNI agent notes on a pod that its connections go to the node's proxy, or are about to.
fn is_redirected(annotations: Option<&BTreeMap<String, String>>) -> bool {
    let value = annotations.and_then(|annotations| annotations.get(istio::REDIRECTION));
    value.is_some_and(|value| istio::REDIRECTED.contains(&value.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn why(spec: &Value, annotations: &[(&str, &str)]) -> String {
        let spec: api::PodSpec = serde_json::from_value(spec.clone()).unwrap();
        let annotations = annotations
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let why = Unenrolled::of(&spec, Some(&annotations.collect()));
        why.map_or_else(|| "-".to_owned(), |why| why.to_string())
    }

    fn containers(names: &[&str]) -> Value {
        names.iter().map(|name| json!({ "name": name })).collect()
    }

    #[test]
    fn sidecars_are_containers_that_keep_running() {
        let native = |name: &str, policy: Value| {
            json!({
                "containers": containers(&["app"]),
                "initContainers": [{ "name": "setup" }, { "name": name, "restartPolicy": policy }],
            })
        };
        for (spec, expected) in [
            (json!({ "containers": containers(&["app"]) }), "-"),
            (
                json!({ "containers": containers(&["app", "istio-proxy"]) }),
                "other-mesh (istio-proxy)",
            ),
            (
                json!({ "containers": containers(&["linkerd-proxy", "app"]) }),
                "other-mesh (linkerd-proxy)",
            ),
            (native("istio-proxy", json!("Always")), "other-mesh (istio-proxy)"),
            (
                native("linkerd-proxy", json!("Always")),
                "other-mesh (linkerd-proxy)",
            ),
            (native("istio-proxy", json!(null)), "-"),
            (native("istio-init", json!(null)), "-"),
        ] {
            assert_eq!(why(&spec, &[]), expected, "{spec}");
        }
    }

    #[test]
    fn ambient_says_whom_it_redirects() {
        for (value, expected) in [
            ("enabled", "other-mesh (ambient)"),
            ("pending", "other-mesh (ambient)"),
            ("disabled", "-"),
            ("", "-"),
        ] {
            let spec = json!({ "containers": [] });
            let annotations = [("ambient.istio.io/redirection", value), ("other", "enabled")];
            assert_eq!(why(&spec, &annotations), expected, "{value}");
        }
    }

    #[test]
    fn runtimes_with_a_kernel_of_their_own() {
        for (class, expected) in [
            ("gvisor", "unsupported (gvisor)"),
            ("runsc-kvm", "unsupported (gvisor)"),
            ("kata", "unsupported (kata)"),
            ("kata-qemu-tdx", "unsupported (kata)"),
            ("katamari", "-"),
            ("crun", "-"),
            ("", "-"),
        ] {
            let spec = json!({ "containers": [], "runtimeClassName": class });
            assert_eq!(why(&spec, &[]), expected, "{class}");
        }
    }

    #[test]
    fn what_is_the_case_anyway_comes_first() {
        let spec = |host: bool, class: &str| {
            json!({
                "containers": containers(&["istio-proxy"]),
                "hostNetwork": host,
                "runtimeClassName": class,
            })
        };
        assert_eq!(why(&spec(true, "kata"), &[]), "host-network");
        assert_eq!(why(&spec(false, "kata"), &[]), "unsupported (kata)");
        assert_eq!(why(&spec(false, "crun"), &[]), "other-mesh (istio-proxy)");
    }
}
