//! A domain is built from an image: `xl restore` reads it from a pipe.
//!
//! A pipe and no socket: xl opens `/dev/stdin` by name, which a socket does not let it. The domain is built paused and under a name of the relocation's. The
//! `xl` that stays in the background, as after `xl create`, sees to its reboots and its end, wherever the daemon is then.

use std::{
    io::{self, BufWriter},
    process::{ChildStdin, Stdio},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use domain::{DomainConfig, GuestKind};
use image::{
    DomainHeader, ImageError, ImageSink, ImageSource, Item,
    record::RecordType,
    save::{MAX_OPTIONAL, SaveConfig, SaveHeader, SaveImage},
    v2::V2Writer,
};
use serde_json::Value;
use toolstack::{Arrival, Arrived, DomainId, Result, ToolstackError};
use uuid::Uuid;

use crate::{
    decide::ArrivedDomain,
    host::Host,
    json,
    list::Row,
    names::{MAX_NAME, Name},
    pipe::Timed,
    program::Running,
    started,
};

/// How long xl may leave the pipe full. It makes the domain and frees memory for it first.
const READING: Duration = Duration::from_secs(60);
/// How long xl may take once it has everything: page tables, device model, hotplug scripts. A source waits no longer, unless its `relocd-idle-timeout` says so.
const COMPLETING: Duration = Duration::from_secs(60);
/// How long xl may take to destroy what it has built, once its pipe is broken.
const UNDOING: Duration = Duration::from_secs(30);

pub(crate) fn arrive(host: &Arc<Host>, arrival: &Arrival<'_>, image: &mut dyn ImageSource) -> Result<Box<dyn Arrived>> {
    let config = arrival.config;
    check(config)?;
    let name = Name::arriving(arrival.relocation, &config.name);
    // Only once the image begins is the source's own domain known to be on its way: it may be on this very host.
    let start = start(config, image)?;
    let building = host.build()?;
    let mut running = host
        .program
        .start(&["restore", "-p", "/dev/stdin"], Stdio::piped(), Stdio::null())?;
    let noted = host.groups.note(arrival.relocation, running.group())?;
    let seen = Seen::look(host, arrival.relocation, config.uuid);
    let fed = match feed(host, &mut running, config, &name, start, image) {
        Ok(()) => running.finish(COMPLETING),
        Err(Fed::Source(error)) => {
            // It has nothing to say that matters: it is told by a broken pipe, and by being killed if that does not help.
            let _ = Host::undo(&mut running, UNDOING);
            Err(error)
        }
        Err(Fed::Pipe(error)) => Err(match Host::undo(&mut running, UNDOING) {
            // Its own reason for not reading any further is the better one.
            Err(reason) if !is_timeout(&error) => reason,
            _ => ToolstackError::Failed(format!(
                "xl restore stopped reading the image: {error}{}",
                running.said()
            )),
        }),
    };
    drop((noted, building));
    let own = |row: &Row| is_of(row, arrival.relocation, config.uuid);
    let found = fed.and_then(|()| {
        // The guest stands still by now: another look only if that has to be.
        if let Some(id) = seen.id() {
            return Ok(id);
        }
        let row = host.list()?.into_iter().find(own);
        row.map(|row| row.id)
            .ok_or_else(|| ToolstackError::Failed("xl restore has ended well, but the domain is not there".to_owned()))
    });
    match found {
        Ok(id) => {
            started::keep(config, id);
            let (host, relocation) = (Arc::clone(host), arrival.relocation);
            Ok(Box::new(ArrivedDomain::built(host, id, relocation, &config.name)))
        }
        Err(error) => Err(match remove(host, own) {
            Ok(()) => error,
            Err(left) => ToolstackError::Failed(format!(
                "{error}; and then what had arrived could not be removed: {left}. Once xl works again: xl destroy {name}"
            )),
        }),
    }
}

/// Whether a domain is what a relocation makes here. An xl that is killed in the moment after it has made a domain leaves it with its identity, and without a name.
pub(crate) fn is_of(row: &Row, arriving: Uuid, uuid: Uuid) -> bool {
    match &row.name {
        Name::Arriving { relocation, .. } => *relocation == arriving,
        Name::Plain(name) => name == NAMELESS && row.uuid == uuid,
        Name::Departing { .. } => false,
    }
}

/// What `xl list` shows of a domain without a name.
const NAMELESS: &str = "(null)";

/// Looks for the domain that xl makes while xl fills it.
struct Seen {
    looking: Option<JoinHandle<Option<DomainId>>>,
    /// Dropped, it ends the looking.
    _until: mpsc::Sender<()>,
}

impl Seen {
    fn look(host: &Arc<Host>, relocation: Uuid, uuid: Uuid) -> Seen {
        const LOOKS: u32 = 10;
        let (until, end) = mpsc::channel();
        let host = Arc::clone(host);
        let look = move || {
            for _ in 0..LOOKS {
                if end.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                // What fails here is asked again once the domain is complete.
                let row = host.list().ok()?.into_iter().find(|row| is_of(row, relocation, uuid));
                if let Some(row) = row {
                    return Some(row.id);
                }
            }
            None
        };
        let looking = thread::Builder::new().name("xl-seen".to_owned()).spawn(look);
        Seen {
            looking: looking.ok(),
            _until: until,
        }
    }

    /// Its number, if it is known already. Does not wait.
    fn id(self) -> Option<DomainId> {
        self.looking.filter(JoinHandle::is_finished)?.join().ok()?
    }
}

/// Removes what has arrived, if anything has. An xl that does not work now may do so in a moment.
fn remove(host: &Host, is: impl Fn(&Row) -> bool) -> Result<()> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 1;
    loop {
        let removed = host.list().and_then(|rows| {
            let mut half = rows.iter().filter(|row| is(row));
            half.try_for_each(|row| host.destroy(row.id))
        });
        match removed {
            Err(error) if attempt < ATTEMPTS => tracing::warn!(%error, attempt, "what had arrived is not removed yet"),
            done => return done,
        }
        attempt += 1;
        thread::sleep(Duration::from_secs(1));
    }
}

fn check(config: &DomainConfig) -> Result<()> {
    if config.kind == GuestKind::Embedded {
        return Err(ToolstackError::Config(
            "Xen runs no guests of the embedded toolstack".to_owned(),
        ));
    }
    config
        .check_programs()
        .map_err(|foreign| ToolstackError::Config(foreign.to_string()))?;
    if sxp::bytes_of_text(&config.name).len() > MAX_NAME {
        return Err(ToolstackError::Config(format!(
            "the name '{}' is longer than {MAX_NAME} bytes, which is what can be relocated",
            config.name
        )));
    }
    Ok(())
}

/// The beginning of the image.
fn start(config: &DomainConfig, image: &mut dyn ImageSource) -> Result<DomainHeader> {
    let Item::Start(header) = image.next()? else {
        return Err(ImageError::Order("an image that does not begin with its start".to_owned()).into());
    };
    let expected = if config.kind == GuestKind::Pv {
        DomainHeader::PV
    } else {
        DomainHeader::HVM
    };
    if header.guest != expected {
        return Err(ToolstackError::Failed(format!(
            "the image is of a guest of type {:#x}, the configuration of a {} guest, which is type {expected:#x}",
            header.guest,
            config.kind.image_word()
        )));
    }
    Ok(header)
}

/// The configuration that the source's Xen had, for a domain of this name. It has to be of the domain that was let in.
fn own_json(body: &[u8], config: &DomainConfig, name: &str) -> Result<Vec<u8>> {
    let wrong = |what: &str| ToolstackError::Config(format!("libxl's configuration in the image: {what}"));
    if body.len() > MAX_OPTIONAL {
        return Err(wrong(&format!("{} bytes", body.len())));
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
    let carried = json::config(&value).map_err(|what| wrong(&what))?;
    json::check_programs(&value).map_err(|what| wrong(&what))?;
    let backings = |config: &DomainConfig| {
        let mut backings: Vec<_> = config.vbds.iter().map(|vbd| vbd.backing.clone()).collect();
        backings.sort_unstable();
        backings
    };
    let differences = [
        ("uuid", carried.uuid != config.uuid),
        ("kind of guest", carried.kind != config.kind),
        ("vcpus", carried.vcpus != config.vcpus),
        (
            "memory",
            carried.max_memory_kib.div_ceil(1024) > config.max_memory_kib.div_ceil(1024),
        ),
        ("bridges", carried.bridges() != config.bridges()),
        ("disks", backings(&carried) != backings(config)),
    ];
    if let Some((what, _)) = differences.iter().find(|(_, differs)| *differs) {
        return Err(wrong(&format!(
            "its {what} are not those of the domain that was let in"
        )));
    }
    if let Some(create) = value.get_mut("c_info").and_then(Value::as_object_mut) {
        create.insert("name".to_owned(), name.into());
        // The number of the source's host, if it was told to keep it.
        create.remove("domid");
    }
    serde_json::to_vec(&value).map_err(|error| wrong(&error.to_string()))
}

/// Which end failed.
enum Fed {
    Source(ToolstackError),
    Pipe(ImageError),
}

type Writer = V2Writer<BufWriter<Timed<ChildStdin>>>;

/// Writes the whole image into xl's pipe, and closes it.
fn feed(
    host: &Host,
    running: &mut Running,
    config: &DomainConfig,
    name: &str,
    start: DomainHeader,
    image: &mut dyn ImageSource,
) -> std::result::Result<(), Fed> {
    let pipe = running.child().stdin.take();
    let pipe = pipe.ok_or_else(|| Fed::Source(ToolstackError::Failed("xl restore has no pipe".to_owned())))?;
    let pipe =
        Timed::new(pipe, READING).map_err(|error| Fed::Source(ToolstackError::io("the pipe to xl restore")(error)))?;
    let mut pipe = BufWriter::with_capacity(256 << 10, pipe);
    let mut item = image.next().map_err(|error| Fed::Source(error.into()))?;
    let carried = match item {
        Item::Record {
            kind: RecordType::XL_CONFIG,
            body,
        } => Some(own_json(body, config, name).map_err(Fed::Source)?),
        _ => None,
    };
    let is_carried = carried.is_some();
    let config = match carried {
        Some(json) => SaveConfig::Json(json),
        None => {
            let renamed = DomainConfig {
                name: name.to_owned(),
                ..config.clone()
            };
            let text = renamed
                .to_xl()
                .map_err(|error| Fed::Source(ToolstackError::Config(error.to_string())))?;
            SaveConfig::Text(text)
        }
    };
    let header = SaveHeader {
        config,
        image: SaveImage::V2,
    };
    header.write(&mut pipe).map_err(Fed::Pipe)?;
    let mut writer: Writer = V2Writer::new(pipe);
    writer.put(Item::Start(start)).map_err(Fed::Pipe)?;
    if is_carried {
        item = image.next().map_err(|error| Fed::Source(error.into()))?;
    }
    loop {
        let last = matches!(item, Item::Finish);
        put(host, &mut writer, item)?;
        if last {
            return Ok(());
        }
        item = image.next().map_err(|error| Fed::Source(error.into()))?;
    }
}

fn put(host: &Host, writer: &mut Writer, item: Item<'_>) -> std::result::Result<(), Fed> {
    if let Item::Record {
        kind: RecordType::X86_PV_INFO,
        body: [4, ..],
    } = item
    {
        // Xen would notice once all of the memory is here.
        let facts = host.facts().map_err(Fed::Source)?;
        if !facts.virtualization.iter().any(|word| word == "pv32") {
            let what = "this Xen runs no 32-bit PV guests (xen_caps has no xen-3.0-x86_32p)";
            return Err(Fed::Source(ToolstackError::Failed(what.to_owned())));
        }
    }
    match writer.put(item) {
        Err(error @ ImageError::Io { .. }) => Err(Fed::Pipe(error)),
        // What can't stand in a stream is the source's fault.
        Err(error) => Err(Fed::Source(error.into())),
        Ok(()) => Ok(()),
    }
}

fn is_timeout(error: &ImageError) -> bool {
    matches!(error, ImageError::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut)
}
