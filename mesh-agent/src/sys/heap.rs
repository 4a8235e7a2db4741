//! The heap. Only the GNU C library can be asked about it.

/// Gives back to the kernel whatever the allocator holds and nobody uses. Takes some milliseconds for each hundred
/// megabytes of heap, during which other threads may wait for memory. Elsewhere than with the GNU C library it
/// does nothing.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only looks at the allocator's own free lists, under the allocator's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Bytes in use, with what the allocator itself needs for them.
#[cfg(target_env = "gnu")]
#[must_use]
pub fn in_use() -> usize {
    // SAFETY: it takes nothing and returns numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
