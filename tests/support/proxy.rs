//! A proxy between two daemons that knows the stages of a relocation: at a chosen one it holds everything back, until the test says how it goes on.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Host, PATIENCE, own_address};

/// How often a thread that reads looks whether the connection is held or cut.
const LOOK: Duration = Duration::from_millis(10);

/// Where a relocation stands, in the order in which the stages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The destination has `(hello ...)`, and has not been heard.
    HelloSent,
    /// The source has the answer to it.
    HelloAnswered,
    /// The destination has `(relocate ...)`, and has not been heard.
    RelocateSent,
    /// The source has `(ready ...)`.
    Ready,
    /// The destination has half of the first frame with pages.
    FramesEarly,
    /// The destination has everything up to the frame that ends the records: the domain is suspended at the source.
    FramesLate,
    /// The destination has the last frame, and has not been heard.
    Finished,
    /// The destination has said `(loaded)`, which did not reach the source.
    Loaded,
    /// The source has said `(commit)`, which did not reach the destination.
    CommitHeld,
    /// The destination has `(commit)`, and has not been heard.
    CommitDelivered,
    /// The destination has said `(running ...)`, which did not reach the source.
    RunningHeld,
}

impl Stage {
    /// Whether the destination owns the domain by then.
    pub fn is_committed(self) -> bool {
        self >= Stage::CommitDelivered
    }
}

/// How a held connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In order.
    Fin,
    /// With a reset.
    Rst,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Flows,
    Held,
    Cut(Cut),
}

/// One connection through the proxy.
#[derive(Default)]
struct Connection {
    gate: Mutex<Gate>,
    changed: Condvar,
    /// Directions that have ended.
    ended: AtomicU32,
}

struct Shared {
    /// The stage that is still to come; the first connection that gets there is held.
    stage: Mutex<Option<Stage>>,
    held: Mutex<Option<Arc<Connection>>>,
    reached: Condvar,
    closed: AtomicBool,
    over: AtomicBool,
}

/// The proxy. When it goes, all that goes through it is cut.
pub struct Proxy {
    /// Its loopback address; the port is the destination's.
    pub address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy to a host, that holds the first relocation at a stage. Other connections, and later ones, go through.
    pub fn to(host: &Host, stage: Option<Stage>) -> Proxy {
        let address = own_address();
        let listener = TcpListener::bind((address.as_str(), host.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            stage: Mutex::new(stage),
            held: Mutex::default(),
            reached: Condvar::new(),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let (for_thread, target) = (Arc::clone(&shared), format!("{}:{}", host.address, host.port));
        thread::spawn(move || serve(&listener, &target, &for_thread));
        Proxy { address, shared }
    }

    /// Waits until the stage has been reached. `dead` tells why it never will be.
    pub fn reached(&self, mut dead: impl FnMut() -> Option<String>) {
        let begun = Instant::now();
        let mut held = self.shared.held.lock().unwrap();
        while held.is_none() {
            held = self.shared.reached.wait_timeout(held, LOOK * 5).unwrap().0;
            let late = (begun.elapsed() > PATIENCE).then(|| "nothing came".to_owned());
            if held.is_none()
                && let Some(why) = dead().or(late)
            {
                drop(held);
                panic!("the stage is not reached: {why}");
            }
        }
    }

    /// Lets what was held go on.
    pub fn go_on(&self) {
        self.turn(Gate::Flows);
    }

    /// Ends the held connection, in both directions; what was held back is lost.
    pub fn cut(&self, cut: Cut) {
        self.turn(Gate::Cut(cut));
    }

    /// Whether new connections are closed at once.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::SeqCst);
    }

    fn turn(&self, to: Gate) {
        let held = self.shared.held.lock().unwrap();
        let held = held.as_ref().expect("no connection is held");
        *held.gate.lock().unwrap() = to;
        held.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn serve(listener: &TcpListener, target: &str, shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        let Ok((source, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        if shared.closed.load(Ordering::SeqCst) {
            continue;
        }
        // A daemon that is down looks so through the proxy, too.
        let Ok(destination) = TcpStream::connect(target) else {
            continue;
        };
        source.set_nonblocking(false).unwrap();
        for stream in [&source, &destination] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LOOK)).unwrap();
        }
        let connection = Arc::<Connection>::default();
        for towards in [Towards::Destination, Towards::Source] {
            let (from, to) = match towards {
                Towards::Destination => (&source, &destination),
                Towards::Source => (&destination, &source),
            };
            let pump = Pump {
                from: from.try_clone().unwrap(),
                to: to.try_clone().unwrap(),
                connection: Arc::clone(&connection),
                shared: Arc::clone(shared),
                towards,
                deaf: false,
            };
            thread::spawn(move || pump.run());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Destination,
    Source,
}

/// One direction of one connection.
struct Pump {
    from: TcpStream,
    to: TcpStream,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    towards: Towards,
    /// Whether the other end does not listen any more.
    deaf: bool,
}

/// What a piece of the conversation means.
struct Piece {
    bytes: Vec<u8>,
    /// The stage that is reached once so many bytes have gone out.
    stage: Option<(usize, Stage)>,
}

impl Pump {
    fn run(mut self) {
        // The end of a stream is held back like everything else.
        let ended = self.pump().and_then(|()| self.pass().map(drop));
        self.connection.ended.fetch_add(1, Ordering::SeqCst);
        // Who does not listen any more may have said why: that goes through first.
        while self.deaf && self.connection.ended.load(Ordering::SeqCst) < 2 && self.pass().is_ok() {
            thread::sleep(LOOK);
        }
        if ended.is_err() && *self.connection.gate.lock().unwrap() == Gate::Cut(Cut::Rst) {
            // The last of the clones to be closed sends the reset: no shutdown, which would say goodbye first.
            for stream in [&self.from, &self.to] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            return;
        }
        let _ = self.to.shutdown(Shutdown::Write);
        if ended.is_err() {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
        }
    }

    /// Waits until the connection is not held; an error if it was cut.
    fn pass(&self) -> io::Result<MutexGuard<'_, Gate>> {
        let mut gate = self.connection.gate.lock().unwrap();
        loop {
            if matches!(*gate, Gate::Cut(_)) || self.shared.over.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if *gate == Gate::Flows {
                return Ok(gate);
            }
            gate = self.connection.changed.wait_timeout(gate, LOOK * 5).unwrap().0;
        }
    }

    /// Sends a piece. Under the gate's lock, so that nothing slips through in either direction once the stage is reached.
    fn forward(&self, piece: &Piece) -> io::Result<()> {
        let mut gate = self.pass()?;
        let mut to = &self.to;
        let Some((at, _)) = piece
            .stage
            .filter(|_| self.shared.stage.lock().unwrap().take().is_some())
        else {
            return to.write_all(&piece.bytes);
        };
        to.write_all(&piece.bytes[..at])?;
        *gate = Gate::Held;
        drop(gate);
        *self.shared.held.lock().unwrap() = Some(Arc::clone(&self.connection));
        self.shared.reached.notify_all();
        let _gate = self.pass()?;
        to.write_all(&piece.bytes[at..])
    }

    /// Until the sender ends; an error if the connection was cut or broke.
    fn pump(&mut self) -> io::Result<()> {
        let mut frames = false;
        loop {
            let piece = if frames { self.frame()? } else { self.line()? };
            let Some(piece) = piece else { return Ok(()) };
            if self.towards == Towards::Destination {
                // Frames begin after the request for the relocation, and end with the one of kind 6.
                frames = if frames {
                    piece.bytes[0] != 6
                } else {
                    piece.bytes.starts_with(b"(relocate")
                };
            }
            self.forward(&piece).inspect_err(|_| self.deaf = true)?;
        }
    }

    fn line(&mut self) -> io::Result<Option<Piece>> {
        let mut bytes = Vec::new();
        while bytes.last() != Some(&b'\n') {
            if !self.fill(&mut bytes, 1)? {
                return Ok(None);
            }
        }
        let all = bytes.len();
        let stages: &[(&[u8], usize, Stage)] = match self.towards {
            Towards::Destination => &[
                (b"(hello", all, Stage::HelloSent),
                (b"(relocate", all, Stage::RelocateSent),
                (b"(commit", 0, Stage::CommitHeld),
                (b"(commit", all, Stage::CommitDelivered),
            ],
            Towards::Source => &[
                (b"(ok (hello", all, Stage::HelloAnswered),
                (b"(ready", all, Stage::Ready),
                (b"(loaded", 0, Stage::Loaded),
                (b"(running", 0, Stage::RunningHeld),
            ],
        };
        let wanted = *self.shared.stage.lock().unwrap();
        let stage = stages
            .iter()
            .find(|(word, _, stage)| bytes.starts_with(word) && Some(*stage) == wanted)
            .map(|(_, at, stage)| (*at, *stage));
        Ok(Some(Piece { bytes, stage }))
    }

    fn frame(&mut self) -> io::Result<Option<Piece>> {
        let mut bytes = Vec::new();
        if !self.fill(&mut bytes, 24)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        if !self.fill(&mut bytes, length)? {
            return Ok(None);
        }
        let wanted = *self.shared.stage.lock().unwrap();
        let here = match bytes[0] {
            3 => (bytes.len() / 2, Stage::FramesEarly),
            4 => (0, Stage::FramesLate),
            6 => (bytes.len(), Stage::Finished),
            _ => return Ok(Some(Piece { bytes, stage: None })),
        };
        let stage = (wanted == Some(here.1)).then_some(here);
        Ok(Some(Piece { bytes, stage }))
    }

    /// Reads so many more bytes; false at the end of the stream.
    fn fill(&mut self, bytes: &mut Vec<u8>, count: usize) -> io::Result<bool> {
        let (mut at, end) = (bytes.len(), bytes.len() + count);
        bytes.resize(end, 0);
        while at < end {
            let cut = matches!(*self.connection.gate.lock().unwrap(), Gate::Cut(_));
            if cut || self.shared.over.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match self.from.read(&mut bytes[at..]) {
                Ok(0) => return Ok(false),
                Ok(count) => at += count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
