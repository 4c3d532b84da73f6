//! `flinkctl config show`

use std::time::SystemTime;

use serde::Serialize;

use crate::cli::{OutputFormat, ShowArgs};
use crate::config::{Inventory, Origin, Request, Setting, did_you_mean};
use crate::error::UserError;
use crate::exit_code::ExitCode;
use crate::output::{Column, Item, Output};

/// A value in force, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    host: Option<String>,
    key: String,
    value: Option<toml::Value>,
    origin: RowOrigin,
}

#[derive(Debug, Serialize)]
struct RowOrigin {
    source: &'static str,
    text: String,
    file: Option<String>,
    line: Option<usize>,
}

impl From<&Setting> for Row {
    fn from(setting: &Setting) -> Self {
        let (file, line) = match &setting.origin {
            Origin::File { file, line, .. } => (Some(file.clone()), Some(*line)),
            _ => (None, None),
        };
        let origin = RowOrigin {
            source: setting.origin.source(),
            text: setting.origin.to_string(),
            file,
            line,
        };
        Self {
            host: setting.host.clone(),
            key: setting.key.clone(),
            value: setting.value.clone(),
            origin,
        }
    }
}

impl Item for Row {
    const KIND: &'static str = "Setting";
    const PLURAL: &'static str = "settings";
    const CREATE: &'static str = "flinkctl cluster init HOST... > cluster.toml";
    const COLUMNS: &'static [Column] = &[
        Column::new("host").wide(),
        Column::new("key"),
        Column::new("value"),
        Column::new("origin").wide(),
    ];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        let value = self
            .value
            .as_ref()
            .map_or_else(|| "(not set)".to_owned(), ToString::to_string);
        vec![
            self.host.clone().unwrap_or_default(),
            self.key.clone(),
            value,
            self.origin.text.clone(),
        ]
    }

    fn name(&self) -> String {
        self.key.clone()
    }
}

/// Shows the settings of the cluster, or of one host.
pub(crate) fn run(args: &ShowArgs, request: Request, output: Output) -> Result<(), UserError> {
    let inventory = Inventory::load(&Request {
        defines: args.define.define.clone(),
        ..request
    })?;
    if let Some(name) = &args.host
        && inventory.cluster.host(name).is_none()
    {
        return Err(no_such_host(name, &inventory));
    }
    let rows: Vec<Row> = inventory
        .settings
        .iter()
        .filter(|setting| match (&args.host, output.format()) {
            // Everything at once is for programs; people ask for one host.
            (None, OutputFormat::Json | OutputFormat::Wide) => true,
            (wanted, _) => setting.host == *wanted,
        })
        .map(Row::from)
        .collect();
    match output.format() {
        OutputFormat::Table if args.origin => output.text(&crate::output::table(
            &[Column::new("key"), Column::new("value"), Column::new("origin")],
            rows.iter()
                .map(|row| row.cells(SystemTime::UNIX_EPOCH).split_off(1))
                .collect(),
        )),
        _ => output.list(&rows),
    }
}

fn no_such_host(name: &str, inventory: &Inventory) -> UserError {
    let error = UserError::new(
        "hosts.unknown",
        ExitCode::NotFound,
        format!("there is no host `{name}` in the inventory"),
    );
    let error = error.at(inventory.path.display().to_string());
    match did_you_mean(name, inventory.cluster.hosts.iter().map(|host| host.name.as_str())) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => error.help("flinkctl cluster hosts"),
    }
}
