//! Fault points: where a test lets the daemon die, fail or wait. Without the feature `fault-points` they are nothing.
//!
//! `RELOCD_FAULT='POINT@NTH=ACTION,...'`: when the point is reached for the `NTH` time the action is carried out; with `NTH+` each time from then on.
//! `@NTH` may be left out: the first time. A point is a few words with dots in between, and `*` stands for any one word. Actions:
//!
//! - `kill`: SIGKILL to itself;
//! - `error=ENOSPC`, `error=EIO`, `error=EROFS`: the write fails; only where the journal writes;
//! - `delay=MS`: whoever got here waits.
//!
//! Points at each end, `out` (source) and `in` (destination):
//!
//! - `journal.END.STATE.create`, `.write`, `.rename`, `.sync`, `.synced`: before the new file is made, before it is written, before it takes the old
//!   one's place, before the directory is synced, and when all is done;
//! - `END.MESSAGE.send`, `.sent`, `.received`: before and after a message goes out, and when one has come;
//! - `END.frame`: before each write or read of the image;
//! - `in.receive.received`, `.ready`, `in.envelope.received`, `in.admitted.journalled`, `in.receiver.start`, `.started`, `in.go.send`, `.sent`,
//!   `in.concluded.before`: while a domain arrives from a xend; `in.early.begin`, `.built`, `.failed`, `.told`, `.end`, `.ended`: while it is built meanwhile, can't
//!   be, or is thrown away; `in.passed.starting`, `.runs`: while one runs that came without a copy; `spool.restoring`, `.arrived`, `.starting`, `.runs`: while it is started; and in the process that receives it `receiver.begun.say`, `receiver.go.received`,
//!   `receiver.finish.before`, `.after`, `receiver.adopt.image`, `.record`, `receiver.whole.after`;
//! - `END.DECISION.before`, `.after`: around the toolstack's `resume`, `destroy`, `unpause` and `discard`.

#[cfg(feature = "fault-points")]
pub use armed::{check, fallible, point, reached, reads};
#[cfg(not(feature = "fault-points"))]
pub use nothing::{check, fallible, point, reached, reads};

#[cfg(not(feature = "fault-points"))]
mod nothing {
    use std::{io, net::TcpStream};

    /// Whether what is asked for can be understood.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub fn check() -> Result<(), String> {
        Ok(())
    }

    /// A point in a blocking call.
    #[inline(always)]
    pub fn point(_words: &[&str]) {}

    /// A point in a blocking call that may fail here.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub fn fallible(_words: &[&str]) -> io::Result<()> {
        Ok(())
    }

    /// A point on the control path.
    #[inline(always)]
    pub async fn reached(_words: &[&str]) {}

    /// The image's reader, with a point before each read.
    #[inline(always)]
    pub fn reads(stream: &TcpStream) -> &TcpStream {
        stream
    }
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::{
        env,
        io::{self, Read},
        net::TcpStream,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        thread,
        time::Duration,
    };

    use nix::{
        errno::Errno,
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    const VARIABLE: &str = "RELOCD_FAULT";

    /// What happens at a point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Error(Errno),
        Delay(Duration),
    }

    /// One fault that is asked for.
    #[derive(Debug)]
    struct Fault {
        point: Vec<String>,
        nth: u32,
        onwards: bool,
        action: Action,
        seen: AtomicU32,
    }

    impl Fault {
        fn parse(text: &str) -> Result<Fault, String> {
            let wrong = |what: &str| format!("{VARIABLE}: '{text}': {what}");
            let (place, action) = text.split_once('=').ok_or_else(|| wrong("no ="))?;
            let (point, nth) = place.split_once('@').unwrap_or((place, "1"));
            let (nth, onwards) = nth.strip_suffix('+').map_or((nth, false), |nth| (nth, true));
            let action = match action.split_once('=') {
                None if action == "kill" => Action::Kill,
                Some(("error", "ENOSPC")) => Action::Error(Errno::ENOSPC),
                Some(("error", "EIO")) => Action::Error(Errno::EIO),
                Some(("error", "EROFS")) => Action::Error(Errno::EROFS),
                Some(("delay", time)) => Action::Delay(Duration::from_millis(
                    time.parse().map_err(|_| wrong("the delay is no number"))?,
                )),
                _ => {
                    return Err(wrong(
                        "the action is none of kill, error=ENOSPC, error=EIO, error=EROFS, delay=MS",
                    ));
                }
            };
            Ok(Fault {
                point: point.split('.').map(str::to_owned).collect(),
                nth: nth.parse().map_err(|_| wrong("the count is no number"))?,
                onwards,
                action,
                seen: AtomicU32::new(0),
            })
        }

        fn hit(&self, words: &[&str]) -> bool {
            let same = |(pattern, word): (&String, &&str)| pattern == "*" || pattern == word;
            if self.point.len() != words.len() || !self.point.iter().zip(words).all(same) {
                return false;
            }
            let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
            seen == self.nth || (self.onwards && seen > self.nth)
        }
    }

    fn parse(text: &str) -> Result<Vec<Fault>, String> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(Fault::parse)
            .collect()
    }

    fn faults() -> &'static Result<Vec<Fault>, String> {
        static FAULTS: OnceLock<Result<Vec<Fault>, String>> = OnceLock::new();
        FAULTS.get_or_init(|| parse(&env::var(VARIABLE).unwrap_or_default()))
    }

    /// Whether what is asked for can be understood.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check() -> Result<(), String> {
        faults().as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What is to happen at a point; who is to die dies here.
    fn action(words: &[&str]) -> Option<Action> {
        let hits = faults().iter().flatten().filter(|fault| fault.hit(words));
        let action = hits.map(|fault| fault.action).last()?;
        tracing::warn!(?action, "fault point {}", words.join("."));
        if action == Action::Kill {
            let _ = kill(Pid::this(), Signal::SIGKILL);
            loop {
                thread::park();
            }
        }
        Some(action)
    }

    /// A point in a blocking call.
    pub fn point(words: &[&str]) {
        let _ = fallible(words);
    }

    /// A point in a blocking call that may fail here.
    ///
    /// # Errors
    /// The one that is asked for.
    pub fn fallible(words: &[&str]) -> io::Result<()> {
        match action(words) {
            Some(Action::Error(errno)) => return Err(errno.into()),
            Some(Action::Delay(time)) => thread::sleep(time),
            Some(Action::Kill) | None => {}
        }
        Ok(())
    }

    /// A point on the control path.
    pub async fn reached(words: &[&str]) {
        if let Some(Action::Delay(time)) = action(words) {
            tokio::time::sleep(time).await;
        }
    }

    /// The image's reader, with a point before each read.
    #[derive(Debug)]
    pub struct Reads<'a>(&'a TcpStream);

    impl Read for Reads<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            point(&["in", "frame"]);
            self.0.read(buffer)
        }
    }

    /// The image's reader, with a point before each read.
    pub fn reads(stream: &TcpStream) -> Reads<'_> {
        Reads(stream)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_strikes_at_its_count_only() {
            let faults = parse("journal.in.*.sync@2=error=EIO,out.frame@3+=delay=5,in.commit.received=kill").unwrap();
            let hits = |at: usize, words: &[&str]| (0..4).map(|_| faults[at].hit(words)).collect::<Vec<_>>();
            assert_eq!(
                hits(0, &["journal", "in", "loaded", "sync"]),
                [false, true, false, false]
            );
            assert_eq!(hits(1, &["out", "frame"]), [false, false, true, true]);
            assert_eq!(hits(2, &["in", "commit", "received"]), [true, false, false, false]);
            assert!(!faults[2].hit(&["in", "commit"]));
        }

        #[test]
        fn what_can_not_be_understood_is_refused() {
            for text in ["x", "x=die", "x@y=kill", "x=error=EWHAT", "x=delay=soon"] {
                assert!(parse(text).is_err(), "{text}");
            }
            assert!(parse("").unwrap().is_empty());
        }
    }
}
