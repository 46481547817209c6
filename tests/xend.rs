//! Domains that a xend relocates to here: taken to disk whole, or refused so that they run on there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "xend/back.rs"]
mod back;
#[path = "conversion/captures.rs"]
mod captures;
#[path = "images/mod.rs"]
mod images;
#[path = "xend/killed.rs"]
mod killed;
#[path = "xend/refused.rs"]
mod refused;
mod support;
#[path = "xend/taken.rs"]
mod taken;
#[path = "xend/tls.rs"]
mod tls;
#[path = "xend/world.rs"]
mod world;
