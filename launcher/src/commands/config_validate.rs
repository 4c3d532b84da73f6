//! `flinkctl config validate [FILE]`

use serde_json::json;

use crate::cli::ValidateArgs;
use crate::config::{Inventory, Request};
use crate::error::{UserError, count};
use crate::output::Output;

/// Checks an inventory without connecting to any host.
pub(crate) fn run(args: &ValidateArgs, request: Request, output: Output) -> Result<(), UserError> {
    let file = args.file.clone().or(request.file);
    let inventory = Inventory::load(&Request {
        file,
        defines: args.define.define.clone(),
        ..request
    })?;
    let hosts = inventory.cluster.hosts.len();
    for warning in inventory.warnings() {
        warning.report(output.is_json());
    }
    let path = inventory.path.display().to_string();
    if output.is_json() {
        return output.document(
            "ConfigValidation",
            &json!({ "file": path, "cluster": inventory.cluster.name, "hosts": hosts }),
        );
    }
    output.text(&format!(
        "{path}: cluster \"{}\", {}, no problems\n",
        inventory.cluster.name,
        count(hosts, "host")
    ))
}
