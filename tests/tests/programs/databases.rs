//! Redis and `PostgreSQL`, each under its own benchmark.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::manifest::Port;
use harness::scene::{Shop, vips};
use harness::{Launch, Pod, Program, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const REDIS: u16 = 6379;
const POSTGRES: u16 = 5432;
const CACHES: [&str; 2] = ["cache-1", "cache-2"];
const DATABASES: [&str; 2] = ["db-1", "db-2"];

fn start_redis(pod: &Pod) -> Result<Program> {
    let redis = pod.command("redis-server").args(["--bind", "0.0.0.0", "::"]);
    let redis = redis.args(["--port", &REDIS.to_string(), "--protected-mode", "no"]);
    let redis = redis.args(["--save", "", "--appendonly", "no", "--dir"]);
    server::start(pod, redis.arg(server::directory(pod, "redis")?), REDIS)
}

/// Connections and bytes a redis says it had.
fn heard(pod: &Pod) -> Result<(u64, u64)> {
    let asked = pod.command("redis-cli").args(["-h", &pod.v4().to_string()]);
    let text = output::of(asked.args(["INFO", "stats"]))?.replace(':', " ");
    Ok((
        output::number(&text, "total_connections_received")?,
        output::number(&text, "total_net_input_bytes")?,
    ))
}

#[test]
fn redis_benchmark() -> Result<()> {
    /// Requests of each kind.
    const REQUESTS: u64 = 10_000;
    require_root!();
    require!(harness::require::programs(&[
        "redis-server",
        "redis-benchmark",
        "redis-cli"
    ]));
    let shop = crate::open("redis", &CACHES)?;
    shop.sell("cache", 20, &[Port::tcp(REDIS)], &CACHES)?;
    let pods = CACHES.map(|name| shop.backend(name));
    let _servers = [start_redis(pods[0])?, start_redis(pods[1])?];
    let agent = shop.start()?;
    let before = [heard(pods[0])?, heard(pods[1])?];
    // What it costs to ask: a connection, and the bytes of the question.
    let question = heard(pods[0])?.1 - before[0].1;
    for vip in vips(20, REDIS) {
        let benchmark = shop.client.command("redis-benchmark");
        let benchmark = benchmark.args(["-h", &vip.ip().to_string(), "-c", "20", "-t", "set,get", "--csv"]);
        let text = output::of(benchmark.args(["-n", &REQUESTS.to_string()]))?;
        let rates: Vec<f64> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split('"').nth(3)?.parse().ok())
            .collect();
        assert!(
            rates.len() == 2 && rates.iter().all(|rate| *rate > 100.0),
            "{text}"
        );
    }
    let least = Carried {
        connections: 80,
        up: REQUESTS * 4 * 30,
        down: REQUESTS * 4 * 5,
    };
    let carried = carried::at_least(&agent, "cache", &CACHES, least)?;
    carried::none_lives(&shop)?;
    for (index, (pod, carried)) in pods.into_iter().zip(carried).enumerate() {
        let (connections, bytes) = heard(pod)?;
        let asked = if index == 0 { 2 } else { 1 };
        let (begun, read) = before[index];
        // The mesh and the server count the same.
        assert_eq!(carried.connections, connections - begun - asked, "{}", pod.name());
        assert_eq!(carried.up, bytes - read - asked * question, "{}", pod.name());
    }
    Ok(())
}

/// Where Debian keeps the programs of its `PostgreSQL`, `/usr/lib/postgresql/VERSION/bin`.
fn postgres_programs() -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let dirs = versions.map(|version| version.path().join("bin"));
    dirs.filter(|dir| {
        ["initdb", "postgres", "pgbench", "psql"]
            .iter()
            .all(|name| dir.join(name).is_file())
    })
    .max()
    .ok_or_else(|| "needs PostgreSQL with pgbench below /usr/lib/postgresql".into())
}

/// A program of the database's that does not run as root. Its System V shared memory is its own, so that none
/// stays when it is killed.
fn as_nobody(pod: &Pod, program: &Path) -> Launch {
    let unshare = pod.command("unshare").args(["--ipc", "setpriv"]);
    let nobody = [
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--pdeathsig=KILL",
    ];
    unshare.args(nobody).arg(program)
}

fn start_postgres(pod: &Pod, programs: &Path) -> Result<Program> {
    let data = server::directory(pod, "postgres")?;
    output::of(pod.command("chown").arg("nobody").arg(&data))?;
    let init = as_nobody(pod, &programs.join("initdb")).arg("-D").arg(&data);
    output::of(init.args(["--no-sync", "--auth=trust", "--username=mesh", "--locale=C.UTF-8"]))?;
    let everybody = "host all mesh 0.0.0.0/0 trust\nhost all mesh ::/0 trust\n";
    fs::write(data.join("pg_hba.conf"), everybody)?;
    let settings = [
        &format!("port={POSTGRES}"),
        "listen_addresses=*",
        "unix_socket_directories=",
        "fsync=off",
        "shared_buffers=16MB",
        // In files of its directory, which goes with the sandbox.
        "dynamic_shared_memory_type=mmap",
    ];
    let postgres = as_nobody(pod, &programs.join("postgres")).arg("-D").arg(&data);
    let postgres = postgres.args(settings.map(|setting| format!("--{setting}")));
    server::start(pod, postgres, POSTGRES)
}

/// A client of the database's in the client's pod.
fn client<A: AsRef<OsStr>>(shop: &Shop, program: &Path, host: &str, args: &[A]) -> Result<String> {
    let launch = shop.client.command(program).args(["-h", host, "-U", "mesh"]);
    output::of(launch.args(args).arg("postgres"))
}

#[test]
fn pgbench_on_postgresql() -> Result<()> {
    require_root!();
    require!(
        postgres_programs().map(drop),
        harness::require::programs(&["setpriv", "unshare"])
    );
    let programs = postgres_programs().map_err(anyhow::Error::msg)?;
    let [pgbench, psql] = ["pgbench", "psql"].map(|name| programs.join(name));
    let shop = crate::open("postgres", &DATABASES)?;
    shop.sell("db", 30, &[Port::tcp(POSTGRES)], &DATABASES)?;
    let pods = DATABASES.map(|name| shop.backend(name));
    let [one, two] = std::thread::scope(|scope| {
        let programs = programs.as_path();
        let starts = pods.map(|pod| scope.spawn(move || start_postgres(pod, programs)));
        starts.map(|start| start.join().expect("a database starts or says why not"))
    });
    let _servers = [one?, two?];
    let agent = shop.start()?;
    for pod in pods {
        client(
            &shop,
            &pgbench,
            &pod.v4().to_string(),
            &["-i", "-q", "--foreign-keys"],
        )?;
    }
    let vips = vips(30, 0).map(|vip| vip.ip().to_string());
    let kept = client(
        &shop,
        &pgbench,
        &vips[0],
        &["-c", "4", "-j", "2", "-T", "2", "-n"],
    )?;
    let closed = client(&shop, &pgbench, &vips[1], &["-c", "4", "-C", "-t", "25", "-n"])?;
    let mut transactions = 0;
    for text in [&kept, &closed] {
        let failed: u64 = output::number(text, "number of failed transactions:")?;
        ensure!(failed == 0, "{text}");
        let done = text.replace('/', " ");
        transactions += output::number::<u64>(&done, "number of transactions actually processed:")?;
    }
    assert!(transactions > 100 + 20, "{kept}");
    let least = Carried {
        connections: 4 + 100,
        up: transactions * 200,
        down: transactions * 100,
    };
    carried::at_least(&agent, "db", &DATABASES, least)?;
    // Nothing that was acknowledged is missing.
    let mut kept_by_both = 0;
    for pod in pods {
        let query = ["-A", "-t", "-c", "SELECT count(*) FROM pgbench_history"];
        let text = client(&shop, &psql, &pod.v4().to_string(), &query)?;
        kept_by_both += text.trim().parse::<u64>().context("a count")?;
    }
    assert_eq!(kept_by_both, transactions);
    carried::none_lives(&shop)
}
