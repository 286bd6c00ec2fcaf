//! Functions of one code as a table of all their values.

use crate::Result;
use crate::error::check_len;
use crate::parallel::{for_each_run, task_count};
use crate::row::RowKernel;
use std::fmt::Debug;

/// Codes below which a task is not worth a thread.
const GRAIN: usize = 32 * 1024;

/// Table lookup on `u8` codes.
pub trait Lookup: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// `dst[i] = table[src[i]]`.
    ///
    /// # Errors
    /// [`crate::KernelError::Length`] when the lengths differ.
    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) -> Result<()>;

    /// `dst[i] = tables[i % tables.len()][src[i]]`: a function of its own for each channel, channels innermost.
    ///
    /// # Errors
    /// [`crate::KernelError::Length`] when the lengths differ, or are no multiple of the number of tables.
    fn lookup_channels(&self, tables: &[[u8; 256]], src: &[u8], dst: &mut [u8]) -> Result<()> {
        check_len("lookup output", src.len(), dst.len())?;
        let channels = tables.len();
        let whole = src.len().checked_div(channels).unwrap_or(0) * channels;
        check_len("lookup input", whole, src.len())?;
        if channels == 0 {
            return Ok(());
        }
        for_each_run(dst, channels, 1, task_count(src.len(), GRAIN), |first, dst| {
            let rows = dst.chunks_exact_mut(channels).zip(src[first * channels..].chunks_exact(channels));
            for (dst, src) in rows {
                for ((d, &s), table) in dst.iter_mut().zip(src).zip(tables) {
                    *d = table[usize::from(s)];
                }
            }
        });
        Ok(())
    }
}

/// [`Lookup`] over the inner loops of `R`.
#[derive(Debug, Clone, Copy)]
pub struct LookupDriver<R>(pub R);

impl<R: RowKernel> Lookup for LookupDriver<R> {
    fn name(&self) -> &'static str {
        self.0.row_names().lookup
    }

    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) -> Result<()> {
        check_len("lookup output", src.len(), dst.len())?;
        for_each_run(dst, 1, 64, task_count(src.len(), GRAIN), |first, dst| {
            self.0.lookup(table, &src[first..][..dst.len()], dst);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::ScalarRows;

    #[test]
    fn each_channel_has_its_table() {
        let lookup = LookupDriver(ScalarRows);
        let tables: Vec<[u8; 256]> = (0..3u8)
            .map(|c| std::array::from_fn(|i| (i as u8).wrapping_mul(2 * c + 1).wrapping_add(c)))
            .collect();
        let src: Vec<u8> = (0..3 * 256 * 700).map(|i: u32| (i / 3) as u8).collect();
        let mut dst = vec![0; src.len()];
        lookup.lookup_channels(&tables, &src, &mut dst).unwrap();
        for (i, (d, s)) in dst.iter().zip(&src).enumerate() {
            assert_eq!(*d, tables[i % 3][usize::from(*s)], "element {i}");
        }
        lookup.lookup_channels(&tables, &[], &mut []).unwrap();
        lookup.lookup_channels(&[], &[], &mut []).unwrap();
        assert!(lookup.lookup_channels(&tables, &[1; 4], &mut [0; 4]).is_err());
        assert!(lookup.lookup_channels(&tables, &[1; 3], &mut [0; 6]).is_err());
        assert!(lookup.lookup_channels(&[], &[1], &mut [0]).is_err());
    }
}
