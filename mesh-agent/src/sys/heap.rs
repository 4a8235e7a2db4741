//! The heap. Only the GNU C library can be asked about it.

/// Gives back to the kernel whatever the allocator holds and nobody uses. Takes some milliseconds for each hundred
/// megabytes of heap, during which other threads may wait for memory. Elsewhere than with the GNU C library it
/// does nothing.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only looks at the allocator's own free lists, under the allocator's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Keeps large pieces of memory apart, so that each goes back to the kernel when it is freed, whichever thread had
/// it: left alone, the allocator raises its idea of large to the largest piece it has seen.
pub fn keep_large_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator's, which is its default.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
}

/// Bytes in use, with what the allocator itself needs for them.
#[cfg(target_env = "gnu")]
#[must_use]
pub fn in_use() -> usize {
    // SAFETY: it takes nothing and returns numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
