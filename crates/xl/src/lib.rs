//! The toolstack of real Xen guests, PV, PVH and HVM: it drives Xen's own program `xl`, and links nothing of Xen.
//!
//! | module | |
//! |---|---|
//! | `program` | runs `xl`: bounded in time, its words kept, its process group ended with it |
//! | `pipe` | pipes whose other end may hang |
//! | `info`, `list`, `json` | what `xl` prints, understood; pure |
//! | `names` | what a domain is called while it relocates |
//! | `host` | the commands on domains, each checked by what `xl list` says afterwards |
//! | `arrive`, `depart`, `live`, `decide` | images and `xl restore`, `xl save`, `xl migrate`; and what comes after them |
//! | `attach` | when the network of a domain runs that has just been unpaused |
//! | `transport`, `running` | the processes that outlive a daemon, and how the next one finds them |
//! | `xenstore` | Xen's store, for what `xl` does not tell: `kernel`, `started`, and of guests that are to suspend themselves |
//! | `console` | `xl console` on a terminal of its own |
//!
//! # What holds a relocation's identity
//!
//! Nothing of relocd's own: the domain's name does, in Xen's own store. A domain that departs is called `migrating-RELOCATION-NAME` from before the first
//! byte until the decision, one that arrives `arriving-RELOCATION-NAME` from its making until it runs. So whatever dies, the domain itself tells to which
//! relocation it belongs, and nobody takes it for another one. `xm list` shows the names without the identity.
//!
//! # Which xl
//!
//! `xl` is looked for along `PATH`, as an operator's shell does it. Debian's packages put a script there that picks the program
//! that fits the hypervisor: that program is then used itself.
//! What is said here of `xl`'s behaviour was seen with Xen 4.17 and 4.20, or read in their source.

mod arrive;
mod attach;
mod console;
mod decide;
mod depart;
mod dom0;
mod host;
mod info;
mod json;
mod kernel;
mod list;
mod live;
mod names;
mod pipe;
mod program;
mod running;
mod started;
mod toolstack;
mod transport;
mod words;
mod xenstore;

pub use crate::{
    names::MAX_NAME,
    toolstack::Xl,
    transport::{TRANSPORT_COMMAND, transport_main},
};
