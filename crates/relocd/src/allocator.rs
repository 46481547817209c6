//! How the C library's allocator uses memory: a small named place for the one unsafe call that it takes.
#![allow(unsafe_code)]

/// Lets all threads allocate from one arena. To be called before there are any.
///
/// The C library gives each new thread an arena of its own, up to eight for each processor, and what one arena has freed no other one uses: a daemon whose
/// threads come and go with its relocations grows for hundreds of them. Threads that share an arena wait for each other, but the bulk path allocates its few
/// buffers once.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number inside the allocator, under its own lock. If it does not take it, nothing is lost but memory.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}
