//! An xend-style relocation daemon for Xen.
