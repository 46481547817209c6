//! The operators' socket. Control path.

mod console;
mod migrate;
mod resolve;
mod socket;
mod status;

use std::{sync::Arc, time::Duration};

use domain::DomainConfig;
use peer::control::{DomainLine, Failure, Info, Reply, Request};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};
use toolstack::Domain;

pub use socket::{ControlError, Operator, bind};

use crate::{
    blocking::blocking,
    failure::{self, Tell},
    host::Host,
    outgoing,
    relocations::{Relocation, lock},
    spooled::{self, Wanted},
};

/// Time for a whole request: operators' programs are local and quick.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Accepts operators until the task is dropped.
pub async fn serve(host: Arc<Host>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(operator(Arc::clone(&host), stream));
            }
            Err(error) => {
                tracing::error!(%error, "an operator's connection could not be accepted");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn operator(host: Arc<Host>, mut stream: UnixStream) {
    let who = match socket::check_credentials(&stream) {
        Ok(who) => who,
        Err(failure) => {
            tracing::warn!("{}", failure.value);
            let _ = send(&mut stream, &Reply::Err(failure)).await;
            return;
        }
    };
    let mut answering = None;
    let reply = match timeout(REQUEST_TIME, read_request(&mut stream)).await {
        Err(_) => Err(failure::simple("request", "no request came in time")),
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(Request::Migrate(order))) => {
            answering = Some(Arc::clone(&host.answering));
            let carry_out =
                |cancel, started| outgoing::migrate(Arc::clone(&host), order, who.to_string(), cancel, started);
            migrate::follow(&mut stream, carry_out).await
        }
        Ok(Ok(Request::SpoolSend(order))) => {
            answering = Some(Arc::clone(&host.answering));
            let carry_out =
                |cancel, started| outgoing::send_spooled(Arc::clone(&host), order, who.to_string(), cancel, started);
            migrate::follow(&mut stream, carry_out).await
        }
        Ok(Ok(Request::SpoolRestore { entry, yes_i_know })) => {
            answering = Some(Arc::clone(&host.answering));
            let wanted = Wanted { entry, yes_i_know };
            let carry_out =
                |cancel, started| spooled::restore_for(Arc::clone(&host), wanted, who.to_string(), cancel, started);
            migrate::follow(&mut stream, carry_out).await
        }
        Ok(Ok(Request::Console { domain })) => match console::console(&host, &mut stream, &domain).await {
            Ok(()) => return,
            Err(failure) => Err(failure),
        },
        Ok(Ok(request)) => answer(&host, request, &who).await,
    };
    let reply = reply.unwrap_or_else(Reply::Err);
    if let Err(error) = send(&mut stream, &reply).await {
        tracing::debug!(%error, "the operator did not wait for the answer");
    }
    drop(answering);
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, Failure> {
    let wrong = |error: &dyn std::fmt::Display| failure::simple("request", format!("not a request: {error}"));
    let limits = sxp::Limits {
        max_bytes: peer::control::MAX_REQUEST,
        max_depth: 32,
        ..sxp::Limits::default()
    };
    let mut reader = sxp::Reader::new(limits);
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| wrong(&error))?;
        if count == 0 {
            return Err(wrong(&"the connection ended"));
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        if let (_, Some(value)) = reader.feed(bytes).map_err(|error| wrong(&error))? {
            return sxp::from_sexp(&value).map_err(|error| wrong(&error));
        }
    }
}

/// Sends a reply.
///
/// # Errors
/// Why the operator does not get it.
async fn send(stream: &mut UnixStream, reply: &impl Serialize) -> std::io::Result<()> {
    let value = sxp::to_sexp(reply).map_err(std::io::Error::other)?;
    let line = peer::request::line(&value);
    timeout(REQUEST_TIME, stream.write_all(&line))
        .await
        .map_err(|_| std::io::ErrorKind::TimedOut)?
}

async fn answer(host: &Arc<Host>, request: Request, who: &Operator) -> Result<Reply, Failure> {
    match request {
        Request::List { domain, long } => list(host, domain.as_deref(), long).await,
        Request::Info => info(host).await,
        Request::Create { config } => {
            let config =
                DomainConfig::from_sxp(&config.0).map_err(|error| failure::simple("config", error.to_string()))?;
            let toolstack = Arc::clone(&host.toolstack);
            let name = config.name.clone();
            let created = blocking(move || toolstack.create(&config)).await;
            let domid = created.map_err(|error| failure::toolstack(&error))?;
            tracing::info!(domid, name, "domain created");
            Ok(Reply::Created { domid })
        }
        Request::Destroy { domain } => act(host, &domain, "destroyed", |toolstack, id| toolstack.destroy(id)).await,
        Request::Pause { domain } => act(host, &domain, "paused", |toolstack, id| toolstack.pause(id)).await,
        Request::Unpause { domain } => act(host, &domain, "unpaused", |toolstack, id| toolstack.unpause(id)).await,
        Request::Resolve {
            id,
            decision,
            yes_i_know,
        } => resolve::resolve(host, id, decision, yes_i_know, who).await,
        Request::Status => status::status(host).await,
        Request::SpoolList => spooled::list(host).await,
        Request::SpoolDelete { entry, yes_i_know } => {
            spooled::delete(host, Wanted { entry, yes_i_know }, who.to_string()).await
        }
        Request::Migrate(_) | Request::Console { .. } | Request::SpoolSend(_) | Request::SpoolRestore { .. } => {
            Err(failure::simple("internal", "this request goes another way"))
        }
    }
}

async fn act(
    host: &Arc<Host>,
    wanted: &str,
    done: &'static str,
    action: fn(&dyn toolstack::Toolstack, u32) -> toolstack::Result<()>,
) -> Result<Reply, Failure> {
    let domain = host.find_domain(wanted).await?;
    let toolstack = Arc::clone(&host.toolstack);
    blocking(move || action(&*toolstack, domain.id))
        .await
        .map_err(|error| failure::toolstack(&error))?;
    tracing::info!(domid = domain.id, name = domain.name, "domain {done}");
    Ok(Reply::Done)
}

async fn list(host: &Arc<Host>, wanted: Option<&str>, long: bool) -> Result<Reply, Failure> {
    let domains = match wanted {
        Some("0" | "Domain-0") => Vec::new(),
        Some(wanted) => vec![host.find_domain(wanted).await?],
        None => host.domains().await?,
    };
    let mut lines = Vec::new();
    if matches!(wanted, None | Some("0" | "Domain-0")) {
        lines.push(domain_0(host).await?);
    }
    for domain in domains {
        let config = if long { config(host, domain.id).await } else { None };
        lines.push(domain_line(&domain, config));
    }
    Ok(Reply::Domains { domains: lines })
}

/// A domain may go between the list and the question: then it has no configuration any more.
async fn config(host: &Arc<Host>, id: u32) -> Option<sxp::Raw> {
    let toolstack = Arc::clone(&host.toolstack);
    let config = blocking(move || toolstack.config(id)).await.ok()?;
    Some(sxp::Raw(config.to_sxp()))
}

fn domain_line(domain: &Domain, config: Option<sxp::Raw>) -> DomainLine {
    DomainLine {
        domid: domain.id,
        name: domain.name.clone(),
        uuid: Some(domain.uuid),
        memory_mib: domain.memory_kib / 1024,
        vcpus: domain.vcpus,
        state: domain.state.flags().to_owned(),
        cpu_time: (domain.cpu_time.as_secs_f64() * 10.0).round() / 10.0,
        config,
    }
}

async fn facts(host: &Arc<Host>) -> Result<domain::HostFacts, Failure> {
    host.facts().await.map_err(|error| failure::toolstack(&error))
}

/// What xend shows first: the host itself.
async fn domain_0(host: &Arc<Host>) -> Result<DomainLine, Failure> {
    let facts = facts(host).await?;
    Ok(DomainLine {
        domid: 0,
        name: "Domain-0".to_owned(),
        uuid: None,
        memory_mib: facts.total_memory_kib.saturating_sub(facts.free_memory_kib) / 1024,
        vcpus: facts.processors,
        state: "r-----".to_owned(),
        cpu_time: 0.0,
        config: None,
    })
}

async fn info(host: &Arc<Host>) -> Result<Reply, Failure> {
    let info = Info {
        host: facts(host).await?,
        relocd_version: env!("CARGO_PKG_VERSION").to_owned(),
        config_file: host.config_file.display().to_string(),
        listening: host.listening(),
    };
    Ok(Reply::Info(Box::new(info)))
}

/// Why a domain that stands still for an open outcome may not be touched.
fn in_doubt(relocation: &Relocation) -> Failure {
    let Relocation { id, domain, peer, .. } = relocation;
    let reason = lock(&relocation.detail).clone().unwrap_or_default();
    let failure = failure::simple(
        "in-doubt",
        format!("the outcome of relocation {id} is not known: {reason}"),
    )
    .state(format!("domain '{domain}' stands still here, and may run on {peer}"));
    let decide = format!("xm resolve {id} --resume. If it runs there: xm resolve {id} --destroy");
    if relocation.is_to_xend() {
        return failure.next(format!(
            "an xend can't be asked what became of it: look there with xm list, and into its xend.log. If the domain does not run there, and never \
             did: {decide}"
        ));
    }
    failure.next(format!(
        "relocd goes on asking {peer}. Once that host is back, it is settled by itself (xm status). If it is gone for good: \
         make sure that the domain does not run there, then: {decide}"
    ))
}
