//! Memory for domains that arrive: what is free, what is promised, and what domain 0 gives up for them.

use std::{collections::HashMap, sync::Arc};

use config::Config;
use domain::HostFacts;
use toolstack::{DomainState, Toolstack, ToolstackError};
use uuid::Uuid;

use crate::{blocking::blocking, host::Host};

/// KiB that libxl leaves domain 0 at least, whatever it is asked for.
const LEAST_KIB: u64 = 128 * 1024;

/// KiB that domain 0 keeps; `None`: it gives nothing (`enable-dom0-ballooning no`).
fn dom0_keeps_kib(config: &Config) -> Option<u64> {
    let least = config.dom0_min_mem_mib.saturating_mul(1024).max(LEAST_KIB);
    config.enable_dom0_ballooning.then_some(least)
}

/// A toolstack's facts, with the memory that domain 0 gives counted as free. Blocks.
///
/// # Errors
/// The toolstack's.
pub fn facts(toolstack: &dyn Toolstack, config: &Config) -> Result<HostFacts, ToolstackError> {
    let mut facts = toolstack.host()?;
    if let Some(keeps) = dom0_keeps_kib(config) {
        let has = toolstack.dom0_memory_kib()?.unwrap_or_default();
        facts.dom0_gives_kib = has.saturating_sub(keeps);
        facts.free_memory_kib = facts.free_memory_kib.saturating_add(facts.dom0_gives_kib);
    }
    Ok(facts)
}

impl Host {
    /// KiB that are promised to arriving domains other than this relocation's, and that they do not have yet. To be asked before the facts: what a domain gets
    /// in between counts twice rather than not at all.
    ///
    /// # Errors
    /// The toolstack's.
    pub async fn promised_kib(&self, but: Uuid) -> Result<u64, ToolstackError> {
        let mut have = HashMap::new();
        if self.relocations.promised_kib(but, |_| 0) == 0 {
            return Ok(0);
        }
        // Only Xen tells what a domain has got up to now; a software machine's memory is the machine's own when it is written to.
        if self.toolstack.name() == "xl" {
            let toolstack = Arc::clone(&self.toolstack);
            let domains = blocking(move || toolstack.domains()).await?;
            let arriving = domains.iter().filter(|domain| domain.state == DomainState::Arriving);
            have.extend(arriving.map(|domain| (domain.uuid, domain.memory_kib)));
        }
        Ok(self
            .relocations
            .promised_kib(but, |uuid| have.get(&uuid).copied().unwrap_or_default()))
    }

    /// Takes from domain 0 what is missing for a domain that arrives, within the time of a message. `facts`: what it was admitted by; `promised_kib`: to others.
    ///
    /// # Errors
    /// The toolstack's: domain 0 has not given it.
    pub async fn make_room(&self, needed_kib: u64, promised_kib: u64, facts: &HostFacts) -> Result<(), ToolstackError> {
        let wanted = needed_kib.saturating_add(promised_kib);
        let free = facts.free_memory_kib.saturating_sub(facts.dom0_gives_kib);
        let Some(keep) = dom0_keeps_kib(&self.config()).filter(|_| facts.dom0_gives_kib > 0 && wanted > free) else {
            return Ok(());
        };
        let (toolstack, limit) = (Arc::clone(&self.toolstack), self.limits().handshake);
        blocking(move || toolstack.take_from_dom0(wanted, keep, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_0_keeps_what_it_must() {
        let keeps = |text: &str| {
            let config = Config::parse(text.as_bytes(), "test").unwrap().config;
            dom0_keeps_kib(&config).map(|kib| kib / 1024)
        };
        assert_eq!(keeps(""), None);
        assert_eq!(keeps("(dom0-min-mem 196)"), Some(196));
        assert_eq!(keeps("(dom0-min-mem 196)(enable-dom0-ballooning no)"), None);
        // libxl's least.
        assert_eq!(keeps("(enable-dom0-ballooning yes)"), Some(128));
        assert_eq!(keeps("(dom0-min-mem 64)"), Some(128));
    }
}
