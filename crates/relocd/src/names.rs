//! Names of a peer that can be believed: those that resolve back to its address.

use std::{
    net::{IpAddr, ToSocketAddrs},
    time::Duration,
};

use tokio::{sync::Semaphore, task, time::timeout};

/// Look-ups at once: each may hold a thread for as long as the resolver takes.
static LOOKUPS: Semaphore = Semaphore::const_new(16);

/// The peer's names: its PTR record, if that name has the peer's address. Empty if there is none, or none in time.
///
/// A PTR record alone is the peer's own word: whoever runs its reverse zone can write any name into it.
pub async fn confirmed(address: IpAddr, limit: Duration) -> Vec<String> {
    match timeout(limit, look_up(address)).await {
        Ok(names) => names,
        Err(_) => {
            tracing::warn!(%address, "the look-up of the peer's name took too long: it has none");
            Vec::new()
        }
    }
}

async fn look_up(address: IpAddr) -> Vec<String> {
    let Ok(permit) = LOOKUPS.acquire().await else {
        return Vec::new();
    };
    let found = task::spawn_blocking(move || {
        // Held by the thread, which goes on when the limit has passed: both look-ups may take as long as the resolver likes.
        let _permit = permit;
        look_up_both(address)
    });
    found.await.unwrap_or_default()
}

/// Blocking.
fn look_up_both(address: IpAddr) -> Vec<String> {
    let Ok(name) = dns_lookup::lookup_addr(&address) else {
        return Vec::new();
    };
    // Without a PTR record the answer is the address itself.
    if name.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let back = match (name.as_str(), 0).to_socket_addrs() {
        Ok(mut addresses) => addresses.any(|found| found.ip().to_canonical() == address),
        Err(_) => false,
    };
    if back {
        vec![name]
    } else {
        tracing::warn!(%address, name, "the peer's name does not resolve back to its address: it does not count");
        Vec::new()
    }
}
