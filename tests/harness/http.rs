//! As much HTTP as a probe speaks.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::wait::patient;

const PATIENCE: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Lines of the head after the first.
    pub head: String,
    /// Body as text.
    pub body: String,
}

/// GET from where the calling thread stands.
pub fn get(addr: SocketAddr, path: &str) -> io::Result<Response> {
    let stream = TcpStream::connect_timeout(&addr, patient(PATIENCE))?;
    stream.set_read_timeout(Some(patient(PATIENCE)))?;
    ask(stream, &addr.to_string(), path)
}

/// GET from a Unix socket.
pub fn get_unix(socket: &Path, path: &str) -> io::Result<Response> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patient(PATIENCE)))?;
    ask(stream, "localhost", path)
}

fn ask(mut stream: impl io::Read + io::Write, host: &str, path: &str) -> io::Result<Response> {
    // 1.0, so that the answer ends with the connection and has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response {
        status,
        head: head.into(),
        body: body.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn status_and_body() {
        let response = parse("HTTP/1.0 503 Service Unavailable\r\nX: y\r\n\r\nwaiting").expect("a response");
        assert_eq!((response.status, response.body.as_str()), (503, "waiting"));
        assert!(parse("SSH-2.0").is_none());
    }
}
