//! How records become bytes.

use std::{fmt::Display, io::Write};

use crate::BoxError;

/// Turns records into the bytes of a file. It knows nothing of files: each has a clone of the sink's encoder, which was not used
/// before.
pub trait Encoder<T>: Clone + Send + 'static {
    /// A file begins.
    ///
    /// # Errors
    /// What fails the job.
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let _ = out;
        Ok(())
    }

    /// Appends a record. It may be kept back: then it is among the [pending bytes](Self::pending_bytes).
    ///
    /// # Errors
    /// What fails the job.
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The file ends: appends what was kept back, and what is at the end of such a file.
    ///
    /// # Errors
    /// What fails the job.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let _ = out;
        Ok(())
    }

    /// About how many bytes are kept back.
    fn pending_bytes(&self) -> u64 {
        0
    }
}

/// Records as [`Display`] writes them, one per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct DisplayLines;

impl<T: Display> Encoder<T> for DisplayLines {
    #[inline]
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(writeln!(out, "{record}")?)
    }
}
