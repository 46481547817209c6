//! Software machines that really execute, and the toolstack that runs them.
//!
//! Each domain is a process of its own, the machine process: it stands where the hypervisor stands on a Xen host, so a domain outlives the daemon that
//! started it, and a restarted daemon finds it again. The daemon maps the same memory, so images go between guest memory and wire without a detour.
//!
//! | module | where it runs | what |
//! |---|---|---|
//! | `cpu`, `decode`, `arithmetic`, `bus` | machine process | RV64IMA, machine mode; RAM, console, timer, power |
//! | `machine` | machine process | the virtual processor's thread, its phases, and the socket that it obeys |
//! | `state` | both | the records of everything that is not memory |
//! | `memory` | both | guest RAM and its page flags, shared between the two |
//! | `guest`, `toolstack` | daemon | the pre-copy engine's guest; create, depart, arrive |

mod arithmetic;
mod boot;
mod bus;
mod console;
mod cpu;
mod decode;
mod guest;
mod host;
mod machine;
mod memory;
mod protocol;
mod state;
mod toolstack;

pub use bus::{Bus, Halt, RAM_BASE};
pub use cpu::{Cpu, Stop};
pub use machine::machine_main;
pub use memory::{GuestMemory, MemoryError};
pub use state::{StateError, VcpuState};
pub use toolstack::Embedded;

/// The argument by which the daemon's program becomes a machine process.
pub const MACHINE_COMMAND: &str = "embedded-machine";
