//! The programs the kernel has loaded, whoever loaded them.

use std::time::SystemTime;

use aya::programs::{ProgramError, loaded_programs};

/// A loaded program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadedProgram {
    /// Its id.
    pub id: u32,
    /// Its name, cut to 15 characters by the kernel.
    pub name: String,
    /// Its type, as bpftool calls it.
    pub kind: String,
    /// Hash of its instructions.
    pub tag: u64,
    /// When it was loaded, where the kernel says.
    pub loaded_at: Option<SystemTime>,
    /// Instructions the verifier looked at, where the kernel says.
    pub verified_instructions: Option<u32>,
    /// Size of the machine code in bytes.
    pub jitted_bytes: u32,
}

/// Every loaded program.
///
/// # Errors
/// The kernel's: EPERM without `CAP_SYS_ADMIN`.
pub fn programs() -> Result<Vec<LoadedProgram>, ProgramError> {
    loaded_programs()
        .map(|info| {
            let info = info?;
            Ok(LoadedProgram {
                id: info.id(),
                name: info.name_as_str().unwrap_or("-").to_owned(),
                kind: kind(&format!("{:?}", info.program_type())),
                tag: info.tag(),
                loaded_at: info.loaded_at(),
                verified_instructions: info.verified_instruction_count(),
                jitted_bytes: info.size_jitted(),
            })
        })
        .collect()
}

fn kind(constant: &str) -> String {
    constant.trim_start_matches("BPF_PROG_TYPE_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_are_called_as_bpftool_calls_them() {
        assert_eq!(super::kind("BPF_PROG_TYPE_CGROUP_SOCK_ADDR"), "cgroup_sock_addr");
    }
}
