//! Where streams end.

use super::operator_settings;
use crate::declared::Declared;

/// A sink at the end of a stream. Its settings can be left as they are: it needs not be kept.
pub struct DataStreamSink {
    declared: Declared,
    node: u32,
}

impl DataStreamSink {
    pub(super) fn new(declared: Declared, node: u32) -> Self {
        Self { declared, node }
    }

    operator_settings!();

    fn operator(&self, _: &str) -> Option<(&Declared, u32)> {
        Some((&self.declared, self.node))
    }
}
