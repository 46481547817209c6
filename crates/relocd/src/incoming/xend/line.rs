//! The daemon's end of the line to a process that receives.

use std::{
    io,
    net::TcpStream,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use domain::DomainConfig;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use toolstack::spool::Growing;

use super::{
    RECEIVER_COMMAND,
    early::Building,
    orders::{self, Job, Order, Said},
    place,
};
use crate::{
    blocking::blocking,
    fault,
    host::Host,
    relocations::{Relocation, lock},
};

/// How long a receiver may take to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// Starts a receiver, and tells it what to do. Afterwards the connection is its alone.
pub(super) fn start(connection: TcpStream, job: &Job) -> io::Result<UnixStream> {
    let (mut ours, theirs) = UnixStream::pair()?;
    place::prepare(&job.spool)?;
    fault::point(&["in", "receiver", "start"]);
    // This very program, even if its file has been replaced since.
    let mut child = Command::new("/proc/self/exe")
        .arg(RECEIVER_COMMAND)
        .stdin(Stdio::from(OwnedFd::from(connection)))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        // A terminal's Ctrl-C is for the daemon.
        .process_group(0)
        .spawn()?;
    // Its end is waited for, so that it leaves no zombie.
    std::thread::spawn(move || child.wait());
    fault::point(&["in", "receiver", "started"]);
    ours.set_write_timeout(Some(BEGIN))?;
    orders::say(&mut ours, job)?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}

/// What it takes to build a domain while it arrives.
#[derive(Clone, Copy)]
pub(super) struct Early<'a> {
    pub(super) host: &'a Arc<Host>,
    pub(super) config: &'a DomainConfig,
    pub(super) spool: &'a Path,
    /// The image only passes through.
    pub(super) passes: bool,
}

/// How often the receiver is told how much has been taken of what passes through.
const TELL: Duration = Duration::from_millis(20);

impl Early<'_> {
    /// Finds the image: without it the domain is built afterwards.
    async fn image(self, relocation: &Relocation) -> Option<Growing> {
        let (spool, id, passes) = (self.spool.to_owned(), relocation.id, self.passes);
        match blocking(move || place::growing(&spool, id, passes)).await {
            Ok(image) => Some(image),
            Err(error) => {
                tracing::warn!(%error, "the domain can't be built while it arrives");
                None
            }
        }
    }
}

/// Lets the receiver go, and hears how it ends. `None`: it ended without a word. `early`: the domain is built meanwhile, which `building` gets.
pub(super) async fn follow(
    line: UnixStream,
    relocation: &Relocation,
    early: Option<Early<'_>>,
    building: &mut Option<Building>,
) -> Option<Said> {
    let (read, mut write) = tokio::net::UnixStream::from_std(line).ok()?.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut next = async move || {
        let text = lines.next_line().await.ok()??;
        serde_json::from_str::<Said>(&text).ok()
    };
    match tokio::time::timeout(BEGIN, next()).await {
        Ok(Some(Said::Begun)) => {}
        Ok(said) => return said,
        Err(_) => return Some(Said::Refused("the receiving process does not begin".to_owned())),
    }
    // It has a name to be found by as long as the receiver waits.
    let image = match early {
        Some(early) => early.image(relocation).await.map(|image| (early, image)),
        None => None,
    };
    let passes = early.is_some_and(|early| early.passes);
    if passes && image.is_none() {
        let why = "its image can't be read while it arrives, and no copy is kept (relocd-safety-copy no)";
        order(&mut write, &Order::Cancel(why.to_owned())).await;
        return next().await;
    }
    fault::reached(&["in", "go", "send"]).await;
    order(&mut write, &Order::Go).await;
    fault::reached(&["in", "go", "sent"]).await;
    *building = image.map(|(early, image)| Building::begin(early.host, relocation, early.config.clone(), image));
    let (mut cancelled, mut told) = (false, 0);
    loop {
        let taken = building
            .as_ref()
            .and_then(Building::taken)
            .filter(|taken| *taken > told);
        if let Some(taken) = taken {
            told = taken;
            order(&mut write, &Order::Taken(taken)).await;
        }
        let mut built = async || match building {
            Some(building) if building.runs() => building.settle().await,
            _ => std::future::pending().await,
        };
        tokio::select! {
            said = next() => match said {
                Some(Said::Progress(bytes)) => lock(&relocation.progress).wire_bytes = bytes,
                said => return said,
            },
            reason = relocation.cancel.cancelled(), if !cancelled => {
                cancelled = true;
                // What passes through may be all that there is of the domain: the receiver knows.
                if let Some(building) = building.as_ref().filter(|_| !passes) {
                    building.stop(&reason);
                }
                order(&mut write, &Order::Cancel(reason)).await;
            }
            () = tokio::time::sleep(TELL), if passes => {}
            () = built() => {
                // Whether that is in time is for the receiver to tell: it knows whose the domain is.
                if let Some(why) = building.as_ref().and_then(Building::failure) {
                    tracing::warn!("the domain can't be built here: {why}");
                    fault::reached(&["in", "early", "failed"]).await;
                    let why = format!("this host fails to build it: {why}");
                    order(&mut write, &if passes { Order::Abandon(why) } else { Order::Cancel(why) }).await;
                    fault::reached(&["in", "early", "told"]).await;
                }
            }
        }
    }
}

async fn order(write: &mut tokio::net::unix::OwnedWriteHalf, order: &Order) {
    let mut line = Vec::new();
    // A receiver that has gone is heard of by its end.
    if orders::say(&mut line, order).is_ok() {
        let _ = write.write_all(&line).await;
    }
}
