//! `HAProxy` in the middle: it takes connections from a service and makes its own to another, and moves what they
//! carry from socket to socket inside the kernel.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::manifest::Port;
use harness::scene::vips;
use harness::{Pod, Program, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const WEBS: [&str; 2] = ["web-1", "web-2"];
const PROXIES: [&str; 2] = ["proxy-1", "proxy-2"];
const HTTP: u16 = 9080;
const FRONT: u16 = 9000;
/// Bytes of the file.
const SIZE: u64 = 8 << 20;

/// A proxy whose only server is the service `web`.
struct Proxy {
    _program: Program,
    stats: PathBuf,
}

impl Proxy {
    fn start(pod: &Pod) -> Result<Self> {
        let dir = server::directory(pod, "haproxy")?;
        let (file, stats) = (dir.join("haproxy.cfg"), dir.join("stats"));
        let [v4, v6] = vips(10, 80);
        let config = format!(
            "global\n  stats socket {} level admin\n\
             defaults\n  mode tcp\n  option splice-auto\n  option splice-request\n  option splice-response\n\
             \x20 timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
             listen front\n  bind :::{FRONT} v4v6\n  balance roundrobin\n  server v4 {v4}\n  server v6 {v6}\n",
            stats.display()
        );
        fs::write(&file, config)?;
        let haproxy = pod.command("haproxy").arg("-db").arg("-f").arg(&file);
        Ok(Self {
            _program: server::start(pod, haproxy, FRONT)?,
            stats,
        })
    }

    /// How many pipes it has made to splice with.
    fn pipes(&self) -> Result<u64> {
        let mut socket = UnixStream::connect(&self.stats)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(b"show info\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        let of = |label| output::number::<u64>(&text, label);
        Ok(of("PipesUsed:")? + of("PipesFree:")?)
    }
}

fn sha256(pod: &Pod, file: &Path) -> Result<String> {
    let text = output::of(pod.command("sha256sum").arg(file))?;
    text.split_whitespace().next().map(str::to_owned).context("a sum")
}

#[test]
fn haproxy_splices_between_services() -> Result<()> {
    const ROUNDS: u64 = 10;
    require_root!();
    require!(harness::require::programs(&["nginx", "haproxy", "curl", "dd"]));
    let shop = crate::open("haproxy", &[WEBS, PROXIES].concat())?;
    shop.sell("web", 10, &[Port::tcp(80).to(HTTP)], &WEBS)?;
    shop.sell("front", 20, &[Port::tcp(80).to(FRONT)], &PROXIES)?;
    let dir = server::directory(&shop.client, "files")?;
    let large = dir.join("large");
    let dd = shop.client.command("dd").arg("if=/dev/urandom");
    output::of(dd.args(["bs=1M", "count=8", &format!("of={}", large.display())]))?;
    let block = format!(
        "listen {HTTP};\nlisten [::]:{HTTP};\nroot {};\nclient_max_body_size 64m;\n\
         location /up {{ dav_methods PUT; create_full_put_path on; root {}; }}",
        dir.display(),
        dir.display()
    );
    let [one, two] = WEBS.map(|name| server::nginx(shop.backend(name), HTTP, &block));
    let _webs = [one?, two?];
    let [one, two] = PROXIES.map(|name| Proxy::start(shop.backend(name)));
    let proxies = [one?, two?];
    let agent = shop.start()?;
    let sum = sha256(&shop.client, &large)?;
    let curl = || {
        shop.client
            .command("curl")
            .args(["-sS", "-f", "--max-time", "10"])
    };
    let copy = dir.join("copy");
    for vip in vips(20, 80) {
        for round in 0..ROUNDS {
            let url = format!("http://{vip}");
            output::of(curl().arg("-o").arg(&copy).arg(format!("{url}/large")))?;
            assert_eq!(sha256(&shop.client, &copy)?, sum, "down through {url}");
            if round % 5 == 0 {
                let put = curl().arg("-T").arg(&large);
                output::of(put.arg(format!("{url}/up/{round}")))?;
                let arrived = dir.join("up").join(round.to_string());
                assert_eq!(sha256(&shop.client, &arrived)?, sum, "up through {url}");
                fs::remove_file(arrived)?;
            }
        }
    }
    for proxy in &proxies {
        assert!(proxy.pipes()? > 0, "nothing was spliced");
    }
    let least = Carried {
        connections: ROUNDS * 2 + 4,
        up: SIZE * 4,
        down: SIZE * ROUNDS * 2,
    };
    carried::at_least(&agent, "front", &PROXIES, least)?;
    carried::at_least(&agent, "web", &WEBS, least)?;
    carried::none_lives(&shop)
}
