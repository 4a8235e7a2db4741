//! Services answer, and their backends share the work.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};

use crate::counting::check_spread;
use crate::narrator::Narrator;
use crate::town::Town;

const REQUESTS: u32 = 200;
const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 53));

/// HTTP over both families, redis, and names over UDP.
pub fn show(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Services: a connection goes to one of the backends, chosen in connect()")?;
    let client = town.terminal("client-1");
    narrator
        .say("no route leads to 10.96.0.10; a client out of the mesh gets no answer from the service:")?;
    let stranger = town.unenrolled("client-1");
    let refused = stranger.try_run("curl -sS http://10.96.0.10/", narrator)?;
    ensure!(!refused.status.success(), "a service answered out of the mesh");
    narrator.say(&format!(
        "the same pod in the mesh: {REQUESTS} connections, counted by who answered"
    ))?;
    for address in ["10.96.0.10", "[fd00:96::10]"] {
        let url = format!("http://{address}/?[1-{REQUESTS}]");
        let url = if address.starts_with('[') {
            // curl's own brackets are for counting, unless they are escaped.
            format!("http://\\{}\\]/?[1-{REQUESTS}]", address.trim_end_matches(']'))
        } else {
            url
        };
        let command = format!("curl -sS -H 'Connection: close' '{url}' | sort | uniq -c");
        let output = client.run(&command, narrator)?;
        check_spread(&output, &["web-1", "web-2"], REQUESTS)?;
    }
    narrator.say("the application sees the address it dialled:")?;
    let peer = client.run(
        "curl -so /dev/null -w '%{remote_ip}:%{remote_port}\\n' http://10.96.0.10/",
        narrator,
    )?;
    ensure!(peer.trim() == "10.96.0.10:80", "the application sees {peer}");
    redis(town, narrator)?;
    names(town, narrator)
}

fn redis(town: &Town, narrator: &Narrator) -> Result<()> {
    let client = town.terminal("client-1");
    narrator.say("redis behind shop/cache; it sees the client's own address:")?;
    client.run(
        "redis-cli -h 10.96.0.20 set greeting 'through the mesh'",
        narrator,
    )?;
    let greeting = client.run("redis-cli -h 10.96.0.20 get greeting", narrator)?;
    ensure!(greeting.trim() == "through the mesh", "redis answered {greeting}");
    let list = "redis-cli -h 10.96.0.20 client list | grep -o ' l*addr=[^ ]*'";
    let seen = client.run(list, narrator)?;
    ensure!(seen.contains("addr=10.0.1.1:"), "redis sees {seen}");
    client.run(
        "redis-benchmark -q -h 10.96.0.20 -n 10000 -t set,get | tr '\\r' '\\n' | grep requests",
        narrator,
    )?;
    Ok(())
}

fn names(town: &Town, narrator: &Narrator) -> Result<()> {
    let client = town.terminal("client-1");
    narrator
        .say("UDP behind kube-system/dns; dig takes answers from the address it asked, and from no other:")?;
    let command = "dig @10.96.0.53 +noall +answer +stats web.shop.svc.cluster.local";
    let answer = client.run(command, narrator)?;
    ensure!(
        answer.contains("\t10.96.0.10\n") && answer.contains("SERVER: 10.96.0.53#53"),
        "not the answer of the name server"
    );
    narrator.say("and with it as the pod's name server, /etc/resolv.conf:")?;
    let command = "curl -sS http://web.shop.svc.cluster.local/";
    narrator.command("client-1", command)?;
    let output = client.shell(command).nameservers(&[NAME_SERVER]).output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    narrator.output(&answer)?;
    ensure!(
        answer.starts_with("web-"),
        "no answer by name: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
