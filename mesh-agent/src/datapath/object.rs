//! The kernel programs, embedded at build time.

/// Bytes aligned as an ELF reader wants them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

#[cfg(mesh_object)]
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("MESH_EBPF_OBJECT_PATH")));

#[cfg(not(mesh_object))]
static OBJECT: &Aligned<[u8]> = &Aligned([]);

/// The object file with the kernel programs.
pub fn bytes() -> &'static [u8] {
    embedded::<{ cfg!(mesh_object) }>()
}

/// Generic so that a missing object is found when code is generated and not before: `cargo check`, clippy
/// and rustdoc do without it.
fn embedded<const PRESENT: bool>() -> &'static [u8] {
    const {
        assert!(
            PRESENT,
            "the kernel programs are not built: run `cargo xtask build-ebpf` first"
        );
    };
    &OBJECT.0
}
