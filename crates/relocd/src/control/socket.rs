//! The socket itself: who owns it, and who may speak.

use std::{
    fmt, fs, io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use peer::control::Failure;
use tokio::net::{UnixListener, UnixStream};

use crate::failure;

/// How long a daemon's sockets may outlive it.
const LINGERING: Duration = Duration::from_secs(2);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon answers on it.
    #[error("control socket {}: another relocd answers there; stop it first, or give this one its own --control and --state-dir", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has its name.
    #[error("control socket {}: there is something else with that name; remove it, or give another --control", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("control socket {}: {what}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// Makes the socket, in place of one that a dead daemon left.
///
/// # Errors
/// [`ControlError`].
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    let io_error = |what| {
        let path = path.to_owned();
        move |source| ControlError::Io { path, what, source }
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket(path.to_owned())),
        Ok(_) if is_answered(path) => return Err(ControlError::InUse(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(io_error("removing the old one"))?,
        Err(_) => {}
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(io_error("making its directory"))?;
    }
    let listener = UnixListener::bind(path).map_err(io_error("binding it"))?;
    // Who comes before this line is stopped by the check of credentials.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io_error("restricting it"))?;
    Ok(listener)
}

/// Whether a daemon is there. One that has just been killed may seem to be: a process that it was about to start has its sockets until it becomes a program.
fn is_answered(path: &Path) -> bool {
    let begun = Instant::now();
    while StdUnixStream::connect(path).is_ok() {
        if begun.elapsed() > LINGERING {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Who gives an order, as the system knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    uid: u32,
    pid: Option<i32>,
    /// Who logged in, if that is known: the person behind `sudo`.
    login: Option<u32>,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        if let Some(login) = self.login {
            write!(f, ", logged in as uid {login}")?;
        }
        self.pid.map_or(Ok(()), |pid| write!(f, ", process {pid}"))
    }
}

/// The user that a process's session was opened for. All bits set: none.
fn login(process: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// Lets root in, and the daemon's own user.
///
/// # Errors
/// [`Failure`] for anyone else.
pub fn check_credentials(stream: &UnixStream) -> Result<Operator, Failure> {
    let refused = |who: String| failure::simple("permission", format!("{who} may not give orders to relocd"));
    let credentials = stream
        .peer_cred()
        .map_err(|error| refused(format!("somebody unknown ({error})")))?;
    let own = nix::unistd::geteuid().as_raw();
    match credentials.uid() {
        uid if uid == 0 || uid == own => Ok(Operator {
            uid,
            pid: credentials.pid(),
            login: credentials.pid().and_then(login),
        }),
        uid => Err(refused(format!("user {uid}"))),
    }
}
