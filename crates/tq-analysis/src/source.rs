//! Where the rows of an input come from.

use crate::{AnalysisError, take_rows};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use tq_graph::Tensor;
use tq_qtypes::DType;

/// Rows that are read when a batch asks for them, so that data may be larger than memory.
pub trait RowSource: fmt::Debug + Send + Sync {
    /// Type of the elements.
    fn dtype(&self) -> DType;

    /// Dimensions of all rows together: first how many there are, then those of one row.
    fn dims(&self) -> &[usize];

    /// Rows `start..end` as one tensor.
    ///
    /// # Errors
    /// Whatever the place that they are read from has to say; it should name the row or its file.
    fn read(&self, start: usize, end: usize) -> Result<Tensor, Box<dyn Error + Send + Sync>>;
}

/// An array in memory, or rows that are read when they are needed.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Array(Tensor),
    /// Elsewhere.
    Rows(Arc<dyn RowSource>),
}

impl Source {
    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Source::Array(t) => t.dtype(),
            Source::Rows(r) => r.dtype(),
        }
    }

    /// Dimensions of all rows together.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        match self {
            Source::Array(t) => t.dims(),
            Source::Rows(r) => r.dims(),
        }
    }

    /// All of it.
    pub(crate) fn whole(&self, input: &str) -> Result<Tensor, AnalysisError> {
        match self {
            Source::Array(t) => Ok(t.clone()),
            Source::Rows(r) => read(r.as_ref(), 0, r.dims().first().copied().unwrap_or(0), input),
        }
    }

    /// Rows `start..end`, and the last one again until there are `rows` of them.
    pub(crate) fn rows(
        &self,
        start: usize,
        end: usize,
        rows: usize,
        input: &str,
    ) -> Result<Tensor, AnalysisError> {
        match self {
            Source::Array(t) => take_rows(t, start, end, rows),
            Source::Rows(r) => {
                let part = read(r.as_ref(), start, end, input)?;
                take_rows(&part, 0, end - start, rows)
            }
        }
    }
}

impl From<Tensor> for Source {
    fn from(tensor: Tensor) -> Self {
        Source::Array(tensor)
    }
}

/// Reads rows and holds the source to what it declared.
fn read(source: &dyn RowSource, start: usize, end: usize, input: &str) -> Result<Tensor, AnalysisError> {
    let tensor =
        source.read(start, end).map_err(|source| AnalysisError::Read { input: input.to_owned(), source })?;
    let mut expected = source.dims().to_vec();
    if let Some(n) = expected.first_mut() {
        *n = end - start;
    }
    if tensor.dims() != expected || tensor.dtype() != source.dtype() {
        return Err(AnalysisError::Input {
            name: input.to_owned(),
            message: format!(
                "its source declared {} {expected:?} and gave {} {:?}",
                source.dtype(),
                tensor.dtype(),
                tensor.dims()
            ),
        });
    }
    Ok(tensor)
}
