//! The Xen toolstack through the xl program.
