//! What `xl` and other tools print, kept within bounds while it runs.

use std::{
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Of what xl says, the last lines that tell something, in one.
pub(crate) fn last_lines(words: &str) -> String {
    const LINES: usize = 8;
    let told: Vec<&str> = words
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_progress(line))
        .collect();
    let last = told.get(told.len().saturating_sub(LINES)..).unwrap_or_default();
    let text = last.join("; ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `xc: progress: Frames: 2048/32768    6%`
fn is_progress(line: &str) -> bool {
    line.starts_with("xc: progress:")
}

/// Which part is kept of what is more than fits.
#[derive(Clone, Copy)]
pub(crate) enum Keep {
    First(usize),
    Last(usize),
}

/// What a process prints, read as it comes.
pub(crate) struct Kept {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Kept {
    /// Reads a pipe to its end on a thread of its own; each line is told to `line` as well.
    pub(crate) fn collect(pipe: impl Read + Send + 'static, keep: Keep, line: impl Fn(&str) + Send + 'static) -> Kept {
        let shared = Arc::new((Mutex::new(Collected::default()), Condvar::new()));
        let kept = Kept {
            shared: Arc::clone(&shared),
        };
        let read = move || {
            let _ = read_all(pipe, keep, &line, &shared.0);
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.1.notify_all();
        };
        if thread::Builder::new().name("xl-words".to_owned()).spawn(read).is_err() {
            tracing::error!("no thread for what xl says");
        }
        kept
    }

    /// What has come, at the latest after `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Vec<u8> {
        let collected = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut collected, _) = self
            .shared
            .1
            .wait_timeout_while(collected, patience, |collected| !collected.ended)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut collected.bytes)
    }
}

fn read_all(mut pipe: impl Read, keep: Keep, line: &impl Fn(&str), into: &Mutex<Collected>) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut unfinished = Vec::new();
    loop {
        let count = match pipe.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let new = buffer.get(..count).unwrap_or_default();
        for byte in new {
            if matches!(byte, b'\n' | b'\r') || unfinished.len() >= 1024 {
                let text = String::from_utf8_lossy(&unfinished);
                if !text.trim().is_empty() && !is_progress(&text) {
                    line(text.trim());
                }
                unfinished.clear();
            }
            if !matches!(byte, b'\n' | b'\r') {
                unfinished.push(*byte);
            }
        }
        let mut collected = into.lock().unwrap_or_else(PoisonError::into_inner);
        match keep {
            Keep::First(most) => {
                let room = most.saturating_sub(collected.bytes.len());
                collected.bytes.extend(new.iter().take(room));
            }
            Keep::Last(most) => {
                collected.bytes.extend(new);
                let over = collected.bytes.len().saturating_sub(most);
                collected.bytes.drain(..over);
            }
        }
    }
}
