//! Functions of one code as a table of all their values.

use crate::Result;
use crate::error::check_len;
use crate::parallel::{for_each_run, task_count};
use std::fmt::Debug;

/// Codes below which a task is not worth a thread.
const GRAIN: usize = 128 * 1024;

/// Table lookup on `u8` codes.
pub trait Lookup: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// `dst[i] = table[src[i]]`.
    ///
    /// # Errors
    /// [`crate::KernelError::Length`] when the lengths differ.
    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) -> Result<()>;
}

/// Portable table lookup.
#[derive(Debug, Clone, Copy)]
pub struct TableLookup {
    /// Name of the kernel.
    pub name: &'static str,
}

impl Lookup for TableLookup {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) -> Result<()> {
        check_len("lookup output", src.len(), dst.len())?;
        for_each_run(dst, 1, 64, task_count(src.len(), GRAIN), |first, dst| {
            for (d, &s) in dst.iter_mut().zip(&src[first..]) {
                *d = table[usize::from(s)];
            }
        });
        Ok(())
    }
}
