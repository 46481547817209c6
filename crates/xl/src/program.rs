//! Runs `xl`, and other tools of Xen.
//!
//! Every run has a process group of its own. xl starts helpers and a transport; one that outlives its xl keeps a guest's memory mapped, so that the
//! domain can't go. Whoever is given up is therefore ended with its whole group.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::{
        ffi::OsStringExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use toolstack::{Result, ToolstackError};

use crate::{
    transport::{HOLD, TRANSPORT_COMMAND, UNHEARD},
    words::{Keep, Kept, last_lines},
};

/// Time for a command that only asks or tells something.
pub(crate) const QUICK: Duration = Duration::from_secs(30);

/// Bytes that are kept of what a command prints: the list of a host's domains is far below.
const MAX_OUTPUT: usize = 16 << 20;
/// Bytes that are kept of its complaints: the last ones.
const MAX_WORDS: usize = 16 << 10;
/// How long what has been printed may take to be read, once a command has ended. A process that it left behind may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

/// Where Debian has the script that is `xl` there.
const DEBIAN_WRAPPER: &str = "/usr/lib/xen-common/bin";

impl Program {
    pub(crate) fn new(path: PathBuf) -> Program {
        Program { path }
    }

    /// The program of this name along `PATH`; on Debian the one that its wrapper picks for the hypervisor that runs: the script takes a quarter of the time of
    /// each command.
    pub(crate) fn find(name: PathBuf) -> Program {
        let part = |part| fs::read_to_string(format!("/sys/hypervisor/version/{part}"));
        let picked = || {
            let (major, minor) = (part("major").ok()?, part("minor").ok()?);
            let wrapper = fs::canonicalize(along_path(&name)?).ok()?;
            let real = PathBuf::from(format!("/usr/lib/xen-{}.{}/bin/xl", major.trim(), minor.trim()));
            (wrapper.starts_with(DEBIAN_WRAPPER) && real.is_file()).then_some(real)
        };
        Program::new(picked().unwrap_or(name))
    }

    /// Runs it to its end; what it printed.
    ///
    /// # Errors
    /// If it can't be started, fails, or takes longer than `limit`; with its own words.
    pub(crate) fn run(&self, arguments: &[&str], limit: Duration) -> Result<Vec<u8>> {
        let mut running = self.start(arguments, Stdio::null(), Stdio::piped())?;
        let output = running
            .child
            .stdout
            .take()
            .map(|pipe| Kept::collect(pipe, Keep::First(MAX_OUTPUT), |_| {}));
        running.finish(limit)?;
        Ok(output.map(|output| output.wait(LAST_WORDS)).unwrap_or_default())
    }

    /// Starts it. Its complaints go to the log, and into the error if it fails.
    pub(crate) fn start(&self, arguments: &[&str], stdin: Stdio, stdout: Stdio) -> Result<Running> {
        let mut command = Command::new(&self.path);
        command.stdin(stdin).stdout(stdout).process_group(0);
        self.spawn(command, arguments)
    }

    /// Starts it in a session of its own, which `helper` makes.
    pub(crate) fn hold(&self, helper: &Path, arguments: &[&str]) -> Result<Running> {
        let mut command = self.by(helper, HOLD);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.spawn(command, arguments)
    }

    /// Starts it so that it goes on when the daemon has died, which is the reader of what it says. Its output is a pipe.
    pub(crate) fn start_unheard(&self, helper: &Path, arguments: &[&str]) -> Result<Running> {
        let mut command = self.by(helper, UNHEARD);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        self.spawn(command, arguments)
    }

    /// The helper, that becomes the program in its way.
    fn by(&self, helper: &Path, way: &str) -> Command {
        let mut command = Command::new(helper);
        command.args([TRANSPORT_COMMAND, way]).arg(&self.path);
        command
    }

    fn spawn(&self, mut command: Command, arguments: &[&str]) -> Result<Running> {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let what = format!("{} {}", name.to_string_lossy(), arguments.join(" "));
        tracing::debug!("{what}");
        command
            // Names come out of xl's lists as text, and go back as the bytes that they were.
            .args(
                arguments
                    .iter()
                    .map(|argument| OsString::from_vec(sxp::bytes_of_text(argument))),
            )
            .stderr(Stdio::piped())
            // What is read from it is words, and they are those of its source.
            .env("LC_ALL", "C");
        let mut child = command
            .spawn()
            .map_err(ToolstackError::io(format!("{}: starting it", self.path.display())))?;
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let words = child.stderr.take().map(|pipe| {
            let span = tracing::Span::current();
            Kept::collect(pipe, Keep::Last(MAX_WORDS), move |line| {
                span.in_scope(|| {
                    // libxl's and libxc's own words for what went wrong; all else is progress.
                    if ["error:", "warning:"].iter().any(|word| line.contains(word)) {
                        tracing::info!("xl: {line}");
                    } else {
                        tracing::debug!("xl: {line}");
                    }
                });
            })
        });
        Ok(Running {
            what,
            child,
            group,
            words,
            ended: None,
            cut_short: false,
        })
    }
}

/// Which file a name is, as a shell finds it.
fn along_path(name: &Path) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    // What is a path already stays one.
    env::split_paths(&directories)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// An `xl` that runs. Dropped before its end, it is ended.
pub(crate) struct Running {
    what: String,
    child: Child,
    group: Pid,
    words: Option<Kept>,
    ended: Option<ExitStatus>,
    cut_short: bool,
}

/// What libxl says where its helper was killed, and where a guest has taken note that it is to suspend itself, and not done so in time.
const CUT_SHORT: [&str; 2] = ["fatal signal", "did not suspend"];

impl Running {
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process group, which is the number of its first process.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it fails, or takes longer than `limit`: then it is ended.
    pub(crate) fn finish(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            match self.ended()? {
                Some(status) => break status,
                None if begun.elapsed() >= limit => {
                    self.end();
                    let said = self.said();
                    return Err(ToolstackError::Failed(format!(
                        "{} did not end within {} s and was killed{said}",
                        self.what,
                        limit.as_secs()
                    )));
                }
                None => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        if status.success() {
            return Ok(());
        }
        let said = self.said();
        Err(ToolstackError::Failed(format!("{} failed ({status}){said}", self.what)))
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            // One that failed may have left helpers behind. They are ended while its number can't be anybody else's.
            let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            match waitid(Id::Pid(self.group), look) {
                Ok(WaitStatus::Exited(_, 0) | WaitStatus::StillAlive) | Err(_) => {}
                Ok(_) => end_group(self.group),
            }
            let asked = self.child.try_wait();
            self.ended = asked.map_err(ToolstackError::io(format!("waiting for {}", self.what)))?;
            self.cut_short |= self.ended.is_some_and(|status| status.signal().is_some());
        }
        Ok(self.ended)
    }

    /// Whether it has ended without having undone what it had begun. Known once it has ended, and failed.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Its last complaints, to stand at the end of a sentence.
    pub(crate) fn said(&mut self) -> String {
        let words = self
            .words
            .take()
            .map(|words| words.wait(LAST_WORDS))
            .unwrap_or_default();
        let words = last_lines(&String::from_utf8_lossy(&words));
        self.cut_short |= CUT_SHORT.iter().any(|what| words.contains(what));
        if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        }
    }

    /// Ends it and everything that it has started.
    pub(crate) fn end(&mut self) {
        // As long as it has not been waited for, its number is its own.
        if self.ended.is_none() {
            end_group(self.group);
            // It may not have had the time to make a group.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
            self.cut_short = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends a process group. One that is gone already is fine.
pub(crate) fn end_group(group: Pid) {
    match killpg(group, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::error!(%group, %error, "a process group of xl can't be ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell() -> Program {
        Program::new("/bin/sh".into())
    }

    fn failure(result: Result<Vec<u8>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn output_and_words() {
        assert_eq!(shell().run(&["-c", "echo out; echo err >&2"], QUICK).unwrap(), b"out\n");
        let said = failure(shell().run(
            &["-c", "echo one >&2; echo 'xc: progress: 6%' >&2; echo two >&2; exit 3"],
            QUICK,
        ));
        assert!(said.ends_with("failed (exit status: 3): one; two"), "{said}");
    }

    #[test]
    fn one_that_hangs_goes_with_all_that_it_started() {
        let script = "sleep 600 & echo $! ; sleep 600";
        let mut running = shell().start(&["-c", script], Stdio::null(), Stdio::piped()).unwrap();
        let mut pipe = running.child().stdout.take().unwrap();
        let mut number = [0; 16];
        let count = pipe.read(&mut number).unwrap();
        let helper: i32 = String::from_utf8_lossy(&number[..count]).trim().parse().unwrap();
        let said = running.finish(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(said.contains("did not end within 0 s and was killed"), "{said}");
        // The pipe ends once nobody holds it any more: its second holder is the helper.
        assert_eq!(pipe.read(&mut number).unwrap(), 0);
        assert!(helper > 1);
    }

    #[test]
    fn one_that_fails_leaves_no_helper() {
        let mut running = shell()
            .start(&["-c", "sleep 600 & exit 1"], Stdio::null(), Stdio::piped())
            .unwrap();
        let mut pipe = running.child().stdout.take().unwrap();
        assert!(running.finish(QUICK).is_err());
        // The helper has it too.
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_is_left_behind_with_the_pipes_holds_nobody_up() {
        // The monitor that xl leaves would do so, if it did not close them.
        let output = shell().run(&["-c", "echo out; sleep 3 & exit 0"], QUICK).unwrap();
        assert_eq!(output, b"out\n");
        let said = failure(shell().run(&["-c", "echo bad >&2; sleep 3 & exit 1"], QUICK));
        assert!(said.ends_with(": bad"), "{said}");
    }

    #[test]
    fn words_are_bounded() {
        let said = failure(shell().run(
            &[
                "-c",
                "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1",
            ],
            QUICK,
        ));
        assert!(said.ends_with("line 4998; line 4999") && said.len() < 400, "{said}");
        let missing = Program::new("/nonexistent/xl".into()).run(&["list"], QUICK);
        assert!(failure(missing).starts_with("/nonexistent/xl: starting it"));
    }
}
