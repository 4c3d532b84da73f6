//! Records: values that cross a network edge or are kept in state, their codec, their schemas, and keys.
//!
//! The ground that both the data plane and state stand on: it knows neither.
//!
//! ```
//! use flink_record::Record;
//!
//! #[derive(Record)]
//! #[record(view, crate = "flink_record")]
//! struct Bid {
//!     auction: u64,
//!     url: String,
//! }
//!
//! let mut bytes = Vec::new();
//! Bid { auction: 7, url: "u".to_owned() }.encode(&mut bytes);
//! assert_eq!(bytes, [7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'u']);
//! assert_eq!(Bid::schema().to_string(), "Bid { auction: u64, url: String }");
//!
//! use flink_record::RecordView;
//! let view: BidView<'_> = Bid::decode_view(&mut bytes.as_slice())?;
//! assert_eq!(view.url, "u");
//! # Ok::<(), flink_record::DecodeError>(())
//! ```

mod key;
mod record;
pub mod schema;
mod serde_record;
mod timestamp;
mod view;

pub use flink_derive::{Key, Record};
pub use key::Key;
pub use record::{DecodeError, MAX_NESTING, Record};
pub use schema::Schema;
pub use serde_record::Serde;
pub use timestamp::{NO_TIMESTAMP, Timestamp};
pub use view::RecordView;
