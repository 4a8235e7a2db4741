//! As much HTTP as a probe speaks.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

/// GET from where the calling thread stands.
pub fn get(addr: SocketAddr, path: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // 1.0, so that the answer ends with the connection and has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response {
        status,
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
