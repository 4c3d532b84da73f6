//! `flinkctl cluster hosts`: the inventory, expanded.

use std::time::SystemTime;

use serde::Serialize;

use crate::{
    cli::HostsArgs,
    commands::Context,
    config::Host,
    error::UserError,
    exit_code::ExitCode,
    output::{Column, Item},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostRow {
    name: String,
    address: String,
    data_address: String,
    roles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    slots: u32,
}

impl HostRow {
    fn of(host: &Host) -> Self {
        let roles = [
            (host.roles.jobmanager, "jobmanager"),
            (host.roles.taskmanager, "taskmanager"),
        ];
        Self {
            name: host.name.clone(),
            address: host.address.clone(),
            data_address: host.data_address.clone(),
            roles: roles
                .into_iter()
                .filter(|(has, _)| *has)
                .map(|(_, role)| role)
                .collect(),
            group: host.group.clone(),
            slots: host.slots,
        }
    }
}

impl Item for HostRow {
    const KIND: &'static str = "Host";
    const PLURAL: &'static str = "hosts";
    const CREATE: &'static str = "flinkctl cluster init HOST... > cluster.toml";
    const COLUMNS: &'static [Column] = &[
        Column::new("name"),
        Column::new("address"),
        Column::new("roles"),
        Column::new("slots").right(),
        Column::new("data address").wide(),
        Column::new("group").wide(),
    ];

    fn cells(&self, _now: SystemTime) -> Vec<String> {
        vec![
            self.name.clone(),
            self.address.clone(),
            self.roles.join(","),
            self.slots.to_string(),
            self.data_address.clone(),
            self.group.clone().unwrap_or_default(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(super) fn hosts(context: &Context, args: &HostsArgs) -> Result<ExitCode, UserError> {
    let inventory = context.inventory(&[])?;
    let selected = inventory.cluster.select(&args.hosts.hosts, &args.hosts.exclude)?;
    let rows: Vec<HostRow> = selected.into_iter().map(HostRow::of).collect();
    context.output.list(&rows)?;
    Ok(ExitCode::Ok)
}
