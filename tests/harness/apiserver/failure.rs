//! Refusals, as the `Status` objects the real server words them.

use serde_json::{Value, json};

use super::resource::Resource;

/// Result of something the server was asked.
pub type Answer<T> = Result<T, Failure>;

/// Why something was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason; empty for none.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Value>,
    /// For a list that can be gone on with, inconsistently.
    pub continuation: Option<String>,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continuation: None,
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        self.details = Some(details);
        self
    }

    /// The object `Status`.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        if let Some(token) = &self.continuation {
            body["metadata"]["continue"] = token.as_str().into();
        }
        body
    }

    /// Seconds for the header `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// No credentials, or none that are known.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// RBAC says no; `what` is `User "..." cannot list resource ...`.
    #[must_use]
    pub fn forbidden(resource: &Resource, name: &str, what: &str) -> Self {
        let named = if name.is_empty() {
            String::new()
        } else {
            format!(" {name:?}")
        };
        Self::new(
            403,
            "Forbidden",
            format!("{resource}{named} is forbidden: {what}"),
        )
        .about(resource, name)
    }

    /// There is no such object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// There is no such path.
    #[must_use]
    pub fn no_such_path() -> Self {
        let mut failure = Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        failure.details = Some(json!({}));
        failure
    }

    /// The verb is none of this path's.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// The name is taken.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} {name:?} already exists"),
        )
        .about(resource, name)
    }

    /// Someone else wrote first, or a precondition does not hold.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The usual conflict: the object is not what the writer read.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Self {
        const WHY: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, WHY)
    }

    /// Fields that other managers own: pairs of who, and which, those of a manager side by side.
    #[must_use]
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let message = if let [(who, field)] = conflicts {
            format!("Apply failed with 1 conflict: conflict with {who}: {field}")
        } else {
            let mut lines = Vec::new();
            for (index, (who, field)) in conflicts.iter().enumerate() {
                if index == 0 || conflicts[index - 1].0 != *who {
                    lines.push(format!("conflicts with {who}:"));
                }
                lines.push(format!("- {field}"));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                conflicts.len(),
                lines.join("\n")
            )
        };
        let cause = |(who, field): &(String, String)| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": field});
        let causes: Vec<_> = conflicts.iter().map(cause).collect();
        let mut failure = Self::new(409, "Conflict", message);
        failure.details = Some(json!({ "causes": causes }));
        failure
    }

    /// The version is older than what is kept. Lists and watches alike.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A watch from a version that is no longer kept.
    #[must_use]
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// A version of the future.
    #[must_use]
    pub fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(504, "Timeout", message);
        failure.details = Some(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }));
        failure
    }

    /// Precedes every look at the object.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The object is none: `field`, then what is wrong with it.
    #[must_use]
    pub fn invalid(resource: &Resource, name: &str, field: &str, what: &str) -> Self {
        let kind = match (resource.kind, resource.group) {
            (kind, "") => kind.to_owned(),
            (kind, group) => format!("{kind}.{group}"),
        };
        let message = format!("{kind} {name:?} is invalid: {field}: {what}");
        let mut failure = Self::new(422, "Invalid", message).about(resource, name);
        if let Some(details) = &mut failure.details {
            details["kind"] = resource.kind.into();
            details["causes"] = json!([{"reason": "FieldValueInvalid", "message": what, "field": field}]);
        }
        failure
    }

    /// Options of a request that do not go together: `ListOptions`, `PatchOptions`.
    #[must_use]
    pub fn invalid_options(kind: &str, field: &str, what: &str) -> Self {
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {what}");
        let mut failure = Self::new(422, "Invalid", message);
        failure.details = Some(json!({
            "group": "meta.k8s.io", "kind": kind,
            "causes": [{"reason": "FieldValueForbidden", "message": what, "field": field}],
        }));
        failure
    }

    /// The body's format is none of those taken.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// The client takes no JSON.
    #[must_use]
    pub fn not_acceptable() -> Self {
        Self::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        )
    }

    /// The body is longer than the server takes.
    #[must_use]
    pub fn too_large_body(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 429, 500, 503: as a server in trouble answers.
    #[must_use]
    pub fn trouble(code: u16, retry_after: Option<u64>) -> Self {
        let (reason, message) = match code {
            429 => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            410 => (
                "Expired",
                "The resourceVersion for the provided watch is too old.",
            ),
            _ => (
                "InternalError",
                "Internal error occurred: etcdserver: request timed out",
            ),
        };
        let mut failure = Self::new(code, reason, message);
        if let Some(seconds) = retry_after {
            failure.details = Some(json!({ "retryAfterSeconds": seconds }));
        }
        failure
    }

    /// What the real server answers where its storage fails.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::named;
    use super::*;

    #[test]
    fn words_are_the_real_servers() {
        let leases = named("leases").expect("known");
        let failure = Failure::modified(leases, "a");
        assert_eq!(
            failure.message,
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
        let body = failure.body();
        assert_eq!(
            body["details"],
            json!({"name": "a", "group": "coordination.k8s.io", "kind": "leases"})
        );
        assert_eq!(
            (&body["code"], &body["reason"]),
            (&json!(409), &json!("Conflict"))
        );
        let pods = named("pods").expect("known");
        assert_eq!(
            Failure::invalid(pods, "", "metadata.name", "Required value").message,
            "Pod \"\" is invalid: metadata.name: Required value"
        );
        assert_eq!(Failure::trouble(429, Some(3)).retry_after(), Some(3));
    }
}
