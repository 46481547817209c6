//! The vcpus of a PV guest, behind its pages.

use std::io::Read;

use super::{LegacySource, Made, Stage};
use crate::{ImageError, legacy::checks, record::RecordType};

/// Bytes of a vcpu's extended context.
const EXTENDED: usize = 128;

impl<R: Read> LegacySource<R> {
    /// The next part of a vcpu; `None` if it has none of that kind.
    pub(super) fn vcpu(&mut self) -> Result<Option<Made>, ImageError> {
        let (extended, xsave) = self
            .prologue
            .as_ref()
            .map_or((false, None), |prologue| (prologue.extended, prologue.xsave));
        let (at, kind) = match self.stage {
            Stage::Vcpu(at) => (at, RecordType::X86_PV_VCPU_BASIC),
            Stage::VcpuExtended(at) => (at, RecordType::X86_PV_VCPU_EXTENDED),
            Stage::VcpuXsave(at) => (at, RecordType::X86_PV_VCPU_XSAVE),
            _ => return Ok(None),
        };
        let Some(id) = self.vcpus.get(at).copied() else {
            self.stage = Stage::SharedInfo;
            return Ok(None);
        };
        self.body.clear();
        self.body.extend(id.to_le_bytes());
        self.body.extend([0; 4]);
        match self.stage {
            Stage::Vcpu(_) => {
                self.stage = Stage::VcpuExtended(at);
                let length = self.width().context_bytes();
                self.input.append(length, &mut self.body, "a vcpu's registers")?;
                self.check_vcpu(id)?;
            }
            Stage::VcpuExtended(_) => {
                self.stage = Stage::VcpuXsave(at);
                if !extended {
                    return Ok(None);
                }
                self.input
                    .append(EXTENDED, &mut self.body, "a vcpu's extended registers")?;
            }
            _ => {
                self.stage = Stage::Vcpu(at + 1);
                let Some(xsave) = xsave else { return Ok(None) };
                const WHAT: &str = "a vcpu's xsave data";
                let _features = self.input.u64(WHAT)?;
                let size = self.input.u64(WHAT)?;
                if size.checked_add(16) != Some(u64::from(xsave)) {
                    return Err(self.input.wrong(format!(
                        "xsave data of {size} bytes where {} were announced",
                        xsave - 16
                    )));
                }
                self.input.append(size as usize, &mut self.body, WHAT)?;
            }
        }
        Ok(Some(Made::Record(kind)))
    }

    fn check_vcpu(&self, id: u32) -> Result<(), ImageError> {
        let width = self.width();
        let context = self.body.get(8..).unwrap_or_default();
        if id == 0 && checks::has_two_levels(width, context, &self.seen) {
            return Err(self
                .input
                .wrong("a 32-bit guest without PAE (page tables of two levels): no Xen since 4.3 can run it"));
        }
        if self.options.check_registers {
            checks::vcpu(id, width, context, &self.seen).map_err(|what| self.input.wrong(what))?;
        }
        Ok(())
    }

    pub(super) fn check_p2m(&self) -> Result<(), ImageError> {
        match &self.prologue {
            Some(prologue) if self.options.check_registers => {
                checks::p2m(&prologue.frames, &self.seen).map_err(|what| self.input.wrong(what))
            }
            _ => Ok(()),
        }
    }
}
