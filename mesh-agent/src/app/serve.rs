//! HTTP: readiness and metrics on TCP, the admin interface on a Unix socket.

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::{TcpListener, UnixListener};

use super::readiness::Readiness;
use crate::telemetry::task::Telemetry;

/// `/readyz`, which names what is pending and what else operators should know, and `/healthz`.
pub fn readiness(readiness: Readiness) -> Router {
    let ready = move || async move {
        let (pending, notes) = (readiness.pending(), readiness.notes());
        let all = pending.iter().chain(&notes);
        let lines = all.fold(String::new(), |lines, (name, why)| {
            lines + name + ": " + why + "\n"
        });
        if pending.is_empty() {
            (StatusCode::OK, format!("ready\n{lines}"))
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    };
    Router::new()
        .route("/readyz", get(ready))
        .route("/healthz", get(|| async { "ok\n" }))
}

/// What `/metrics` tells: what is registered, and everything once there is telemetry.
#[derive(Clone)]
pub struct Exposition(Arc<Mutex<Exposed>>);

enum Exposed {
    Registered(Registry),
    All(Telemetry),
}

impl Exposition {
    /// Tells what is registered.
    #[must_use]
    pub fn of(registry: Registry) -> Self {
        Self(Arc::new(Mutex::new(Exposed::Registered(registry))))
    }

    /// Hands the registry over to telemetry, which tells everything from then on.
    ///
    /// # Errors
    /// Where telemetry can't be started.
    pub fn complete<E>(&self, start: impl FnOnce(Registry) -> Result<Telemetry, E>) -> Result<Telemetry, E> {
        let mut exposed = self.lock();
        let registry = match &mut *exposed {
            Exposed::Registered(registry) => mem::take(registry),
            Exposed::All(telemetry) => return Ok(telemetry.clone()),
        };
        let telemetry = start(registry)?;
        *exposed = Exposed::All(telemetry.clone());
        Ok(telemetry)
    }

    async fn text(&self) -> Option<String> {
        let telemetry = match &*self.lock() {
            Exposed::Registered(registry) => {
                let mut text = String::new();
                return encode(&mut text, registry).is_ok().then_some(text);
            }
            Exposed::All(telemetry) => telemetry.clone(),
        };
        telemetry.scrape().await
    }

    fn lock(&self) -> MutexGuard<'_, Exposed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/metrics`.
pub fn metrics(exposition: Exposition) -> Router {
    /// `Content-Type` of OpenMetrics 1.0 text.
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let scrape = move || async move {
        match exposition.text().await {
            Some(text) => (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], text),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(CONTENT_TYPE, "text/plain")],
                "ending\n".to_owned(),
            ),
        }
    };
    Router::new().route("/metrics", get(scrape))
}

/// Listens on an address; where the host has no IPv6, on the same port of every IPv4 address.
///
/// # Errors
/// The system's, with the address.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if address.ip().is_unspecified() && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|error| io::Error::new(error.kind(), format!("listening on {address}: {error}")))
}

/// Listens on the admin socket, for root only. The lock of the runtime directory is held, so whatever is
/// there is left from an agent that died.
///
/// # Errors
/// The system's, with the path.
pub fn listen_admin(path: &Path) -> io::Result<UnixListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("admin socket {}: {error}", path.display()));
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(listener)
}
