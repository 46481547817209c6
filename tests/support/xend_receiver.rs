//! A xend that a domain is relocated to, as its sources say and as two of them were observed: what it answers, what it reads, when it runs the domain. It
//! restores by reading every byte of the image by its own rules, and knows nothing of relocd.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::own_address;

/// What it does with a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Runs it, and says so.
    Takes,
    /// `(err ...)` to the request.
    RefusesRequest,
    /// `(err ...)` once it has the configuration, and a reset.
    RefusesConfig,
    /// Closes after so many bytes of the image.
    ClosesAt(u64),
    /// `(err ...)` after so many bytes of the image, and closes.
    FailsAt(u64),
    /// Has restored it, and then it fails: `(err ...)`.
    FailsLate,
    /// Runs it and never says so.
    Silent,
    /// Runs it, and its connection is reset.
    Resets,
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Came {
    pub config: Vec<u8>,
    pub image: Vec<u8>,
    /// It runs there.
    pub runs: bool,
    /// Why the restore failed.
    pub failed: Option<String>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    came: Vec<Came>,
}

/// A host with an xend.
pub struct XendHost {
    pub address: String,
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl XendHost {
    /// Major and minor version of its Xen. Ends with the test's process.
    pub fn start(version: (u32, u32), manner: Manner) -> XendHost {
        let address = own_address();
        let listener = TcpListener::bind((address.as_str(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let host = XendHost {
            address,
            port,
            seen: Arc::clone(&seen),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, stream) = (Arc::clone(&seen), stream.unwrap());
                seen.lock().unwrap().connections += 1;
                // Errors are the other end's.
                thread::spawn(move || Session { version, manner, seen }.serve(stream));
            }
        });
        host
    }

    /// Connections up to now.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Domains of which at least the configuration has come, and with which it is done.
    pub fn came(&self) -> Vec<Came> {
        self.seen.lock().unwrap().came.clone()
    }
}

struct Session {
    version: (u32, u32),
    manner: Manner,
    seen: Arc<Mutex<Seen>>,
}

fn err(class: &str, value: &str) -> Vec<u8> {
    format!("(err (type \"<class 'xen.xend.XendError.{class}'>\") (value {value}))\n").into_bytes()
}

impl Session {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut block = vec![0; 16384];
        loop {
            let count = stream.read(&mut block)?;
            if count == 0 {
                return Ok(());
            }
            // Whatever comes in the same read goes through the same parser: nothing of it is left for what reads an image.
            let text = String::from_utf8_lossy(&block[..count]).into_owned();
            for line in text.lines() {
                let words = line.trim_start_matches('(');
                match words.split([' ', ')']).next().unwrap() {
                    "" => {}
                    "receive" if self.manner == Manner::RefusesRequest => {
                        stream.write_all(&err("XendError", "'Invalid operation: receive'"))?;
                    }
                    "receive" => return self.receive(stream),
                    other => stream.write_all(&err("XendError", &format!("'Invalid operation: {other}'")))?,
                }
            }
        }
    }

    fn receive(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.write_all(b"(ready receive)\n")?;
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        if &head[..16] != b"LinuxGuestRecord" {
            stream.write_all(&err("XendError", "'not a valid guest state file'"))?;
            return Ok(());
        }
        let length = i32::from_be_bytes(head[16..].try_into().unwrap());
        let mut came = Came {
            config: vec![0; usize::try_from(length).unwrap()],
            ..Came::default()
        };
        stream.read_exact(&mut came.config)?;
        if self.manner == Manner::RefusesConfig {
            stream.write_all(&err("VmError", "\"VM name 'web' already exists as domain 18\""))?;
            // The line gets out before the reset does.
            thread::sleep(Duration::from_millis(100));
            self.seen.lock().unwrap().came.push(came);
            return reset(&stream);
        }
        let limit = match self.manner {
            Manner::ClosesAt(limit) | Manner::FailsAt(limit) => limit,
            _ => u64::MAX,
        };
        let restored = Restore {
            read: (&stream).take(limit),
            taken: &mut came.image,
            version: self.version,
        }
        .run();
        if let Err(error) = restored {
            came.failed = Some(error.to_string());
            self.seen.lock().unwrap().came.push(came);
            if matches!(self.manner, Manner::ClosesAt(_)) {
                return Ok(());
            }
            stream.write_all(&err(
                "XendError",
                "'/usr/lib/xen/bin/xc_restore 4 13 1 2 0 0 0 0 1 failed'",
            ))?;
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink())?;
            return Ok(());
        }
        let rest = if self.version < (4, 0) {
            // Blocks until the source has closed its side.
            stream.read(&mut [0])?
        } else {
            0
        };
        assert_eq!(rest, 0, "something stands behind the image");
        came.runs = self.manner != Manner::FailsLate;
        self.seen.lock().unwrap().came.push(came);
        match self.manner {
            Manner::Takes => {
                thread::sleep(Duration::from_millis(50));
                stream.write_all(b"(ok)\n")?;
            }
            Manner::FailsLate => stream.write_all(&err("XendError", "'Restore failed'"))?,
            Manner::Resets => return reset(&stream),
            _ => thread::sleep(Duration::from_secs(600)),
        }
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut stream, &mut io::sink())?;
        Ok(())
    }
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// xc_restore, for a 64-bit PV guest and a 64-bit toolstack.
struct Restore<'a, R> {
    read: R,
    taken: &'a mut Vec<u8>,
    version: (u32, u32),
}

impl<R: Read> Restore<'_, R> {
    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut at = 0;
        while at < count {
            match self.read.read(&mut bytes[at..])? {
                0 => {
                    self.taken.extend(&bytes[..at]);
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                more => at += more,
            }
        }
        self.taken.extend(&bytes);
        Ok(bytes)
    }

    fn int(&mut self) -> io::Result<i32> {
        Ok(i32::from_le_bytes(self.take(4)?.try_into().unwrap()))
    }

    fn long(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().unwrap()))
    }

    fn run(&mut self) -> io::Result<()> {
        let wrong = |what: String| Err(io::Error::other(what));
        let version = self.version;
        let pages = self.long()?;
        if pages == 0 || pages > 16 << 20 {
            return wrong(format!("p2m_size {pages:#x}"));
        }
        let mut frames = (pages * 8).div_ceil(4096) as usize;
        let (mut extended, mut xsave) = (false, 0);
        if self.long()? == u64::MAX {
            if version < (3, 2) {
                return wrong("extended info".to_owned());
            }
            let mut left = self.int()? as usize;
            while left > 0 {
                let name = self.take(4)?;
                let length = self.int()? as usize;
                let body = self.take(length)?;
                left -= 8 + length;
                match &name[..] {
                    b"vcpu" if length == 5168 => {}
                    b"extv" => extended = true,
                    b"xcnt" if version >= (4, 1) => xsave = u32::from_le_bytes(body[..4].try_into().unwrap()) as usize,
                    _ => return wrong(format!("block {name:?} of {length} bytes")),
                }
            }
        } else {
            frames -= 1;
        }
        self.take(frames * 8)?;
        let (mut vcpus, mut last_checkpoint) = (1_u32, false);
        let mut have = vec![false; pages as usize];
        loop {
            match self.int()? {
                0 => break,
                count @ 1..=1024 => {
                    let entries: Vec<u64> = (0..count).map(|_| self.long()).collect::<io::Result<_>>()?;
                    let mut data = 0;
                    for entry in entries {
                        let (kind, pfn) = (entry >> 28, entry & 0x0fff_ffff);
                        let fits = matches!(kind, 0..=4 | 9..=12)
                            || (kind == 13 && version >= (4, 3))
                            || (kind == 14 && version >= (4, 2));
                        if !fits || pfn >= pages {
                            return wrong(format!("entry {entry:#x}"));
                        }
                        have[pfn as usize] = true;
                        data += usize::from(kind < 13);
                    }
                    self.take(data * 4096)?;
                }
                -2 if version >= (3, 1) => {
                    let last = self.int()?;
                    vcpus = 0;
                    for _ in 0..=last / 64 {
                        vcpus += self.long()?.count_ones();
                    }
                }
                -7 if version >= (4, 0) => _ = self.take(20)?,
                -9 if version >= (4, 1) => last_checkpoint = true,
                chunk => return wrong(format!("chunk {chunk}")),
            }
        }
        if version >= (4, 4) && !last_checkpoint {
            return wrong("no last checkpoint: another one is waited for".to_owned());
        }
        for _ in 0..self.int()? {
            let pfn = self.long()? as usize;
            if have[pfn] {
                return wrong(format!("page {pfn:#x} has come, and is not mapped"));
            }
        }
        for _ in 0..vcpus {
            self.take(5168)?;
            if extended {
                let context = self.take(128)?;
                let length = u32::from_le_bytes(context[4..8].try_into().unwrap());
                if length > if version >= (4, 2) { 128 } else { 32 } {
                    return wrong(format!("extended vcpu0 info of {length} bytes"));
                }
            }
            if xsave > 0 {
                let (_features, length) = (self.long()?, self.long()?);
                if length as usize != xsave - 16 {
                    return wrong(format!("{length} bytes of xsave data"));
                }
                self.take(xsave - 16)?;
            }
        }
        self.take(4096)?;
        Ok(())
    }
}
