//! `flinkctl version`

use serde_json::json;

use crate::cli::OutputFormat;
use crate::error::UserError;
use crate::output::{Output, fields};

/// Version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version of flinkctl and of the protocol between its processes.
pub(crate) fn run(protocol: u32, output: Output) -> Result<(), UserError> {
    match output.format() {
        OutputFormat::Json => output.document("Version", &json!({ "version": VERSION, "protocol": protocol })),
        OutputFormat::Name => output.text(&format!("{VERSION}\n")),
        OutputFormat::Table | OutputFormat::Wide => output.text(&fields(&[
            ("flinkctl", VERSION.to_owned()),
            ("protocol", protocol.to_string()),
        ])),
    }
}
