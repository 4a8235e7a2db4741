//! HTTP: nginx under load, and servers and clients in JavaScript and Python.

use std::fs;
use std::path::Path;

use anyhow::Result;
use harness::manifest::Port;
use harness::scene::{Shop, vips};
use harness::{Launch, Pod, Program, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const WEBS: [&str; 2] = ["web-1", "web-2"];
/// Where the servers listen; on 8080 the scene does.
const HTTP: u16 = 9080;

/// Prints what wrk counted, which it otherwise rounds.
const REPORT: &str = "done = function(all, latency, requests)
  local e = all.errors
  io.write(string.format('\\nrequests %d\\nbytes %d\\nerrors %d\\n', all.requests, all.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
";

/// A shop with the service `web`, number 10, of two servers that `start` starts.
fn web(test_name: &str, start: impl Fn(&Pod) -> Result<Program>) -> Result<(Shop, [Program; 2])> {
    let shop = crate::open(test_name, &WEBS)?;
    shop.sell("web", 10, &[Port::tcp(80).to(HTTP)], &WEBS)?;
    let servers = [start(shop.backend("web-1"))?, start(shop.backend("web-2"))?];
    Ok((shop, servers))
}

fn wrk(shop: &Shop, script: &Path) -> Launch {
    let wrk = shop.client.command("wrk").args(["-t", "1", "-d", "1s", "-s"]);
    wrk.arg(script)
}

#[test]
fn wrk_loads_nginx() -> Result<()> {
    require_root!();
    require!(harness::require::programs(&["nginx", "wrk"]));
    let (shop, _servers) = web("wrk", |pod| {
        let listen = format!("listen {HTTP};\nlisten [::]:{HTTP};\n");
        server::nginx(
            pod,
            HTTP,
            &format!("{listen}return 200 \"{}\\n\";", "x".repeat(999)),
        )
    })?;
    let script = server::directory(&shop.client, "wrk")?.join("report.lua");
    fs::write(&script, REPORT)?;
    let agent = shop.start()?;
    let shown = carried::shown(&shop, &["service", "show", "shop/web"])?.to_string();
    for name in WEBS {
        assert!(shown.contains(&format!("\"{name}\"")), "{shown}");
    }
    let (mut requests, mut bytes, mut connections) = (0, 0, 0);
    let [v4, v6] = vips(10, 80);
    let kept = wrk(&shop, &script).args(["-c", "32", &format!("http://{v4}/")]);
    let closed = wrk(&shop, &script).args(["-c", "8", "-H", "Connection: close", &format!("http://{v6}/")]);
    for (wrk, a_connection_each) in [(kept, false), (closed, true)] {
        let text = output::of(wrk)?;
        assert_eq!(output::number::<u64>(&text, "errors")?, 0, "{text}");
        let asked: u64 = output::number(&text, "requests")?;
        assert!(asked > 20, "{text}");
        requests += asked;
        bytes += output::number::<u64>(&text, "bytes")?;
        connections += if a_connection_each { asked } else { 32 };
    }
    assert!(bytes > requests * 1000, "{bytes} bytes of {requests} answers");
    let least = Carried {
        connections,
        up: requests * 40,
        down: bytes,
    };
    carried::at_least(&agent, "web", &WEBS, least)?;
    carried::none_lives(&shop)
}

/// Answers with its name and a hash of what it was sent.
const NODE_SERVER: &str = "
const {createServer} = require('http'), {createHash} = require('crypto');
const [name, port] = process.argv.slice(2);
createServer((request, response) => {
  const hash = createHash('sha256');
  request.on('data', data => hash.update(data));
  request.on('end', () => response.end(JSON.stringify({name, hash: hash.digest('hex')})));
}).listen(Number(port), '::');
";

/// Sends every time another body; counts the names.
const NODE_CLIENT: &str = "
const {createHash, randomBytes} = require('crypto');
const counts = {};
async function ask(url, connection) {
  const body = randomBytes(100000), want = createHash('sha256').update(body).digest('hex');
  const response = await fetch(url, {method: 'POST', body, headers: {connection}});
  const {name, hash} = await response.json();
  if (hash !== want) throw new Error('another body arrived at ' + name);
  counts[name] = (counts[name] || 0) + 1;
}
(async () => {
  for (const url of process.argv.slice(2)) {
    for (let round = 0; round < 10; round++) {
      await Promise.all([ask(url, 'close'), ask(url, 'close'), ask(url, 'keep-alive')]);
    }
  }
  console.log(JSON.stringify(counts));
})();
";

#[test]
fn node_fetches_from_node() -> Result<()> {
    require_root!();
    require!(harness::require::program("node"));
    let (shop, _servers) = web("node", |pod| {
        let script = server::directory(pod, "node")?.join("server.js");
        fs::write(&script, NODE_SERVER)?;
        let node = pod.command("node").arg(script);
        server::start(pod, node.args([pod.name(), &HTTP.to_string()]), HTTP)
    })?;
    let script = server::directory(&shop.client, "node")?.join("client.js");
    fs::write(&script, NODE_CLIENT)?;
    let agent = shop.start()?;
    let urls = vips(10, 80).map(|vip| format!("http://{vip}/"));
    let text = output::of(shop.client.command("node").arg(script).args(urls))?;
    output::assert_named(&text, &WEBS, 60)?;
    let least = Carried {
        // Those that are closed, and at least one of each family that is kept.
        connections: 42,
        up: 60 * 100_000,
        down: 60 * 80,
    };
    carried::at_least(&agent, "web", &WEBS, least)?;
    carried::none_lives(&shop)
}

/// Reads every file and gives its size and hash.
const PYTHON_CLIENT: &str = "
import hashlib, json, sys, urllib.request
counts = {}
for url in sys.argv[1:]:
    for _ in range(20):
        with urllib.request.urlopen(url + 'large', timeout=5) as answer:
            body = answer.read()
        name, want, data = body.split(b'\\n', 2)
        assert hashlib.sha256(data).hexdigest().encode() == want, 'another body'
        name = name.decode()
        counts[name] = counts.get(name, 0) + 1
print(json.dumps(counts))
";

/// Makes a file that says who has it, and its hash.
const PYTHON_FILE: &str = "
import hashlib, os, sys
data = os.urandom(300000)
text = sys.argv[2].encode() + b'\\n' + hashlib.sha256(data).hexdigest().encode() + b'\\n' + data
open(sys.argv[1], 'wb').write(text)
";

#[test]
fn python_reads_from_python() -> Result<()> {
    require_root!();
    require!(harness::require::program("python3"));
    let (shop, _servers) = web("python", |pod| {
        let dir = server::directory(pod, "python")?;
        let make = pod.command("python3").args(["-c", PYTHON_FILE]);
        output::of(make.arg(dir.join("large")).arg(pod.name()))?;
        let port = HTTP.to_string();
        let python = pod.command("python3");
        let serve = ["-m", "http.server", &port, "--bind", "::", "--directory"];
        server::start(pod, python.args(serve).arg(&dir), HTTP)
    })?;
    let agent = shop.start()?;
    let urls = vips(10, 80).map(|vip| format!("http://{vip}/"));
    let client = shop.client.command("python3").args(["-c", PYTHON_CLIENT]);
    let text = output::of(client.args(urls))?;
    output::assert_named(&text, &WEBS, 40)?;
    let least = Carried {
        connections: 40,
        up: 40 * 40,
        down: 40 * 300_000,
    };
    carried::at_least(&agent, "web", &WEBS, least)?;
    carried::none_lives(&shop)
}
