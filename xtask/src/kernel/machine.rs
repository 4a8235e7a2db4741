//! The emulated machine.

use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Result, bail};

use crate::search;
use crate::stream::stream;

const EMULATOR: &str = "qemu-system-x86_64";

/// When a machine that still runs is given up, in seconds: several times what it should need.
const LIMIT: u32 = 1200;

/// Emulated by software alone (KVM is rarely there where CI runs). A panic ends the machine. Mitigations cost a lot
/// here and protect nobody.
const HARDWARE: [&str; 14] = [
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi,tb-size=512",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "2G",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
];
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=6 panic=-1 oops=panic mitigations=off tsc=reliable nowatchdog \
     audit=0 apparmor=0 rdinit=/init";

/// The emulator can be run.
pub fn check() -> Result<()> {
    for program in [EMULATOR, "timeout"] {
        if !search::has_program(program) {
            bail!("there is no {program} here");
        }
    }
    Ok(())
}

/// Runs the machine to its end. What the guest writes to its virtio port is shown and handed to `line`; what
/// the kernel says goes to the file `console`.
pub fn run(
    kernel: &Path,
    initramfs: &Path,
    console: &Path,
    line: &mut dyn FnMut(&str),
) -> Result<ExitStatus> {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", &LIMIT.to_string(), EMULATOR])
        .args(HARDWARE);
    command.arg("-kernel").arg(kernel);
    command.arg("-initrd").arg(initramfs);
    command.args(["-append", KERNEL_ARGUMENTS]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    // A chardev on standard input would count as closed when there is none.
    command.args([
        "-chardev",
        "file,id=told,path=/dev/stdout",
        "-device",
        "virtio-serial",
    ]);
    command.args(["-device", "virtserialport,chardev=told"]);
    command.args([
        "-fsdev",
        "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device",
        "virtio-9p-pci,fsdev=host,mount_tag=host",
    ]);
    stream(&mut command, line)
}
