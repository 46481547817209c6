//! The console's past output, and those who watch.

use std::{collections::VecDeque, io::Write, os::unix::net::UnixStream};

/// Bytes of past output that are kept at most, whatever is asked for: all of it moves with the domain while it stands still.
const MAX_SCROLLBACK: usize = 4 << 20;

/// The last output, up to a limit.
#[derive(Clone, Debug)]
pub(crate) struct Scrollback {
    bytes: VecDeque<u8>,
    limit: usize,
    printed: u64,
}

impl Scrollback {
    pub(crate) fn new(limit: usize) -> Scrollback {
        Scrollback {
            bytes: VecDeque::new(),
            limit: limit.min(MAX_SCROLLBACK),
            printed: 0,
        }
    }

    pub(crate) fn push(&mut self, output: &[u8]) {
        self.printed = self.printed.wrapping_add(output.len() as u64);
        self.bytes.extend(output);
        let over = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..over);
    }

    /// What came along from another host.
    pub(crate) fn restore(&mut self, printed: u64, output: &[u8]) {
        self.bytes.clear();
        self.push(output);
        self.printed = printed;
    }

    pub(crate) fn printed(&self) -> u64 {
        self.printed
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }
}

/// Those who watch the console. One who does not keep up is dropped: a guest never waits for a reader.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    streams: Vec<(UnixStream, Vec<u8>)>,
}

/// Bytes that a watcher may be behind: the past output, and as much again.
const BEHIND: usize = 2 * MAX_SCROLLBACK;

impl Watchers {
    /// Adds a watcher, who first gets the past output.
    pub(crate) fn add(&mut self, stream: UnixStream, past: Vec<u8>) {
        if stream.set_nonblocking(true).is_ok() {
            self.streams.push((stream, past));
            self.print(&[]);
        }
    }

    pub(crate) fn print(&mut self, output: &[u8]) {
        self.streams.retain_mut(|(stream, behind)| {
            behind.extend_from_slice(output);
            while !behind.is_empty() {
                match stream.write(behind) {
                    Ok(0) => return false,
                    Ok(count) => {
                        behind.drain(..count);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return behind.len() <= BEHIND,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
            true
        });
    }

    /// Whether somebody has not got everything yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.streams.iter().any(|(_, behind)| !behind.is_empty())
    }
}
