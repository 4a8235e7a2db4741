//! Runtimes that wait for many sockets at once: asyncio, tokio and Go, each as server and client of a mirror.
//!
//! The server sends its name and then back what it is sent, while more comes, until the client's half is closed; then it
//! closes its own. The client sends short messages one by one, and a lot of bytes while it reads, and
//! compares; it prints how often it met which name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::manifest::Port;
use harness::scene::{Shop, vips};
use harness::{Launch, Pod, patient, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const MIRRORS: [&str; 2] = ["web-1", "web-2"];
const PORT: u16 = 9080;
/// Connections of a client: to two addresses, ten times three at once.
const TIMES: u64 = 2 * 10 * 3;
/// What each of them sends: fifty short messages, and a lot of bytes.
const BYTES: u64 = 50 * 64 + BULK;
const BULK: u64 = 300_000;

/// What the mesh has to have seen of a client.
const MIRRORED: Carried = Carried {
    connections: TIMES,
    up: TIMES * BYTES,
    down: TIMES * BYTES,
};

/// A program that is server or client by its first argument.
struct Mirror {
    program: PathBuf,
    script: Option<PathBuf>,
}

impl Mirror {
    fn launch(&self, pod: &Pod) -> Launch {
        pod.command(&self.program).args(&self.script)
    }

    /// Both backends serve and the client asks; `over` names the protocol.
    fn test(&self, shop: &Shop, over: &str, least: Carried) -> Result<()> {
        let serve = |name| {
            let pod = shop.backend(name);
            let args = [&format!("serve{over}"), name, &PORT.to_string()];
            server::start(pod, self.launch(pod).args(args), PORT)
        };
        let _servers = [serve(MIRRORS[0])?, serve(MIRRORS[1])?];
        let agent = shop.start()?;
        let client = self.launch(&shop.client).args([&format!("ask{over}"), "80"]);
        let hosts = vips(10, 80).map(|vip| vip.ip().to_string());
        output::assert_named(&output::of(client.args(hosts))?, &MIRRORS, TIMES)?;
        carried::at_least(&agent, "web", &MIRRORS, least)?;
        carried::none_lives(shop)
    }
}

/// A shop with the service `web`, number 10, of two mirrors.
fn shop(test_name: &str) -> Result<Shop> {
    let shop = crate::open(test_name, &MIRRORS)?;
    shop.sell("web", 10, &[Port::tcp(80).to(PORT)], &MIRRORS)?;
    Ok(shop)
}

/// A file of the directory beside this one.
fn source(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/mirror");
    sources.join(name)
}

#[test]
fn asyncio_mirrors_asyncio() -> Result<()> {
    require_root!();
    require!(harness::require::program("python3"));
    let mirror = Mirror {
        program: "python3".into(),
        script: Some(source("mirror.py")),
    };
    mirror.test(&shop("asyncio")?, "", MIRRORED)
}

#[test]
fn tokio_mirrors_tokio() -> Result<()> {
    require_root!();
    let mirror = Mirror {
        program: env!("CARGO_BIN_EXE_mirror-tokio").into(),
        script: None,
    };
    mirror.test(&shop("tokio")?, "", MIRRORED)
}

/// Builds the mirror with Go's standard library alone. The first time may take long, then Go has it in its cache.
fn build_go(shop: &Shop) -> Result<Mirror> {
    const PATIENCE: Duration = Duration::from_mins(2);
    let dir = server::directory(&shop.client, "go")?;
    let program = dir.join("mirror");
    let build = shop.client.command("go").args(["build", "-o"]);
    let build = build.arg(&program).arg(source("mirror.go"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let build = build.env("GOCACHE", cache).env("HOME", dir);
    // No module, so nothing is fetched.
    let build = build
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .start()?;
    ensure!(build.wait(patient(PATIENCE))?.success(), "{}", build.tail());
    Ok(Mirror {
        program,
        script: None,
    })
}

#[test]
fn go_mirrors_go() -> Result<()> {
    require_root!();
    require!(harness::require::program("go"));
    let shop = shop("go")?;
    build_go(&shop)?.test(&shop, "", MIRRORED)
}

#[test]
fn go_asks_go_over_http() -> Result<()> {
    require_root!();
    require!(harness::require::program("go"));
    let shop = shop("go-http")?;
    let least = Carried {
        // Those that were used again carry the rest.
        connections: 2 * 3,
        up: TIMES * BULK,
        down: TIMES * 64,
    };
    build_go(&shop)?.test(&shop, "-http", least)
}
