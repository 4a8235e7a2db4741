//! The little that the agent writes to the API server.

use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::access::{Access, Connection};
use super::failure::Failure;
use super::request;

/// A format of patches (RFC 7386, RFC 6902).
#[derive(Clone, Copy, Debug)]
pub enum Patch {
    /// Fields that replace others.
    Merge,
    /// Operations, all or none.
    Json,
}

impl Patch {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

/// Writes, one request after the other. Connections are made when there is something to write.
#[derive(Clone)]
pub struct Writer {
    access: Access,
    connection: Option<Connection>,
}

impl Writer {
    /// Nothing is sent yet.
    #[must_use]
    pub const fn new(access: Access) -> Self {
        Self {
            access,
            connection: None,
        }
    }

    /// Makes an object in a collection; gives it as it is then.
    ///
    /// # Errors
    /// Where there is no answer, or it is no.
    pub async fn create<T: DeserializeOwned>(
        &mut self,
        path: &str,
        object: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send(Method::POST, path, "application/json", object).await
    }

    /// Changes an object; gives it as it is then.
    ///
    /// # Errors
    /// Where there is no answer, or it is no.
    pub async fn patch<T: DeserializeOwned>(
        &mut self,
        path: &str,
        format: Patch,
        changes: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send(Method::PATCH, path, format.media_type(), changes).await
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        media_type: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self
                .access
                .open()
                .await
                .map_err(|error| Failure::Unreachable(error.to_string()))?,
        };
        let body = serde_json::to_vec(body).map_err(|error| Failure::Unreachable(error.to_string()))?;
        let answer = request::write(&connection.client, method, path, media_type, body).await;
        // Otherwise the way to the server is read anew: it, or who we are, may have changed.
        if !answer.as_ref().is_err_and(Failure::wants_new_access) {
            self.connection = Some(connection);
        }
        serde_json::from_slice(&answer?).map_err(|error| Failure::Cut(error.to_string()))
    }
}
