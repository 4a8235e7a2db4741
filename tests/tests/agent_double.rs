//! The harness starts, watches, crashes and restarts an agent: shown with a double of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Sandbox, require_root, until};

/// What the double is to do: `good` or `broken`.
const MODE: &str = "MESH_TEST_DOUBLE";

/// Not a test: plays the agent in a process of its own. The second question about readiness is answered yes.
#[test]
#[ignore = "started by other tests"]
fn double() -> Result<()> {
    let Ok(mode) = std::env::var(MODE) else {
        return Ok(());
    };
    println!("double, {mode}");
    ensure!(mode == "good", "broken as told");
    let listener = TcpListener::bind("127.0.0.1:15021")?;
    for number in 0.. {
        let (mut stream, _) = listener.accept()?;
        let head = BufReader::new(&stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        ensure!(head.count() > 1, "no request");
        let answer = if number == 0 {
            "503 Wait\r\n\r\npods"
        } else {
            "200 OK\r\n\r\nready"
        };
        write!(stream, "HTTP/1.1 {answer}")?;
    }
    Ok(())
}

/// A file that starts this test program as the double, whatever its arguments, which it prints.
fn script(sandbox: &Sandbox) -> Result<PathBuf> {
    let path = sandbox.run_dir().join("double");
    let program = std::env::current_exe()?;
    let text = format!(
        "#!/bin/sh\necho \"$@\"\nexec {} --exact double --ignored --nocapture\n",
        program.display()
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[test]
fn starts_crashes_and_comes_back() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("double")?;
    let mut agent = sandbox
        .agent()
        .binary(script(&sandbox)?)
        .arg("--extra")
        .env(MODE, "good")
        .start()?;
    let flags = format!("run --manifests {} --cgroup", sandbox.manifests().dir().display());
    assert!(agent.log().starts_with(&flags), "{}", agent.log());
    assert!(
        agent.log().contains("--node-name node-1 --extra\n"),
        "{}",
        agent.log()
    );
    assert_eq!(agent.ready()?.body, "ready");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", agent.program().pid()))?;
    assert!(
        cgroup.contains(&format!("0::/mesh-test-{}\n", std::process::id())),
        "{cgroup}"
    );
    let first = agent.program().pid();
    assert!(!agent.kill9()?.success());
    assert!(agent.ready().is_err(), "the dead answer");
    agent.restart()?;
    assert_ne!(agent.program().pid(), first);
    let pid = agent.program().pid();
    drop(agent);
    assert!(until(Duration::from_secs(1), || !PathBuf::from(format!(
        "/proc/{pid}"
    ))
    .exists()));
    Ok(())
}

#[test]
fn errors_show_the_log() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("broken")?;
    let error = sandbox
        .agent()
        .binary(script(&sandbox)?)
        .env(MODE, "broken")
        .start()
        .expect_err("it is broken");
    let text = format!("{error:#}");
    assert!(
        text.contains("ended before it was ready") && text.contains("broken as told"),
        "{text}"
    );
    Ok(())
}
