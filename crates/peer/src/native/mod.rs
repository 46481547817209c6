//! relocd's own protocol: messages as S-expressions, the image as frames.

pub mod frame;
pub mod message;
mod pages;
mod wire;

pub use wire::{FrameSink, FrameSource, Link};
