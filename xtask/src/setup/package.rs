//! Every Debian package a task needs, and why.

use Purpose::{Compiler, Cross, Demo, Emulator, Linker, Test};

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A Rust compiler for `bpfel-unknown-none`.
    Compiler,
    /// Building bpf-linker.
    Linker,
    /// The kernel tests.
    Test,
    /// The kernel tests on another kernel.
    Emulator,
    /// The demonstration and the benchmark.
    Demo,
    /// Building for arm64.
    Cross,
}

/// A Debian package.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// As apt knows it.
    pub name: &'static str,
    /// Why it is wanted.
    pub reason: &'static str,
    purposes: &'static [Purpose],
}

/// The package that brings the compiler; where apt does not know it, rustup is the way.
pub const COMPILER: &str = "rustc-web";

/// The package whose configuration is to be there before the database is installed, see [`super::clusters`].
pub const DATABASE_COMMON: &str = "postgresql-common";

const PACKAGES: &[Package] = &[
    package(
        COMPILER,
        &[Compiler],
        "a rustc of the LLVM that bpf-linker is built with",
    ),
    package(
        "libstd-rust-web-dev-bpf",
        &[Compiler],
        "core, prebuilt for bpfel-unknown-none",
    ),
    package("rust-web-llvm", &[Compiler], "the LLVM tools of that rustc"),
    package("gcc", &[Compiler, Linker], "links build scripts and bpf-linker"),
    package("libc6-dev", &[Compiler, Linker], "what gcc links against"),
    package("llvm-22-dev", &[Linker], "the LLVM inside bpf-linker"),
    package(
        "libpolly-22-dev",
        &[Linker],
        "llvm-config lists it among the libraries of LLVM",
    ),
    package("libzstd-dev", &[Linker], "LLVM reads compressed sections"),
    package("zlib1g-dev", &[Linker], "LLVM reads compressed sections"),
    package(
        "iproute2",
        &[Test, Demo],
        "pods are network namespaces joined by veth pairs",
    ),
    package("procps", &[Test, Demo], "looks at processes and sets sysctls"),
    package("python3", &[Test], "small peers in another language than ours"),
    package(
        "curl",
        &[Test, Demo],
        "an HTTP client nobody suspects of favouring us",
    ),
    package(
        "nginx-light",
        &[Test, Demo],
        "an HTTP server as found in real clusters",
    ),
    package(
        "qemu-system-x86",
        &[Emulator],
        "boots another kernel than the running one",
    ),
    package(
        "redis-server",
        &[Test, Demo],
        "a request-response server as found in real clusters",
    ),
    package(
        "redis-tools",
        &[Test, Demo],
        "redis-cli, and redis-benchmark for latency",
    ),
    package("bind9-dnsutils", &[Test, Demo], "dig, for names over UDP"),
    package("dnsmasq-base", &[Test], "a name server, without its service"),
    package("wrk", &[Test, Demo], "HTTP load"),
    package("iperf3", &[Test, Demo], "throughput"),
    package("iputils-ping", &[Test], "echo requests"),
    package("nodejs", &[Test], "an HTTP server and client of its own make"),
    package(
        "golang-go",
        &[Test],
        "a runtime that waits by edge-triggered epoll",
    ),
    package("haproxy", &[Test], "a proxy that splices"),
    package("openssl", &[Test], "certificates, and a TLS server and client"),
    package(
        DATABASE_COMMON,
        &[Test],
        "says whether PostgreSQL makes a cluster when installed",
    ),
    package(
        "postgresql",
        &[Test],
        "a database with long connections, and pgbench",
    ),
    package(
        "nftables",
        &[Demo],
        "services as kube-proxy makes them, to be compared with",
    ),
    package(
        "gcc-aarch64-linux-gnu",
        &[Cross],
        "links for arm64, on this machine",
    ),
    package(
        "libc6-dev-arm64-cross",
        &[Cross],
        "what it links against; the machine stays of one architecture",
    ),
];

const fn package(name: &'static str, purposes: &'static [Purpose], reason: &'static str) -> Package {
    Package {
        name,
        reason,
        purposes,
    }
}

/// The packages for any of these purposes.
pub fn packages(purposes: &[Purpose]) -> impl Iterator<Item = &'static Package> {
    PACKAGES
        .iter()
        .filter(|package| package.purposes.iter().any(|purpose| purposes.contains(purpose)))
}

/// Their names.
pub fn names(purposes: &[Purpose]) -> Vec<&'static str> {
    packages(purposes).map(|package| package.name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_package_is_listed_twice() {
        let distinct: BTreeSet<_> = PACKAGES.iter().map(|package| package.name).collect();
        assert_eq!(distinct.len(), PACKAGES.len());
    }

    #[test]
    fn a_package_for_two_purposes_is_named_once() {
        let names = names(&[Test, Demo]);
        assert_eq!(names.iter().filter(|&&name| name == "curl").count(), 1);
        assert!(!names.contains(&COMPILER));
    }
}
