//! Memory of domain 0, which it gives up for others.
//!
//! xl does this by itself for a domain that it builds if `autoballoon` in xl.conf is on, or is `auto` and Xen was started without `dom0_mem`; it then takes what it
//! needs, down to 128 MiB (LIBXL_MIN_DOM0_MEM). What is taken here before, it finds free and leaves as it is: the two don't work against each other.

use std::{
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use toolstack::{Result, ToolstackError};

use crate::{host::Host, info, list, program::QUICK};

/// What is taken beyond what was asked for, if there is so much: xl reckons a domain's needs up to whole MiB.
const SLACK_KIB: u64 = 2048;
/// Between two looks at the free memory.
const PAUSE: Duration = Duration::from_millis(100);

impl Host {
    /// Memory of domain 0 now, in KiB.
    pub(crate) fn dom0_kib(&self) -> Result<Option<u64>> {
        let text = self.program.run(&["list", "-v"], QUICK)?;
        Ok(list::dom0_kib(&sxp::text_from_bytes(&text)))
    }

    fn free_kib(&self) -> Result<u64> {
        let text = self.program.run(&["info"], QUICK)?;
        let facts = info::parse(&String::from_utf8_lossy(&text)).map_err(ToolstackError::Failed)?;
        Ok(facts.free_memory_kib)
    }

    /// Makes so much memory free by taking it from domain 0, which keeps `keep_kib`, and waits until it is there. If it does not come, domain 0 gets back what it
    /// gave.
    pub(crate) fn take_from_dom0(&self, wanted_kib: u64, keep_kib: u64, limit: Duration) -> Result<()> {
        // One at a time: each reckons from what domain 0 has.
        let _alone = self.ballooning.lock().unwrap_or_else(PoisonError::into_inner);
        let free_kib = self.free_kib()?;
        let Some(missing) = wanted_kib.checked_sub(free_kib).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        let has_kib = self.dom0_kib()?.unwrap_or_default();
        let can_give = has_kib.saturating_sub(keep_kib);
        if missing > can_give {
            return Err(ToolstackError::Memory {
                needed_kib: wanted_kib,
                free_kib: free_kib.saturating_add(can_give),
            });
        }
        let give = missing.saturating_add(SLACK_KIB).min(can_give);
        // Whole MiB, of which it gives rather more.
        let target_mib = ((has_kib - give) / 1024).max(keep_kib.div_ceil(1024));
        tracing::info!(
            free_mib = free_kib / 1024,
            wanted_mib = wanted_kib.div_ceil(1024),
            dom0_mib = has_kib / 1024,
            target_mib,
            "taking memory from domain 0"
        );
        let given = self
            .set_dom0(target_mib)
            .and_then(|()| self.await_free(wanted_kib, limit));
        if given.is_err()
            && let Err(error) = self.set_dom0(has_kib / 1024)
        {
            tracing::error!(%error, "domain 0 does not get back the memory that was taken from it in vain: xl mem-set 0 {}m", has_kib / 1024);
        }
        given
    }

    fn set_dom0(&self, mib: u64) -> Result<()> {
        self.program
            .run(&["mem-set", "0", &format!("{mib}m")], QUICK)
            .map(|_| ())
    }

    fn await_free(&self, wanted_kib: u64, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let free_kib = self.free_kib()?;
            if free_kib >= wanted_kib {
                return Ok(());
            }
            if begun.elapsed() >= limit {
                return Err(ToolstackError::Failed(format!(
                    "domain 0 was told to give up memory (xl mem-set 0), and did not do so within {} s: {wanted_kib} KiB needed, {free_kib} KiB free",
                    limit.as_secs()
                )));
            }
            thread::sleep(PAUSE);
        }
    }
}
