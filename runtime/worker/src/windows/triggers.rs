//! The built-in triggers.

mod continuous;
mod count;
mod delta;
mod once;
mod wrapping;

pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use count::CountTrigger;
pub use delta::DeltaTrigger;
pub use once::{EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger};
pub use wrapping::{ProcessingTimeoutTrigger, PurgingTrigger};

#[cfg(test)]
mod tests;
