//! The mirror in tokio: `serve NAME PORT`, or `ask PORT HOST...`, see the tests `programs/mirror.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const PINGS: usize = 50;
const PING: usize = 64;
const BULK: usize = 300_000;
const PIECE: usize = 10_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, port] => serve(name, port.parse()?).await,
        ["ask", port, ref hosts @ ..] => ask(port.parse()?, hosts).await,
        _ => bail!("serve NAME PORT, or ask PORT HOST..."),
    }
}

async fn serve(name: &str, port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(mirror(stream, format!("{name}\n")));
    }
}

/// The two halves are tasks of their own, with a short queue between them.
async fn mirror(stream: TcpStream, name: String) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut queue) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    let sending = tokio::spawn(async move {
        writer.write_all(name.as_bytes()).await?;
        while let Some(data) = queue.recv().await {
            writer.write_all(&data).await?;
        }
        writer.shutdown().await
    });
    loop {
        let mut data = vec![0; 65536];
        let count = reader.read(&mut data).await?;
        if count == 0 {
            break;
        }
        data.truncate(count);
        sender.send(data).await?;
    }
    drop(sender);
    Ok(sending.await??)
}

async fn ask(port: u16, hosts: &[&str]) -> Result<()> {
    let mut counts = BTreeMap::<String, u64>::new();
    for host in hosts {
        let host: IpAddr = host.parse().with_context(|| (*host).to_owned())?;
        for _ in 0..10 {
            let mut together: JoinSet<_> = (0..3).map(|_| look(host, port)).collect();
            while let Some(name) = together.join_next().await {
                *counts.entry(name??).or_default() += 1;
            }
        }
    }
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

async fn look(host: IpAddr, port: u16) -> Result<String> {
    let (reader, mut writer) = TcpStream::connect((host, port)).await?.into_split();
    let mut reader = BufReader::new(reader);
    let mut name = String::new();
    reader.read_line(&mut name).await?;
    for _ in 0..PINGS {
        let (sent, mut seen) = (random(PING)?, [0; PING]);
        writer.write_all(&sent).await?;
        reader.read_exact(&mut seen).await?;
        ensure!(seen[..] == sent, "another answer");
    }
    let sent = random(BULK)?;
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        for piece in sent.chunks(PIECE) {
            writer.write_all(piece).await?;
        }
        writer.shutdown().await
    });
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).await?;
    sending.await??;
    ensure!(
        seen == expected,
        "of {BULK} bytes {} came back, or others",
        seen.len()
    );
    Ok(name.trim_end().to_owned())
}

fn random(size: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; size];
    File::open("/dev/urandom")?.read_exact(&mut data)?;
    Ok(data)
}
