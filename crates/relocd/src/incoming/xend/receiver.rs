//! The process that receives an image from a xend.
//!
//! A process of its own, since the sender takes no acknowledgement: once its kernel has taken the last byte it destroys its domain, and what is then in
//! the buffers of the connection is all that there is of it. A daemon that ends, is restarted or killed in this moment would take it along. This
//! process has the connection and its place in the spool, and needs nobody: it reads, converts, writes, syncs, gives the entry its name, and ends. A
//! daemon that starts meanwhile finds it by its lock.
//!
//! The connection is reset when this process ends in whatever way but one: after the copy is on disk. So until then a sender that still has something to
//! write resumes its domain.

use std::{
    io::{self, BufReader, Write},
    net::{Shutdown, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::{Duration, Instant},
};

use domain::DomainConfig;
use image::{
    ImageError,
    legacy::{GuestWidth, LegacyFacts, LegacyGuest, LegacyOptions},
};
use peer::xend::{self, Custody, Failure, ImageBytes, Keeper, Verdict};
use toolstack::spool::{Incoming, Purpose, Spool, SpoolWriter};

use super::{
    hearing::{Daemon, listen, progress},
    orders::{self, Job, Order, Said},
    place,
};
use crate::{fault, logging};

/// How often a silent connection is looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long to wait for bytes that may be the only copy: longer than Linux goes on sending them again (tcp_retries2, about 15 minutes).
const LAST_RESORT: Duration = Duration::from_secs(16 * 60);

/// How long the image of a domain may take that buffers hold: a 22 MiB one through 100 kbit/s.
const SMALL: Duration = Duration::from_secs(3600);

/// How long a sender may take to close behind a whole image: before 4.1 it waits for its devices to go, 100 s at most.
const CLOSE: Duration = Duration::from_secs(120);

/// The process: the connection is its standard input, the line to the daemon its standard output.
pub fn main() -> ExitCode {
    let started = (|| {
        let connection = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let daemon = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut orders = BufReader::new(daemon.try_clone()?);
        let job: Job = orders::hear(&mut orders)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok::<_, io::Error>((connection, daemon, orders, job))
    })();
    let (connection, daemon, orders, job) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("relocd: the receiver was not started by a daemon: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::start_receiver(job.log_file.clone());
    let span = tracing::info_span!("relocation", id = %job.id, direction = "in", peer = %job.peer, domain = job.domain);
    span.in_scope(|| {
        let mut daemon = Daemon(daemon);
        let said = receive(connection, &mut daemon, orders, &job);
        match &said {
            Said::Kept | Said::Passed | Said::Begun | Said::Progress(_) => {}
            Said::Refused(why) => tracing::warn!("refused: {why}"),
            Said::Discarded(why) => tracing::warn!("given up: {why}"),
            Said::Broken(why) | Said::Doubtful(why) => tracing::error!("{why}"),
        }
        // The place goes first: who hears of the end finds none.
        place::leave(&job.spool, job.id);
        daemon.say(&said);
    });
    ExitCode::SUCCESS
}

fn receive(mut connection: TcpStream, daemon: &mut Daemon, mut orders: BufReader<UnixStream>, job: &Job) -> Said {
    let (spool, mut writer, config) = match begin(job) {
        Ok(begun) => begun,
        Err(why) => return refuse(&mut connection, why),
    };
    fault::point(&["receiver", "begun", "say"]);
    daemon.say(&Said::Begun);
    // Without the daemon's word nothing is taken in: if it has ended, nobody knows of this process but by its lock.
    match orders::hear(&mut orders) {
        Ok(Some(Order::Go | Order::Taken(_))) => {}
        Ok(Some(Order::Cancel(why) | Order::Abandon(why))) => {
            drop(writer);
            return refuse(&mut connection, why);
        }
        Ok(None) | Err(_) => {
            drop(writer);
            return refuse(&mut connection, "relocd has ended".to_owned());
        }
    }
    fault::point(&["receiver", "go", "received"]);
    let (cancel, abandon) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    listen(orders, &cancel, &abandon, writer.taken());
    let socket = connection.try_clone();
    // A dead network is no reason to give up: what the sender's kernel still has may come when it is back. The watch bounds the silence.
    if let Err(error) = socket2::SockRef::from(&connection).set_keepalive(false) {
        tracing::warn!(%error, "a network that fails for half a minute may end this");
    }
    let ready = connection
        .set_read_timeout(Some(TICK))
        .and_then(|()| connection.set_write_timeout(Some(CLOSE)));
    let socket = match ready.and(socket) {
        Ok(socket) => socket,
        Err(error) => {
            drop(writer);
            return refuse(&mut connection, error.to_string());
        }
    };
    let mut progress = progress(daemon);
    let idle = Duration::from_millis(job.idle_ms);
    let patience = writer.patience();
    let begun = Instant::now();
    let watch = move |keeper: &Keeper, silence| {
        progress(keeper.taken());
        if let Some(reason) = abandon.get() {
            // In this word whatever comes is refused, up to the end of the image.
            return Err((Failure::Silence, String::clone(reason)));
        }
        patience.store(keeper.custody() != Custody::Sender, Ordering::Relaxed);
        watch(keeper, silence, begun.elapsed(), idle, cancel.get())
    };
    let bytes = ImageBytes::new(fault::reads(&socket), Keeper::new(config.memory_kib), Box::new(watch));
    let bytes = bytes.with_pages(job.max_pages);
    let said = match job.passes {
        true => pass(&bytes, &mut writer, job),
        false => take_in(&bytes, spool, writer, job),
    };
    if let Said::Refused(why) = said {
        return refuse(&mut connection, why);
    }
    if matches!(said, Said::Kept | Said::Passed) {
        bytes.whole();
        fault::point(&["receiver", "whole", "after"]);
        if let Err(why) = farewell(&mut connection, &bytes) {
            return Said::Doubtful(format!(
                "{why}: make sure that the domain does not run at {} before it is started here",
                job.peer
            ));
        }
    }
    said
}

/// Whether to go on: as long as the sender owns its domain it may be refused, later only a silence counts. `since`: how long the image has been coming.
fn watch(
    keeper: &Keeper,
    silence: Duration,
    since: Duration,
    idle: Duration,
    cancel: Option<&String>,
) -> Result<(), (Failure, String)> {
    let limit = match keeper.custody() {
        Custody::Sender => {
            if let Some(reason) = cancel {
                return Err((Failure::OurSide, reason.clone()));
            }
            idle
        }
        Custody::Unclear => {
            // Nothing that has come is worth keeping: no guest can be made of it.
            if let (Some(reason), false) = (cancel, keeper.has_begun()) {
                return Err((Failure::Silence, reason.clone()));
            }
            // A sender may say so little of its domain that nothing is ever certain: its place is not its own for ever.
            if keeper.fits_into_buffers() && since > SMALL {
                let why = format!("the image of a small domain is not whole after {} s", since.as_secs());
                return Err((Failure::Silence, why));
            }
            LAST_RESORT.max(idle)
        }
        Custody::Here => CLOSE,
    };
    if silence > limit {
        let why = format!("nothing came for {} s", silence.as_secs());
        return Err((Failure::Silence, why));
    }
    Ok(())
}

/// Everything that can fail before the first byte of the image.
fn begin(job: &Job) -> Result<(Spool, SpoolWriter, DomainConfig), String> {
    let text = sxp::read_all(
        job.config.as_bytes(),
        sxp::Limits {
            max_bytes: usize::MAX,
            max_depth: 64,
            ..sxp::Limits::default()
        },
    );
    let original = match text.map(|values| values.into_iter().next()) {
        Ok(Some(value)) => value.to_sexp(),
        Ok(None) => return Err("the configuration is empty".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let (config, _) = super::admit::understand(&original)?;
    let spool = place::take(&job.spool, job.id).map_err(|error| error.to_string())?;
    let incoming = Incoming {
        id: job.id,
        config: &config,
        original: Some(&original),
        peer: &job.peer,
        purpose: if job.passes {
            Purpose::Passage
        } else {
            Purpose::SafetyCopy
        },
    };
    let writer = spool.begin(&incoming).map_err(|error| error.to_string())?;
    Ok((spool, writer, config))
}

/// The image, from its first byte until it is safe in the spool.
fn take_in<R: io::Read>(bytes: &ImageBytes<'_, R>, spool: Spool, mut writer: SpoolWriter, job: &Job) -> Said {
    let ended = match convert(bytes, &mut writer, job) {
        Ok(()) => return place::finish(&job.spool, spool, writer, &job.keep),
        Err(ended) => ended,
    };
    match ended.verdict {
        Verdict::Refuse => Said::Refused(ended.why),
        Verdict::Discard => Said::Discarded(ended.why),
        Verdict::Keep => match place::salvage(&job.spool, &spool, &job.domain, writer, bytes) {
            Ok(found) => Said::Broken(format!(
                "{}; the sender may have given up its copy by then, so all that came is kept: {found}",
                ended.why
            )),
            // No refusal: nobody knows whether the sender still has it.
            Err(error) => Said::Broken(format!(
                "{}; the sender may have given up its copy by then, and not all that came could be kept: {error}",
                ended.why
            )),
        },
    }
}

fn convert<R: io::Read>(bytes: &ImageBytes<'_, R>, writer: &mut SpoolWriter, job: &Job) -> xend::Outcome {
    // The guest's registers are not checked against its pages: they come last, when the sender has written everything, and a copy that Xen may or
    // may not take is better than none.
    let options = LegacyOptions {
        guest: LegacyGuest::Pv,
        max_pages: job.max_pages,
        check_registers: false,
    };
    xend::take_in_if(bytes, options, writer, |facts| may_run(facts, job))
}

/// The image, from its first byte until whoever takes it can have all of it. There is nothing worth keeping: whatever goes wrong, the sender is refused.
fn pass<R: io::Read>(bytes: &ImageBytes<'_, R>, writer: &mut SpoolWriter, job: &Job) -> Said {
    match convert(bytes, writer, job) {
        Ok(()) => {
            let noted = place::note_whole(&job.spool, job.id).map_err(|error| error.to_string());
            match noted.and_then(|()| writer.pass().map_err(|error| error.to_string())) {
                Ok(()) => Said::Passed,
                Err(why) => {
                    place::forget(&job.spool, job.id);
                    Said::Refused(why)
                }
            }
        }
        Err(ended) if ended.verdict == Verdict::Discard => Said::Discarded(ended.why),
        Err(ended) => Said::Refused(ended.why),
    }
}

/// Whether the guest can run where it goes: an image tells at its beginning, when it can still be refused.
fn may_run(facts: &LegacyFacts, job: &Job) -> Result<(), ImageError> {
    let what = match facts.width {
        Some(GuestWidth::Four) if !job.pv32 => {
            "a guest of 32 bits: this host's Xen can't run such (xen_caps without xen-3.0-x86_32p)"
        }
        _ if facts.xsave && !job.xsave => {
            "a guest that was started on a processor with XSAVE: this host's has none, or its Xen does not use it (hw_caps)"
        }
        _ => return Ok(()),
    };
    Err(ImageError::Toolstack(what.to_owned()))
}

/// A refusal: the reason, and at once a reset, by the end of this process.
fn refuse(connection: &mut TcpStream, why: String) -> Said {
    let _ = connection.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = connection.write_all(&xend::refusal(&why));
    let _ = socket2::SockRef::from(&*connection).set_linger(Some(Duration::ZERO));
    Said::Refused(why)
}

/// The copy is safe: waits for the sender to close, and answers as a xend would, to whoever still listens.
///
/// # Errors
/// Why the sender may have its domain still: one that can't write all that it wants resumes it.
fn farewell<R: io::Read>(connection: &mut TcpStream, bytes: &ImageBytes<'_, R>) -> Result<(), String> {
    let closed = match bytes.end_of_stream() {
        Ok(true) => Ok(()),
        Ok(false) => Err("something came behind the image, and is not read".to_owned()),
        Err(error) => Err(format!("the sender did not close behind its image: {error}")),
    };
    let said = connection.write_all(xend::OK);
    let _ = socket2::SockRef::from(&*connection).set_linger(None);
    let _ = connection.shutdown(Shutdown::Write);
    if let Err(error) = said {
        tracing::debug!(%error, "the sender has gone, as xends do");
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn asked(keeper: &Keeper, silence: u64, since: u64, cancel: bool) -> Option<Failure> {
        let reason = cancel.then(|| "stop".to_owned());
        let seconds = Duration::from_secs;
        let answer = watch(keeper, seconds(silence), seconds(since), IDLE, reason.as_ref());
        answer.err().map(|(failure, _)| failure)
    }

    #[test]
    fn a_large_domain_is_its_senders_until_the_end_is_near() {
        let mut keeper = Keeper::new(256 << 10);
        assert_eq!(asked(&keeper, 30, 1 << 20, false), None);
        assert_eq!(asked(&keeper, 31, 31, false), Some(Failure::Silence));
        keeper.begun();
        assert_eq!(asked(&keeper, 0, 0, true), Some(Failure::OurSide));
        keeper.took(200 << 20);
        assert_eq!(asked(&keeper, 900, 1 << 20, true), None);
        assert_eq!(asked(&keeper, 961, 961, false), Some(Failure::Silence));
    }

    #[test]
    fn a_small_domain_does_not_hold_its_place_for_ever() {
        let mut keeper = Keeper::new(8 << 10);
        assert_eq!(asked(&keeper, 900, 3600, false), None);
        assert_eq!(asked(&keeper, 0, 3601, false), Some(Failure::Silence));
        // Without a prologue it can be stopped, and nothing of it is kept.
        assert_eq!(asked(&keeper, 0, 0, true), Some(Failure::Silence));
        assert_eq!(keeper.failed(Failure::Silence), Verdict::Refuse);
        keeper.begun();
        assert_eq!(asked(&keeper, 0, 0, true), None);
    }
}
