//! The demo's look at the domain's console, through the operators' socket as `xm console` has it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use peer::control::Request;

use super::{DemoError, Interrupt, PATIENCE, daemons::Daemon, io_error};

/// A console, read line by line.
pub(super) struct Console {
    stream: UnixStream,
    interrupt: Interrupt,
    bytes: Vec<u8>,
    /// The numbers of all ticks seen, with those from before this console was opened.
    ticks: Vec<u64>,
}

/// What comes sooner than this is scrollback.
const SCROLLBACK: Duration = Duration::from_millis(50);

/// What the guest says in a tick.
#[derive(Clone, Copy, Debug, Default)]
struct Tick {
    number: u64,
    verified: u64,
    cycles: u64,
    bad: u64,
}

impl Tick {
    /// `tick N dirtied D verified V cycles C bad B`
    fn parse(line: &str) -> Option<Tick> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|other| *other == word)?;
            words.get(at + 1)?.parse().ok()
        };
        Some(Tick {
            number: after("tick")?,
            verified: after("verified")?,
            cycles: after("cycles")?,
            bad: after("bad")?,
        })
    }
}

impl Console {
    pub(super) fn open(daemon: &Daemon, domain: &str, interrupt: &Interrupt) -> Result<Console, DemoError> {
        let opening = || io_error(format!("opening the console of {domain}"));
        let mut stream = UnixStream::connect(&daemon.control).map_err(opening())?;
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .map_err(opening())?;
        let request = Request::Console {
            domain: domain.to_owned(),
        };
        let value = sxp::to_sexp(&request).map_err(|error| DemoError::Failed(error.to_string()))?;
        stream.write_all(&peer::request::line(&value)).map_err(opening())?;
        let mut console = Console {
            stream,
            interrupt: interrupt.clone(),
            bytes: Vec::new(),
            ticks: Vec::new(),
        };
        let reply = console.line()?;
        if reply.starts_with("(console ") {
            Ok(console)
        } else {
            Err(DemoError::Failed(format!("no console: {reply}")))
        }
    }

    fn line(&mut self) -> Result<String, DemoError> {
        let begun = Instant::now();
        loop {
            self.interrupt.check()?;
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(DemoError::Failed("the console has ended".to_owned())),
                Ok(count) => self.bytes.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    if begun.elapsed() > PATIENCE {
                        return Err(DemoError::Failed("the console is silent".to_owned()));
                    }
                }
                Err(error) => return Err(io_error("reading the console")(error)),
            }
        }
    }

    /// The next line, and the tick in it.
    fn next(&mut self) -> Result<(String, Option<Tick>), DemoError> {
        let line = self.line()?;
        let tick = Tick::parse(&line);
        self.ticks.extend(tick.map(|tick| tick.number));
        Ok((line, tick))
    }

    /// Shows lines until so many ticks have been seen.
    pub(super) fn show_ticks(&mut self, host: &str, count: usize) -> Result<(), DemoError> {
        while self.ticks.len() < count {
            let (line, _) = self.next()?;
            println!("{host} | {line}");
        }
        Ok(())
    }

    /// Waits until the guest has checked its whole memory so many times more; shows its lines. Pages checked since, and those that were bad ever.
    pub(super) fn verify(&mut self, host: &str, cycles: u64) -> Result<(u64, u64), DemoError> {
        // What the guest said before is in the scrollback, which comes all at once: of that, the last lines are enough.
        let begun = Instant::now();
        let mut past = Vec::new();
        let mut first: Option<Tick> = None;
        loop {
            let (line, tick) = self.next()?;
            if begun.elapsed() < SCROLLBACK {
                past.push(line);
                continue;
            }
            for line in past.iter().rev().take(2).rev() {
                println!("{host} | {line}");
            }
            past.clear();
            println!("{host} | {line}");
            let Some(tick) = tick else { continue };
            let start = *first.get_or_insert(tick);
            if tick.cycles >= start.cycles + cycles {
                return Ok((tick.verified - start.verified, tick.bad));
            }
        }
    }

    /// Whether the ticks, with those that moved along in the scrollback, have no gap.
    pub(super) fn check_ticks(&self) -> Result<(), DemoError> {
        let gap = self.ticks.windows(2).find(|pair| pair[1] != pair[0] + 1);
        match gap {
            None => Ok(()),
            Some(pair) => Err(DemoError::Failed(format!("tick {} follows tick {}", pair[1], pair[0]))),
        }
    }
}
