//! A command in a pod (`pods/exec`, over WebSocket), as if it ran here.

use std::io::{self, Write};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, api::AttachParams};
use mesh_common::names::{exit, install};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::cluster::{Agent, Cluster};
use crate::cli::failure::Failure;

/// What is held of output that nobody took yet.
const BUFFER: usize = 64 << 10;

/// Runs a command in an agent's container; the exit code.
///
/// # Errors
/// Where it could not be run, or nobody knows how it ended.
pub async fn run(
    cluster: &Cluster,
    agent: &Agent,
    command: &[String],
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &agent.namespace);
    // The command's standard input stays open for as long as we are here. That is how it learns that we are gone.
    let how = AttachParams::default()
        .container(install::AGENT)
        .stdin(true)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER);
    let attached = api.exec(&agent.pod, command, &how).await;
    let mut attached = attached.map_err(|error| cluster.not_run(&error, agent))?;
    let _open = attached.stdin();
    let status = attached.take_status();
    let told = relay(attached.stdout(), out, attached.stderr(), io::stderr());
    match told.await {
        Ok(()) => {}
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit::OK),
        Err(error) => {
            return Err(Failure::failed(format!(
                "writing what {} says: {error}",
                agent.pod
            )));
        }
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    code(status, agent)
}

/// Passes on what the command says, to its end. That nobody hears what it says on standard error says nothing of it.
async fn relay(
    stdout: Option<impl AsyncRead + Unpin>,
    mut out: impl Write,
    stderr: Option<impl AsyncRead + Unpin>,
    mut err: impl Write,
) -> io::Result<()> {
    let heard = pump(stdout, |piece| out.write_all(piece).and_then(|()| out.flush()));
    let remarked = pump(stderr, |piece| {
        let _unheard = err.write_all(piece).and_then(|()| err.flush());
        Ok(())
    });
    tokio::try_join!(heard, remarked).map(drop)
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut piece = vec![0; BUFFER];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        to(&piece[..length])?;
    }
}

/// The exit code in the last word of the API server. Its `reason` and causes are those of `k8s.io/client-go`'s
/// `remotecommand` (v4 of the protocol).
fn code(status: Option<Status>, agent: &Agent) -> Result<u8, Failure> {
    let Some(status) = status else {
        return Err(Failure::failed(format!(
            "the connection to pod {agent} broke off before the command ended: see whether it still runs, and ask again"
        )));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(exit::OK);
    }
    let causes = status
        .details
        .and_then(|details| details.causes)
        .unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_ref()?.parse().ok());
    code.ok_or_else(|| {
        let why = status.message.unwrap_or_default();
        Failure::failed(format!("pod {agent} could not run meshctl: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> Result<u8, String> {
        let agent = Agent {
            namespace: "mesh-system".into(),
            pod: "mesh-agent-x".into(),
        };
        let status = serde_json::from_value(status).unwrap();
        code(status, &agent).map_err(|failure| failure.to_string())
    }

    /// A reader that is gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_who_reads_the_answer_can_have_seen_enough() {
        let mut out = Vec::new();
        relay(Some(&b"answer"[..]), &mut out, Some(&b"remark"[..]), Gone)
            .await
            .unwrap();
        assert_eq!(out, b"answer");
        let enough = relay(Some(&b"answer"[..]), Gone, Some(&b"remark"[..]), io::sink()).await;
        assert_eq!(enough.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn exit_codes_come_through() {
        assert_eq!(of(json!({"status": "Success"})), Ok(0));
        let failed = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 2",
            "details": {"causes": [{"reason": "ExitCode", "message": "2"}]},
        });
        assert_eq!(of(failed), Ok(2));
    }

    #[test]
    fn what_did_not_run_or_end_is_a_failure() {
        let none =
            json!({"status": "Failure", "reason": "InternalError", "message": "no such file: meshctl"});
        assert_eq!(
            of(none).unwrap_err(),
            "pod mesh-system/mesh-agent-x could not run meshctl: no such file: meshctl"
        );
        assert!(of(Value::Null).unwrap_err().contains("broke off"));
    }
}
