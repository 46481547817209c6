//! What the guest says of itself.

use std::{
    io::Read,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::{Host, PATIENCE, ticks};

impl Host {
    /// Reads the console until `done` has seen enough of it.
    // Every way out of the loop waits for it.
    #[allow(clippy::zombie_processes)]
    pub fn console(&self, done: impl Fn(&str) -> bool) -> String {
        let mut child = self
            .xm_command(&["console", "web"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (begun, mut seen) = (Instant::now(), Vec::new());
        loop {
            let text = String::from_utf8_lossy(&seen).into_owned();
            let (enough, late) = (done(&text), begun.elapsed() > PATIENCE);
            if enough || late {
                child.kill().unwrap();
                child.wait().unwrap();
                assert!(enough, "the console only said: {text}\n{}", self.log());
                return text;
            }
            if let Ok(bytes) = receive.recv_timeout(Duration::from_millis(100)) {
                seen.extend(bytes);
            }
        }
    }

    /// Lets the guest check all of its memory twice more: no page may be bad, no tick missing.
    pub fn verify(&self) {
        let cycles = |text: &str| {
            let line = text
                .lines()
                .rev()
                .find(|line| line.starts_with("tick ") && line.contains(" bad "));
            line.and_then(|line| line.split(" cycles ").nth(1)?.split(' ').next()?.parse::<u64>().ok())
        };
        let before = cycles(&self.console(|text| cycles(text).is_some())).unwrap();
        let text = self.console(|text| cycles(text) >= Some(before + 3));
        assert!(!text.contains("BAD"), "{text}");
        let ticks = ticks(&text);
        let gap = ticks.windows(2).find(|pair| pair[1] != pair[0] + 1);
        assert!(gap.is_none(), "{gap:?} in {text}");
    }
}
