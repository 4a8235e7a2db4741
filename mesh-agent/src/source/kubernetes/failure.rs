//! Why a request failed, and what to do about it.

use std::time::Duration;

use kube::core::Status;

use super::item::Version;
use super::pause;
use super::reflector::End;

/// The role that gives the agent a right, and where it is described.
fn role(verb: &str, name: &str) -> &'static str {
    match (verb, name) {
        ("patch", "nodes") => "the ClusterRole mesh-agent-taint (manifests/components/taint)",
        _ => "the ClusterRole mesh-agent (manifests/base/rbac.yaml)",
    }
}

/// What is asked of a collection, which is there however few objects it has.
const FOLLOWING: [&str; 2] = ["list", "watch"];

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// There was no answer.
    Unreachable(String),
    /// The answer was no.
    Refused(Box<Status>),
    /// The answer broke off, or made no sense.
    Cut(String),
    /// Nothing came for that long.
    Silent(Duration),
    /// The answer went on before what was seen.
    SetBack(Version),
}

impl Failure {
    /// What that means for the next request; `lived` is how long the answer went on.
    #[must_use]
    pub fn end(&self, lived: Duration) -> End {
        match self {
            Self::Refused(status) if is_gone(status) => End::Gone,
            Self::SetBack(_) => End::Gone,
            Self::Silent(_) => End::Silent,
            Self::Cut(_) => End::Cut(lived),
            Self::Unreachable(_) | Self::Refused(_) => End::Failed,
        }
    }

    /// Whether the server does not answer as it should, in contrast to an answer that broke off: that happens, and
    /// tells nothing before the next request, as does a version that is gone.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(status) => !is_gone(status),
            Self::Cut(_) | Self::Silent(_) | Self::SetBack(_) => false,
        }
    }

    /// Whether the way to the server, or who we are to it, may be out of date.
    #[must_use]
    pub fn wants_new_access(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(status) => status.code == 401,
            Self::Cut(_) | Self::Silent(_) | Self::SetBack(_) => false,
        }
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused(status) = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// How long to write nothing more after that many such failures in a row, at most `longest` where a right is
    /// missing. None where the answer is about the one object, and others may fare better. `roll` is in 0..1.
    #[must_use]
    pub fn pause(&self, failures: u32, longest: Duration, roll: f64) -> Option<Duration> {
        match self.code() {
            Some(403) => Some(pause::for_a_right(failures, longest, roll)),
            Some(400 | 404 | 409 | 410 | 422) => None,
            _ => Some(pause::after(failures, self.retry_after(), roll)),
        }
    }

    /// A word for metrics: the status, or what came in its place.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Refused(status) => status.code.to_string(),
            Self::Cut(_) => "cut".to_owned(),
            Self::Silent(_) => "silent".to_owned(),
            Self::SetBack(_) => "set-back".to_owned(),
        }
    }

    /// The status of an answer that was no.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            Self::Unreachable(_) | Self::Cut(_) | Self::Silent(_) | Self::SetBack(_) => None,
        }
    }

    /// For operators: what failed, and what to look at. The resource is named as `kubectl` does, with its group; `who`
    /// says how the agent introduces itself.
    #[must_use]
    pub fn explain(&self, verb: &str, name: &str, who: &str) -> String {
        match self {
            Self::Unreachable(why) => why.clone(),
            Self::Cut(why) => format!("the {verb} of {name} broke off: {why}"),
            Self::Silent(time) => format!("the {verb} of {name} brought nothing for {} s", time.as_secs()),
            Self::SetBack(version) => format!(
                "the {verb} of {name} came to version {}, which is older than what was seen",
                version.0
            ),
            Self::Refused(status) if status.code == 401 => format!(
                "401 Unauthorized: the server does not take the credentials; check {who}: expired, revoked, or of \
                 another cluster?"
            ),
            Self::Refused(status) if status.code == 403 => format!(
                "403 Forbidden: may not {verb} {name} in all namespaces; apply {} and bind it to the agent ({})",
                role(verb, name),
                status.message
            ),
            Self::Refused(status) if status.code == 404 && FOLLOWING.contains(&verb) => format!(
                "404 Not Found: the server does not serve {name} in version v1; is it an API server of Kubernetes, \
                 and not too old? ({})",
                status.message
            ),
            Self::Refused(status) => {
                format!(
                    "{verb} {name}: {} {}: {}",
                    status.code, status.reason, status.message
                )
            }
        }
    }
}

/// Whether the server does not have the version it was asked for. One that is too large is of a server that lags
/// behind another, or was set back (`apierrors.NewTooLargeResourceVersionError`).
fn is_gone(status: &Status) -> bool {
    let too_large = || {
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
            || status.message.contains("Too large resource version")
    };
    status.code == 410 || ["Expired", "Gone"].contains(&status.reason.as_str()) || too_large()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::kubernetes::Resource;

    fn refused(status: serde_json::Value) -> Failure {
        Failure::Refused(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn versions_that_the_server_does_not_have_are_told_from_other_failures() {
        let gone = [
            json!({ "code": 410, "reason": "Expired" }),
            json!({ "code": 410, "reason": "Gone" }),
            json!({ "code": 504, "reason": "Timeout", "message": "Timeout: Too large resource version: 9, current: 5" }),
            json!({ "code": 504, "details": { "causes": [{ "reason": "ResourceVersionTooLarge" }] } }),
        ];
        for status in gone {
            assert_eq!(refused(status.clone()).end(Duration::ZERO), End::Gone, "{status}");
        }
        for status in [
            json!({ "code": 504, "reason": "Timeout" }),
            json!({ "code": 500 }),
        ] {
            assert_eq!(refused(status).end(Duration::ZERO), End::Failed);
        }
        let lived = Duration::from_secs(9);
        assert_eq!(Failure::Cut(String::new()).end(lived), End::Cut(lived));
    }

    #[test]
    fn what_to_do_is_said() {
        let explain = |failure: Failure, resource: Resource| {
            failure.explain("watch", resource.full_name(), "the token in /t")
        };
        assert_eq!(
            explain(
                refused(json!({ "code": 403, "message": "no" })),
                Resource::EndpointSlices
            ),
            "403 Forbidden: may not watch endpointslices.discovery.k8s.io in all namespaces; apply the ClusterRole \
             mesh-agent (manifests/base/rbac.yaml) and bind it to the agent (no)"
        );
        assert_eq!(
            explain(
                refused(json!({ "code": 403, "message": "no" })),
                Resource::NetworkPolicies
            ),
            "403 Forbidden: may not watch networkpolicies.networking.k8s.io in all namespaces; apply the ClusterRole \
             mesh-agent (manifests/base/rbac.yaml) and bind it to the agent (no)"
        );
        let absent =
            || refused(json!({ "code": 404, "reason": "Not Found", "message": "404 page not found" }));
        assert_eq!(
            explain(absent(), Resource::NetworkPolicies),
            "404 Not Found: the server does not serve networkpolicies.networking.k8s.io in version v1; is it an API \
             server of Kubernetes, and not too old? (404 page not found)"
        );
        assert_eq!(
            absent().explain("create and patch", "events.events.k8s.io", ""),
            "create and patch events.events.k8s.io: 404 Not Found: 404 page not found",
            "that is about one object, or its namespace"
        );
        assert_eq!(
            explain(refused(json!({ "code": 401 })), Resource::Pods),
            "401 Unauthorized: the server does not take the credentials; check the token in /t: expired, revoked, or \
             of another cluster?"
        );
        assert_eq!(
            explain(
                refused(json!({ "code": 500, "reason": "InternalError", "message": "m" })),
                Resource::Pods
            ),
            "watch pods: 500 InternalError: m"
        );
        assert!(refused(json!({ "code": 401 })).wants_new_access());
        assert!(!refused(json!({ "code": 403 })).wants_new_access());
    }

    #[test]
    fn the_taint_has_a_role_of_its_own() {
        let denied = refused(json!({ "code": 403 })).explain("patch", Resource::Nodes.name(), "");
        assert!(
            denied.contains("mesh-agent-taint (manifests/components/taint)"),
            "{denied}"
        );
    }

    #[test]
    fn writers_pause_unless_the_failure_is_one_objects() {
        let seconds = |status, failures| {
            let pause = refused(status).pause(failures, Duration::from_mins(30), 0.5);
            pause.map(|pause| pause.as_secs())
        };
        let denied = || json!({ "code": 403 });
        assert_eq!(
            [1, 2, 99].map(|it| seconds(denied(), it)),
            [60, 120, 1_800].map(Some)
        );
        let busy = json!({ "code": 429, "details": { "retryAfterSeconds": 40 } });
        assert_eq!(seconds(busy, 1), Some(50));
        assert_eq!(seconds(json!({ "code": 503 }), 7), Some(30));
        assert_eq!(seconds(json!({ "code": 404 }), 1), None);
        let unreachable = Failure::Unreachable(String::new());
        assert_eq!(
            unreachable.pause(2, Duration::ZERO, 0.5),
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn a_server_may_say_when_to_come_back() {
        let busy = refused(json!({ "code": 429, "details": { "retryAfterSeconds": 3 } }));
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(refused(json!({ "code": 429 })).retry_after(), None);
    }
}
