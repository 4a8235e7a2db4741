//! The double as a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

#[test]
fn lines_do_what_the_handle_does() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_apiserver-double"))
        .args(["--dir".as_ref(), dir.path()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut orders = child.stdin.take().context("an input")?;
    let mut lines = BufReader::new(child.stdout.take().context("an output")?).lines();
    let url = lines.next().context("a line")??;
    let address: std::net::SocketAddr = url.strip_prefix("https://").context("its address")?.parse()?;
    let mut order = |line: &Value| -> Result<Value> {
        writeln!(orders, "{line}")?;
        Ok(serde_json::from_str(&lines.next().context("an answer")??)?)
    };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let version = order(&json!({"do": "put", "object": namespace}))?["ok"].clone();
    assert_eq!(order(&json!({"do": "version"}))?["ok"], version);
    for good in [
        json!({"do": "cut"}),
        json!({"do": "refuse", "whom": {"verb": "list"}, "code": 429, "retry_after": 1, "times": 1}),
        json!({"do": "delay", "milliseconds": 1}),
        json!({"do": "expire-watches", "how": "event"}),
        json!({"do": "hold-events", "resource": "pods"}),
        json!({"do": "well"}),
        json!({"do": "token", "token": "fresh"}),
        json!({"do": "deny", "verb": "list", "resource": "pods"}),
        json!({"do": "restore", "version": version}),
    ] {
        assert_eq!(order(&good)?, json!({"ok": null}), "{good}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("token"))?, "fresh");
    assert_eq!(
        order(&json!({"do": "count", "verb": "list", "resource": "pods"}))?["ok"],
        0
    );
    for bad in [
        json!({"do": "dance"}),
        json!({"do": "remove", "resource": "things", "name": "a"}),
        json!({"do": "put", "object": {"kind": "Thing"}}),
    ] {
        assert!(order(&bad)?["error"].is_string(), "{bad}");
    }
    std::net::TcpStream::connect(address)?;
    order(&json!({"do": "down"}))?;
    assert!(std::net::TcpStream::connect(address).is_err());
    drop(orders);
    assert!(child.wait()?.success(), "it ends with its input");
    Ok(())
}
