//! The socket: listening or not, TLS, and connections that can be broken off.

use std::{net::SocketAddr, sync::Arc};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::answer::answer;
use super::shared::Shared;

/// Whether the server listens; answered once it is so.
#[derive(Debug)]
pub struct Order {
    /// Take connections, or have the kernel refuse them.
    pub listen: bool,
    /// Told when it is done, or why it can't be.
    pub done: std::sync::mpsc::Sender<std::io::Result<()>>,
}

/// Takes connections until the last sender of orders is gone.
pub async fn serve(
    shared: Arc<Shared>,
    tls: TlsAcceptor,
    listener: TcpListener,
    address: SocketAddr,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut listener = Some(listener);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let done = match (order.listen, &listener) {
                    (true, None) => TcpListener::bind(address).await.map(|bound| listener = Some(bound)),
                    (false, _) => {
                        listener = None;
                        Ok(())
                    }
                    (true, Some(_)) => Ok(()),
                };
                // Nobody waits for the answer if the handle is gone.
                let _ = order.done.send(done);
            }
            stream = accept(listener.as_ref()) => {
                tokio::spawn(connection(shared.clone(), tls.clone(), stream));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    loop {
        match listener {
            None => std::future::pending().await,
            Some(listener) => match listener.accept().await {
                Ok((stream, _)) => return stream,
                // Out of descriptors, or the client is gone already.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}

async fn connection(shared: Arc<Shared>, tls: TlsAcceptor, stream: TcpStream) {
    let mut cuts = shared.cuts();
    let serving = async {
        // Events are small; a client waits for each.
        stream.set_nodelay(true).ok()?;
        let stream = tls.accept(stream).await.ok()?;
        let certificate = stream.get_ref().1.peer_certificates();
        let certificate: Option<Arc<[u8]>> = certificate
            .and_then(|chain| chain.first())
            .map(|der| der.as_ref().into());
        let service = service_fn(|request| {
            let (shared, certificate) = (shared.clone(), certificate.clone());
            async { Ok::<_, std::convert::Infallible>(answer(shared, certificate, request).await) }
        });
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await
            .ok()
    };
    tokio::select! {
        _ = serving => {}
        _ = cuts.changed() => {}
    }
}
