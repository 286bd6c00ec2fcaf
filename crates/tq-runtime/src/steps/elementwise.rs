//! Elementwise operators on codes: tables, sums, products.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use tq_kernels::{BinaryParams, Broadcast};

/// A table of all values of a function of one code.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) table: Box<[u8; 256]>,
}

impl Step for Table {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            Ok(frame.kernels.lookup().lookup(&self.table, frame.codes(self.from)?, out)?)
        })
    }
}

/// Tables of all values of functions of one code, one for each channel; channels are last.
#[derive(Debug)]
pub(crate) struct ChannelTables {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) tables: Vec<[u8; 256]>,
}

impl Step for ChannelTables {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            Ok(frame.kernels.lookup().lookup_channels(&self.tables, frame.codes(self.from)?, out)?)
        })
    }
}

/// A sum, difference or product.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) lhs: BufferId,
    pub(crate) rhs: BufferId,
    pub(crate) to: BufferId,
    pub(crate) params: BinaryParams,
    pub(crate) broadcast: Broadcast,
}

impl Step for Binary {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let (lhs, rhs) = (frame.codes(self.lhs)?, frame.codes(self.rhs)?);
            Ok(frame.kernels.binary().run(&self.params, lhs, rhs, self.broadcast, out)?)
        })
    }
}
