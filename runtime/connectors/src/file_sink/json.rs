//! JSON, one value per line.

use serde::Serialize;

use super::Encoder;
use crate::BoxError;

/// Values of serde types as JSON, one per line.
///
/// ```
/// use flink_connectors::{FileSink, JsonLinesEncoder};
///
/// let sink = FileSink::new("/data/sales").with_encoder(JsonLinesEncoder);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonLinesEncoder;

impl<T: Serialize> Encoder<T> for JsonLinesEncoder {
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        serde_json::to_writer(&mut *out, record)?;
        out.push(b'\n');
        Ok(())
    }
}
