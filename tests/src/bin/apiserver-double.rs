//! The double of the Kubernetes API server as a process of its own: in a network namespace, or to try `kubectl` on.
//!
//! Lines of JSON on standard input do what the handle does (`{"do": "cut"}`); each is answered by a line. It ends
//! with its standard input.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use harness::apiserver::{ApiServer, command};
use serde_json::Value;

/// Plays the Kubernetes API server.
#[derive(Debug, Parser)]
struct Args {
    /// Where ca.crt, token, kubeconfig and admin.kubeconfig are written
    #[arg(long)]
    dir: PathBuf,
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// One more name or address the certificate is good for
    #[arg(long)]
    name: Vec<String>,
    /// Changes of each resource that are kept
    #[arg(long, default_value_t = 10_000)]
    window: usize,
    /// Seconds between two bookmarks
    #[arg(long, default_value_t = 60)]
    bookmarks: u64,
    /// Objects to start with: a List, or one object a file, as JSON
    #[arg(long)]
    load: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut builder = ApiServer::builder(&args.dir)
        .listen(args.listen)
        .window(args.window)
        .bookmarks(Duration::from_secs(args.bookmarks));
    for name in &args.name {
        builder = builder.name(name);
    }
    let server = builder.start()?;
    for path in &args.load {
        load(&server, path).with_context(|| format!("loading {}", path.display()))?;
    }
    println!("{}", server.url());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            println!("{}", command::run(&server, &line));
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

fn load(server: &ApiServer, path: &std::path::Path) -> Result<()> {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let Some(items) = value.get_mut("items").map(Value::take) else {
        server.put(&value)?;
        return Ok(());
    };
    let kind = value["kind"].as_str().unwrap_or_default();
    let kind = kind.strip_suffix("List").unwrap_or(kind);
    let items = items.as_array().cloned().unwrap_or_default();
    server.put_all(items.into_iter().map(|mut item| {
        if item["kind"].is_null() {
            item["kind"] = kind.into();
            item["apiVersion"] = value["apiVersion"].clone();
        }
        item
    }))
}
