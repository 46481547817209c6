//! What relocd's own program is between relocd and `xl`, in processes that outlive the daemon.
//!
//! `xl migrate -s COMMAND` runs `sh -c "exec COMMAND HOST xl migrate-receive"` and talks to it through two pipes. COMMAND is this program again: it does not carry
//! the image, it only tells who it is, keeps xl's pipes open, and goes when its socket ends. relocd opens the pipes under `/proc` and reads them itself.

use std::{
    ffi::CString,
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, ExitCode},
};

use nix::unistd::{execvp, setsid};

/// The argument by which the daemon's program becomes one of these processes.
pub const TRANSPORT_COMMAND: &str = "xl-transport";

/// Run a program in a session of its own.
pub(crate) const HOLD: &str = "hold";
/// Run a program that goes on when nobody reads any more what it says.
pub(crate) const UNHEARD: &str = "unheard";
/// Be the transport.
pub(crate) const PIPE: &str = "pipe";

/// One of these processes. Arguments: `hold PROGRAM ARGUMENT...`, `unheard PROGRAM ARGUMENT...`, or `pipe SOCKET` and whatever xl adds to it.
pub fn transport_main(arguments: &[String]) -> ExitCode {
    let result = match arguments {
        [what, program, rest @ ..] if what == HOLD => hold(program, rest),
        [what, rest @ ..] if what == UNHEARD && !rest.is_empty() => unheard(rest),
        [what, socket, ..] if what == PIPE => pipe(Path::new(socket)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is a part of relocd, not for use by hand",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relocd {TRANSPORT_COMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// In a session of its own. The end of a daemon in the same session would make its process group an orphan, and the kernel lets orphans that are stopped run
/// on: this xl has to stay stopped.
fn hold(program: &str, arguments: &[String]) -> io::Result<()> {
    setsid()?;
    Err(Command::new(program).args(arguments).exec())
}

/// `xl save` says that it lets its domain run on before it does so: once the daemon that read its words has gone, SIGPIPE would end it in between.
/// (`xl migrate` ignores that signal by itself.)
///
/// Rust's runtime has it ignored, and so has what follows; `Command` would undo that.
fn unheard(command: &[String]) -> io::Result<()> {
    let command: Vec<CString> = command
        .iter()
        .map(|word| CString::new(word.as_str()))
        .collect::<Result<_, _>>()?;
    let program = command.first().ok_or(io::ErrorKind::InvalidInput)?;
    execvp(program, &command)?;
    Ok(())
}

fn pipe(socket: &Path) -> io::Result<()> {
    let mut socket = UnixStream::connect(socket)?;
    writeln!(socket, "{}", std::process::id())?;
    let mut byte = [0];
    while socket.read(&mut byte)? > 0 {}
    Ok(())
}
