//! Acceleration as a whole: loads its programs, has them probed, and lets sockets be enrolled once that has
//! passed. Whatever goes wrong here, everything else works.

use std::{io, path::Path};

use mesh_common::config::flag;
use tokio::task::{JoinError, JoinHandle};

use super::{engine::Engine, note};
use crate::{
    datapath::{
        Ebpf, accel,
        pins::Pins,
        probe::{self, Report},
        tables::TableError,
    },
    sys::heap,
};

/// Acceleration while it is probed.
pub struct Acceleration {
    probing: Option<JoinHandle<Report>>,
}

impl Acceleration {
    /// Loads the programs, and begins to probe them in the background. Sockets that a previous agent enrolled
    /// go on as they are: the kernel is the same as long as the tables are.
    #[must_use]
    pub fn start(ebpf: &mut Ebpf) -> Self {
        let kernel = kernel();
        let probing = match accel::load(ebpf) {
            Ok(()) => tokio::task::spawn_blocking(move || {
                let probed = probe::run(kernel.clone());
                // It read the kernel's types, which take more than all the agent holds otherwise.
                heap::trim();
                probed.unwrap_or_else(|error| Report::impossible(kernel, &error.to_string()))
            }),
            Err(error) => {
                let report = Report::impossible(kernel, &error.to_string());
                tokio::spawn(std::future::ready(report))
            }
        };
        Self {
            probing: Some(probing),
        }
    }

    /// Comes with what the probe found, once; then never again.
    pub async fn probed(&mut self) -> Report {
        let Some(probing) = &mut self.probing else {
            return std::future::pending().await;
        };
        let report = probing.await;
        self.probing = None;
        report.unwrap_or_else(|error: JoinError| Report::impossible(kernel(), &error.to_string()))
    }
}

/// Lets those sockets be enrolled for which the probe has passed, and no others.
///
/// # Errors
/// Where the tables can't be written, or the programs can't be attached to the sockets.
pub fn apply(report: &Report, ebpf: &Ebpf, pins: &Pins, engine: &mut Engine) -> anyhow::Result<()> {
    let mut allowed = [
        (flag::ACCEL_APPLICATIONS, report.applications.is_none()),
        (flag::ACCEL_OWN, report.own.is_none()),
    ];
    let wanted = allowed.iter().any(|(_, allowed)| *allowed);
    let attached = if wanted {
        accel::attach(ebpf, pins, report.stream_verdict)
    } else {
        Ok(())
    };
    if attached.is_err() {
        // What a previous agent allowed must not go on with programs that nobody has proved.
        for (_, allowed) in &mut allowed {
            *allowed = false;
        }
    }
    let written = allowed.map(|(flag, allowed)| engine.set_flag(flag, allowed));
    attached?;
    Ok(written.into_iter().collect::<Result<_, _>>()?)
}

/// Switches the redirect off or on again, for every socket at once.
///
/// # Errors
/// Where the tables can't be written.
pub fn switch(engine: &mut Engine, off: bool) -> Result<(), TableError> {
    engine.set_flag(flag::ACCEL_OFF, off)
}

/// File name of the report within the runtime directory.
const FILE: &str = "acceleration.json";

/// Writes the report where `meshctl` finds it, with or without an agent.
///
/// # Errors
/// Where the directory can't be written.
pub fn store(report: &Report, run_dir: &Path) -> io::Result<()> {
    note::store(run_dir, FILE, report)
}

/// Reads the report an agent left; `None` where there is none.
///
/// # Errors
/// Where the file is there and can't be read or understood.
pub fn load(run_dir: &Path) -> io::Result<Option<Report>> {
    note::load(run_dir, FILE)
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
