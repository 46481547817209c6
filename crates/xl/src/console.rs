//! A domain's console.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::Stdio,
    thread,
};

use nix::{
    pty::openpty,
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr},
};
use toolstack::{DomainId, Result, ToolstackError};

use crate::program::{Program, Running};

/// Attaches to a console: `xl console` on a terminal of its own, because it takes input from nothing else.
///
/// xl keeps no past output: it begins with what the guest says next.
pub(crate) fn open(program: &Program, id: DomainId) -> Result<UnixStream> {
    let io = |error: io::Error| ToolstackError::io("a terminal for the console")(error);
    let pty = openpty(None, None).map_err(|error| io(error.into()))?;
    let mut settings = tcgetattr(&pty.slave).map_err(|error| io(error.into()))?;
    // Nothing is echoed or translated before xl gets to see to that itself.
    cfmakeraw(&mut settings);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).map_err(|error| io(error.into()))?;
    let output = pty.slave.try_clone().map_err(io)?;
    let running = program.start(
        &["console", &id.to_string()],
        Stdio::from(pty.slave),
        Stdio::from(output),
    )?;
    let (theirs, ours) = UnixStream::pair().map_err(io)?;
    let terminal = File::from(pty.master);
    let (from_guest, to_peer) = (terminal.try_clone().map_err(io)?, ours.try_clone().map_err(io)?);
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(io)
    };
    spawn("console-out", Box::new(move || output_of(from_guest, &to_peer)))?;
    spawn("console-in", Box::new(move || input_to(terminal, &ours, running)))?;
    Ok(theirs)
}

/// Until xl ends, which closes the terminal's other side.
fn output_of(mut terminal: File, mut peer: &UnixStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        if peer.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = peer.shutdown(Shutdown::Both);
}

/// Until the operator goes, and xl with him; or until xl has gone, which closes the connection.
fn input_to(mut terminal: File, mut peer: &UnixStream, running: Running) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = peer.read(&mut buffer) {
        if terminal.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    drop(running);
    let _ = peer.shutdown(Shutdown::Both);
}
