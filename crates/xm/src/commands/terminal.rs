//! The operator's terminal while it is a domain's.

use std::{io, os::fd::BorrowedFd};

use nix::sys::termios::{InputFlags, LocalFlags, OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// A terminal in raw mode; as it was before, once this is dropped.
pub(crate) struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Every key goes to the domain, Ctrl-C too.
    pub(crate) fn enter(terminal: BorrowedFd<'a>) -> io::Result<RawMode<'a>> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Guests that end their lines with a line feed only would make stairs.
        raw.output_flags |= before.output_flags & (OutputFlags::OPOST | OutputFlags::ONLCR);
        debug_assert!(!raw.local_flags.contains(LocalFlags::ISIG) && !raw.input_flags.contains(InputFlags::ICRNL));
        tcsetattr(terminal, SetArg::TCSANOW, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}
