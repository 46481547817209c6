//! The reference: as many bytes over one loopback connection, straight out of memory and straight into fresh memory.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

const BUFFER: usize = 1 << 20;

pub struct Plain {
    source: Vec<u8>,
}

impl Plain {
    pub fn new(length: usize) -> Plain {
        let mut state = 1_u64;
        let words = (0..length / 8).flat_map(|_| {
            state = state
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            (state ^ state >> 29).to_le_bytes()
        });
        let mut source = Vec::with_capacity(length);
        source.extend(words);
        Plain { source }
    }

    /// How long a copy takes.
    pub fn copy(&self) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut out = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut from, _) = listener.accept().unwrap();
        // Untouched: its pages come into being as the bytes do, like those of a domain that arrives.
        let mut target = vec![0; self.source.len()];
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for part in self.source.chunks(BUFFER) {
                    out.write_all(part).unwrap();
                }
            });
            for part in target.chunks_mut(BUFFER) {
                from.read_exact(part).unwrap();
            }
        });
        let took = begun.elapsed();
        assert!(target == self.source, "the copy differs");
        took
    }
}
