//! Between channels-first `[N][C][S]` and channels-last `[N][S][C]`; S stands for all spatial axes together.

use crate::Result;
use crate::error::{check_len, product};
use crate::parallel::{for_each_run, task_count};

/// Elements below which a task is not worth a thread.
const GRAIN: usize = 64 * 1024;

/// Side of the square that is transposed at a time: both sides stay in the first-level cache.
const TILE: usize = 16;

/// `dst[n][s][c] = src[n][c][s]`.
///
/// # Errors
/// [`crate::KernelError::Length`] when a slice does not hold `batch * channels * spatial` elements.
pub fn channels_first_to_last<T: Copy + Send + Sync>(
    src: &[T],
    batch: usize,
    channels: usize,
    spatial: usize,
    dst: &mut [T],
) -> Result<()> {
    transpose_each(src, batch, channels, spatial, dst)
}

/// `dst[n][c][s] = src[n][s][c]`.
///
/// # Errors
/// [`crate::KernelError::Length`] when a slice does not hold `batch * channels * spatial` elements.
pub fn channels_last_to_first<T: Copy + Send + Sync>(
    src: &[T],
    batch: usize,
    channels: usize,
    spatial: usize,
    dst: &mut [T],
) -> Result<()> {
    transpose_each(src, batch, spatial, channels, dst)
}

/// `dst[n][j][i] = src[n][i][j]` for `[batch][rows][columns]`.
fn transpose_each<T: Copy + Send + Sync>(
    src: &[T],
    batch: usize,
    rows: usize,
    columns: usize,
    dst: &mut [T],
) -> Result<()> {
    let len = product("layout", &[batch, rows, columns])?;
    check_len("layout source", len, src.len())?;
    check_len("layout destination", len, dst.len())?;
    if len == 0 {
        return Ok(());
    }
    if rows == 1 || columns == 1 {
        dst.copy_from_slice(src);
        return Ok(());
    }
    let image = rows * columns;
    let tasks = task_count(image, GRAIN);
    for (src, dst) in src.chunks_exact(image).zip(dst.chunks_exact_mut(image)) {
        for_each_run(dst, rows, TILE, tasks, |first, dst| transpose(src, rows, columns, first, dst));
    }
    Ok(())
}

/// Columns `first..` of `src` as rows of `dst`.
fn transpose<T: Copy>(src: &[T], rows: usize, columns: usize, first: usize, dst: &mut [T]) {
    let count = dst.len() / rows;
    for j in (0..count).step_by(TILE) {
        for i in (0..rows).step_by(TILE) {
            let width = TILE.min(rows - i);
            for jj in j..count.min(j + TILE) {
                let dst = &mut dst[jj * rows + i..][..width];
                let src = src[i * columns + first + jj..].iter().step_by(columns);
                for (d, &s) in dst.iter_mut().zip(src) {
                    *d = s;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (batch, channels, spatial) in
            [(1, 1, 5), (2, 3, 49), (1, 17, 33), (3, 64, 100), (0, 3, 3), (1, 300, 2000)]
        {
            let src: Vec<u32> = (0..(batch * channels * spatial) as u32).collect();
            let mut last = vec![0; src.len()];
            channels_first_to_last(&src, batch, channels, spatial, &mut last).unwrap();
            for (i, &x) in src.iter().enumerate() {
                let (n, c, s) = (i / (channels * spatial), i / spatial % channels, i % spatial);
                assert_eq!(last[(n * spatial + s) * channels + c], x);
            }
            let mut first = vec![0; src.len()];
            channels_last_to_first(&last, batch, channels, spatial, &mut first).unwrap();
            assert_eq!(first, src);
        }
        assert!(channels_first_to_last(&[0u8; 5], 1, 2, 3, &mut [0; 6]).is_err());
    }
}
