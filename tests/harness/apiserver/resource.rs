//! The table of resources this server knows.

use std::fmt;

/// What a path names: `pods`, `services`, ...
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Kind of an object.
    pub kind: &'static str,
    /// Short names for kubectl.
    pub short: &'static [&'static str],
    /// Whether objects are in namespaces.
    pub namespaced: bool,
    /// What happens to `status`.
    pub status: Status,
    /// Whether `metadata.generation` counts changes.
    pub generation: bool,
    /// Defined by a `CustomResourceDefinition`: no Go type, so no strategic merge and no empty fields.
    pub custom: bool,
    /// What the Go type prints for an object without content, after `metadata`, as in a bookmark.
    pub empty: &'static str,
    /// Fields that may be selected beside name and namespace.
    pub selectable: &'static [&'static str],
}

/// What happens to `status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// No subresource: a field like any other.
    Plain,
    /// Subresource; a new object starts without.
    Reset,
    /// Subresource; a new object may bring it, as a kubelet's node does.
    Kept,
}

impl Resource {
    /// `v1`, `discovery.k8s.io/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Position in [`RESOURCES`].
    #[must_use]
    pub fn index(&self) -> usize {
        RESOURCES
            .iter()
            .position(|known| std::ptr::eq(known, self))
            .unwrap_or_default()
    }

    /// Whether there is a `/status`.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.status != Status::Plain
    }
}

/// As errors name it: `pods`, `leases.coordination.k8s.io`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)?;
        if self.group.is_empty() {
            return Ok(());
        }
        write!(f, ".{}", self.group)
    }
}

/// By group, version and plural.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|known| known.group == group && known.version == version && known.plural == plural)
}

/// By `apiVersion` and `kind`.
#[must_use]
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    RESOURCES
        .iter()
        .find(|known| known.group == group && known.version == version && known.kind == kind)
}

/// By plural alone, the core group first, or with the group, as errors name it; for tests.
#[must_use]
pub fn named(name: &str) -> Option<&'static Resource> {
    let full = |known: &&Resource| known.to_string() == name;
    let short = |known: &&Resource| known.plural == name;
    RESOURCES
        .iter()
        .find(full)
        .or_else(|| RESOURCES.iter().find(short))
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
];

const CORE: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    short: &[],
    namespaced: true,
    status: Status::Plain,
    generation: false,
    custom: false,
    empty: "",
    selectable: &[],
};

const GATEWAY: Resource = Resource {
    group: "gateway.networking.k8s.io",
    status: Status::Reset,
    generation: true,
    custom: true,
    ..CORE
};

/// All of them. The order is that of discovery.
pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "namespaces",
        kind: "Namespace",
        short: &["ns"],
        namespaced: false,
        status: Status::Reset,
        empty: r#""spec":{},"status":{}"#,
        selectable: &["status.phase"],
        ..CORE
    },
    Resource {
        plural: "nodes",
        kind: "Node",
        short: &["no"],
        namespaced: false,
        status: Status::Kept,
        empty: concat!(
            r#""spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","#,
            r#""systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","#,
            r#""kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}"#
        ),
        selectable: &["spec.unschedulable"],
        ..CORE
    },
    Resource {
        plural: "pods",
        kind: "Pod",
        short: &["po"],
        status: Status::Reset,
        empty: r#""spec":{"containers":null},"status":{}"#,
        selectable: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..CORE
    },
    Resource {
        plural: "services",
        kind: "Service",
        short: &["svc"],
        status: Status::Reset,
        empty: r#""spec":{},"status":{"loadBalancer":{}}"#,
        ..CORE
    },
    Resource {
        plural: "events",
        kind: "Event",
        short: &["ev"],
        empty: concat!(
            r#""involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"#,
            r#""reportingComponent":"","reportingInstance":"""#
        ),
        selectable: EVENT_FIELDS,
        ..CORE
    },
    Resource {
        plural: "configmaps",
        kind: "ConfigMap",
        short: &["cm"],
        ..CORE
    },
    Resource {
        plural: "secrets",
        kind: "Secret",
        selectable: &["type"],
        ..CORE
    },
    Resource {
        plural: "serviceaccounts",
        kind: "ServiceAccount",
        short: &["sa"],
        ..CORE
    },
    Resource {
        group: "apps",
        plural: "daemonsets",
        kind: "DaemonSet",
        short: &["ds"],
        status: Status::Reset,
        generation: true,
        empty: concat!(
            r#""spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"updateStrategy":{}},"#,
            r#""status":{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}"#
        ),
        ..CORE
    },
    Resource {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        kind: "EndpointSlice",
        generation: true,
        empty: r#""addressType":"","endpoints":null,"ports":null"#,
        ..CORE
    },
    Resource {
        group: "networking.k8s.io",
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        short: &["netpol"],
        generation: true,
        empty: r#""spec":{"podSelector":{}}"#,
        ..CORE
    },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        kind: "Lease",
        empty: r#""spec":{}"#,
        ..CORE
    },
    Resource {
        group: "events.k8s.io",
        plural: "events",
        kind: "Event",
        short: &["ev"],
        empty: concat!(
            r#""eventTime":null,"regarding":{},"deprecatedSource":{},"deprecatedFirstTimestamp":null,"#,
            r#""deprecatedLastTimestamp":null"#
        ),
        selectable: &["reason", "reportingController", "type"],
        ..CORE
    },
    Resource {
        plural: "gatewayclasses",
        kind: "GatewayClass",
        short: &["gc"],
        namespaced: false,
        ..GATEWAY
    },
    Resource {
        plural: "gateways",
        kind: "Gateway",
        short: &["gtw"],
        ..GATEWAY
    },
    Resource {
        plural: "httproutes",
        kind: "HTTPRoute",
        ..GATEWAY
    },
    Resource {
        plural: "grpcroutes",
        kind: "GRPCRoute",
        ..GATEWAY
    },
    Resource {
        version: "v1beta1",
        plural: "referencegrants",
        kind: "ReferenceGrant",
        short: &["refgrant"],
        status: Status::Plain,
        ..GATEWAY
    },
    Resource {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition",
        short: &["crd", "crds"],
        namespaced: false,
        status: Status::Reset,
        generation: true,
        empty: concat!(
            r#""spec":{"group":"","names":{"plural":"","kind":""},"scope":"","versions":null},"#,
            r#""status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}"#
        ),
        ..CORE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_path_and_by_kind() {
        for (index, resource) in RESOURCES.iter().enumerate() {
            assert_eq!(resource.index(), index);
            let found = find(resource.group, resource.version, resource.plural).expect("by path");
            assert!(std::ptr::eq(found, resource), "{resource}");
            let found = of_kind(&resource.api_version(), resource.kind).expect("by kind");
            assert!(std::ptr::eq(found, resource), "{resource}");
        }
    }

    #[test]
    fn errors_name_the_group_where_there_is_one() {
        assert_eq!(named("pods").expect("known").to_string(), "pods");
        assert_eq!(
            named("leases").expect("known").to_string(),
            "leases.coordination.k8s.io"
        );
    }
}
