//! `meshctl`, also usable as the plugin `kubectl-mesh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_agent::cli::main()
}
