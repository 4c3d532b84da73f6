//! Counts and sums what comes out, for whoever asks whether all was done.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

static RESULTS: AtomicU64 = AtomicU64::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);

/// What one operator has seen; it is added to the whole when the operator is dropped.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    results: u64,
    sum: u64,
}

impl Tally {
    /// Adds a result, which has to be there: no loop around this can be folded.
    #[inline]
    pub(crate) fn add(&mut self, value: u64) {
        self.results += 1;
        self.sum = self.sum.wrapping_add(black_box(value));
    }
}

impl Clone for Tally {
    /// Begins at zero.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        RESULTS.fetch_add(self.results, Ordering::Relaxed);
        SUM.fetch_add(self.sum, Ordering::Relaxed);
    }
}

/// Prints the whole, when all operators are gone.
#[expect(clippy::print_stdout, reason = "what the program is asked for")]
pub(crate) fn print() {
    let (results, sum) = (RESULTS.load(Ordering::Relaxed), SUM.load(Ordering::Relaxed));
    println!(r#"{{"results": {results}, "sum": {sum}}}"#);
}
