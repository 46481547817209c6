//! A xend that relocates a domain away, as its sources say and as two of them were observed: who waits for what, what it reads and when, when it gives
//! its domain up and when it resumes it. It knows nothing of relocd.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Which xend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.0.2 to 3.0.4: no time limits, no resume.
    V3_0,
    /// Resumes its domain, and swallows the error.
    V3_1,
    /// 3.2: resumes, and says so.
    V3_2,
    /// 3.3, 3.4: time limits of 30 s.
    V3_3,
    /// Reads the destination's reason after a failure.
    V4_0,
    /// 4.1 to 4.4: closes before it destroys a live domain.
    V4_1,
}

/// What the sender does instead of what a sound one does, after so many bytes of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// xc_save fails: xend closes, and resumes its domain.
    Fails(usize),
    /// The host goes: a reset.
    Dies(usize),
    /// Nothing more comes, for as long as the other end lets it.
    Sleeps(usize),
}

/// Where the domain is, as far as the sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// It runs on at the source.
    Runs,
    /// The source has destroyed it.
    Destroyed,
    /// It stands still at the source for ever: 3.0.x can't resume what it has suspended.
    Stuck,
}

/// How a relocation ended, for the sender.
#[derive(Clone, Debug)]
pub struct Ended {
    pub domain: Domain,
    /// What `xm migrate` prints; empty if it is content.
    pub says: String,
    /// What was read where a sender reads once and does not look.
    pub ready: Vec<u8>,
}

/// A sender.
#[derive(Clone, Debug)]
pub struct Xend {
    pub version: Version,
    pub live: bool,
    /// Bytes of the image in one write.
    pub piece: usize,
    /// Between two writes of the image.
    pub pause: Duration,
    /// Between the answer and the image: xc_save is started, the guest suspended.
    pub before_image: Duration,
    pub trouble: Option<Trouble>,
    /// After so many bytes of the image it waits until the gate is open.
    pub gate: Option<(usize, Gate)>,
    /// The request: `receive`, or `sslreceive`.
    pub request: &'static [u8],
}

/// What a sender waits for in the middle of its image.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Xend {
    pub fn new(version: Version) -> Xend {
        Xend {
            version,
            live: true,
            piece: 64 << 10,
            pause: Duration::ZERO,
            before_image: Duration::ZERO,
            trouble: None,
            gate: None,
            request: b"receive\n",
        }
    }

    /// `xm migrate`: relocates a domain of this configuration and image.
    pub fn migrate(&self, to: SocketAddr, config: &[u8], image: &[u8]) -> Ended {
        let unmoved = |error: &io::Error| Ended {
            domain: Domain::Runs,
            says: format!("Error: can't connect: {error}"),
            ready: Vec::new(),
        };
        let mut stream = match TcpStream::connect(to) {
            Ok(stream) => stream,
            Err(error) => return unmoved(&error),
        };
        let limit = (self.version >= Version::V3_3).then_some(Duration::from_secs(30));
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        let mut ready = vec![0; 80];
        // One read; what it brings is not looked at, nor whether it brings anything.
        let asked = stream.write_all(self.request).and_then(|()| stream.read(&mut ready));
        match asked {
            Ok(count) => ready.truncate(count),
            Err(error) => return unmoved(&error),
        }
        stream.set_read_timeout(None).unwrap();
        stream.set_write_timeout(None).unwrap();
        let mut suspended = false;
        let saved = self.save(&mut stream, config, image, &mut suspended);
        match saved {
            Ok(()) => {
                self.give_up_domain(&stream);
                Ended {
                    domain: Domain::Destroyed,
                    says: String::new(),
                    ready,
                }
            }
            Err(error) => self.resume(&mut stream, to, &error, suspended, ready),
        }
    }

    /// Each of the envelope's parts is one write.
    fn save(&self, stream: &mut TcpStream, config: &[u8], image: &[u8], suspended: &mut bool) -> io::Result<()> {
        stream.write_all(b"LinuxGuestRecord")?;
        stream.write_all(&(config.len() as i32).to_be_bytes())?;
        stream.write_all(config)?;
        thread::sleep(self.before_image);
        *suspended = !self.live;
        let mut at = 0;
        while at < image.len() {
            // Live, the guest stands still for the last round only.
            *suspended |= at > image.len() / 8 * 7;
            let mut end = image.len().min(at + self.piece);
            match &self.gate {
                Some((limit, gate)) if *limit == at => gate.wait(),
                Some((limit, _)) if (at..end).contains(limit) => end = *limit,
                _ => {}
            }
            if let Some(trouble) = self.trouble {
                let (Trouble::Fails(limit) | Trouble::Dies(limit) | Trouble::Sleeps(limit)) = trouble;
                end = end.min(limit);
                if end <= at {
                    return self.get_into(trouble, stream);
                }
            }
            stream.write_all(&image[at..end])?;
            at = end;
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        match self.trouble {
            Some(trouble) => self.get_into(trouble, stream),
            None => Ok(()),
        }
    }

    fn get_into(&self, trouble: Trouble, stream: &mut TcpStream) -> io::Result<()> {
        match trouble {
            Trouble::Fails(_) => {}
            Trouble::Dies(_) => {
                let socket = socket2::SockRef::from(&*stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            Trouble::Sleeps(_) => {
                // Awake again, it finds that its connection has gone.
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let mut byte = [0];
                while let Ok(1) = stream.peek(&mut byte) {
                    thread::sleep(Duration::from_millis(20));
                    if let Ok(Some(error)) = stream.take_error() {
                        return Err(error);
                    }
                    stream.write_all(b"\0\0\0\0")?;
                }
            }
        }
        Err(io::Error::other("xc_save 24 3 0 0 0 failed"))
    }

    /// After the last byte: no acknowledgement is waited for. The order of the two only matters to who watches.
    fn give_up_domain(&self, stream: &TcpStream) {
        let devices = Duration::from_millis(20);
        if self.version >= Version::V4_1 && self.live {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        thread::sleep(devices);
        if self.version >= Version::V4_0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn resume(
        &self,
        stream: &mut TcpStream,
        to: SocketAddr,
        error: &io::Error,
        suspended: bool,
        ready: Vec<u8>,
    ) -> Ended {
        let mut says = match self.version {
            Version::V3_1 => String::new(),
            _ => format!("Error: {error}"),
        };
        if self.version >= Version::V4_0 {
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let mut reply = vec![0; 1024];
            let count = stream.read(&mut reply).unwrap_or(0);
            if let Some(text) = reason(&reply[..count]) {
                says = format!("Error: {text} (from {})", to.ip());
            }
        }
        let stuck = self.version == Version::V3_0 && suspended;
        Ended {
            domain: if stuck { Domain::Stuck } else { Domain::Runs },
            says,
            ready,
        }
    }
}

/// What `^\(err\s\(type\s(.+)\)\s\(value\s'(.+)'\)\)` finds as its second group; `.` matches no newline, and takes as much as it can.
pub fn reason(reply: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(reply);
    let line = text.lines().next()?;
    let rest = line.strip_prefix("(err (type ")?;
    let rest = &rest[..rest.rfind("'))")?];
    let (class, value) = rest.rsplit_once(") (value '")?;
    (!class.is_empty() && !value.is_empty()).then(|| value.to_owned())
}
