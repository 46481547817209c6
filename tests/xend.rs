//! Domains that a xend relocates to here: taken to disk whole, or refused so that they run on there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "xend/back.rs"]
mod back;
#[path = "captures/mod.rs"]
mod captures;
#[path = "xend/direct.rs"]
mod direct;
#[path = "xend/early.rs"]
mod early;
#[path = "images/mod.rs"]
mod images;
#[path = "xend/killed.rs"]
mod killed;
#[path = "xend/passage.rs"]
mod passage;
#[path = "xend/refused.rs"]
mod refused;
#[path = "xend/started.rs"]
mod started;
mod support;
#[path = "xend/taken.rs"]
mod taken;
#[path = "xend/tls.rs"]
mod tls;
#[path = "xend/world.rs"]
mod world;
#[path = "conversion/xen.rs"]
#[allow(dead_code)] // the converter is asked in conversion.rs
mod xen;
