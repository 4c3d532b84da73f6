//! Sessions as `session list` and `session status` show them.

use std::time::SystemTime;

use flink_rpc::messages::ClusterStatus;
use serde::Serialize;

use super::{JobRow, iso, time};
use crate::{
    output::{Column, Item, age, fields, table},
    runtime::{SessionKind, SessionRecord},
};

/// One line of `session list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionRow {
    name: String,
    /// `kind` is the document's own.
    mode: SessionKind,
    host: String,
    address: String,
    pid: u32,
    owner: String,
    start_time: String,
    /// Whether its JobManager answers.
    alive: bool,
    task_managers: u32,
    slots: u32,
    free_slots: u32,
    jobs: u32,
    #[serde(skip)]
    start_ms: u64,
}

impl SessionRow {
    /// The row of a session; `status` is `None` when its JobManager does not answer.
    pub(crate) fn of(record: &SessionRecord, status: Option<&ClusterStatus>) -> Self {
        let managers = status.map_or(&[][..], |status| &status.task_managers);
        let running = status.map_or(0, |status| {
            status
                .jobs
                .iter()
                .filter(|job| !job.status.is_globally_terminal())
                .count()
        });
        Self {
            name: record.name.clone(),
            mode: record.kind,
            host: record.host.clone(),
            address: record.address.to_string(),
            pid: record.process.pid,
            owner: record.owner.clone(),
            start_time: iso(record.start_ms),
            alive: status.is_some(),
            task_managers: u32::try_from(managers.len()).unwrap_or(u32::MAX),
            slots: managers.iter().map(|manager| manager.slots).sum(),
            free_slots: managers.iter().map(|manager| manager.free_slots).sum(),
            jobs: u32::try_from(running).unwrap_or(u32::MAX),
            start_ms: record.start_ms,
        }
    }

    fn status(&self) -> &'static str {
        if self.alive { "RUNNING" } else { "DEAD" }
    }
}

impl Item for SessionRow {
    const KIND: &'static str = "Session";
    const PLURAL: &'static str = "sessions";
    const CREATE: &'static str = "flinkctl session start NAME -d";
    const COLUMNS: &'static [Column] = &[
        Column::new("name"),
        Column::new("status"),
        Column::new("host"),
        Column::new("taskmanagers").right(),
        Column::new("slots").right(),
        Column::new("free").right(),
        Column::new("jobs").right(),
        Column::new("age").right(),
        Column::new("address").wide(),
        Column::new("pid").right().wide(),
        Column::new("owner").wide(),
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            self.name.clone(),
            self.status().to_owned(),
            self.host.clone(),
            self.task_managers.to_string(),
            self.slots.to_string(),
            self.free_slots.to_string(),
            self.jobs.to_string(),
            age(time(self.start_ms), now),
            self.address.clone(),
            self.pid.to_string(),
            self.owner.clone(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// One session in full.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionDetail {
    #[serde(flatten)]
    session: SessionRow,
    startable_slots: u32,
    pending_task_managers: u32,
    members: Vec<TaskManagerView>,
    job_list: Vec<JobRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskManagerView {
    id: String,
    host: String,
    pid: u32,
    slots: u32,
    free_slots: u32,
    start_time: String,
}

impl SessionDetail {
    /// The view of a session that answers.
    pub(crate) fn of(record: &SessionRecord, status: &ClusterStatus, now_ms: u64) -> Self {
        Self {
            session: SessionRow::of(record, Some(status)),
            startable_slots: status.startable_slots,
            pending_task_managers: status.pending_task_managers,
            members: status
                .task_managers
                .iter()
                .map(|manager| TaskManagerView {
                    id: manager.id.to_string(),
                    host: manager.host.clone(),
                    pid: manager.pid,
                    slots: manager.slots,
                    free_slots: manager.free_slots,
                    start_time: iso(manager.since_ms),
                })
                .collect(),
            job_list: status
                .jobs
                .iter()
                .map(|job| JobRow::of(job, &record.name, now_ms))
                .collect(),
        }
    }

    /// Session, TaskManagers, jobs.
    pub(crate) fn human(&self) -> String {
        let session = &self.session;
        let mut text = fields(&[
            ("session", session.name.clone()),
            ("status", session.status().to_owned()),
            (
                "jobmanager",
                format!("{} pid {} {}", session.host, session.pid, session.address),
            ),
            ("owner", session.owner.clone()),
            ("started", session.start_time.clone()),
            (
                "slots",
                format!(
                    "{} ({} free, {} more can be started)",
                    session.slots, session.free_slots, self.startable_slots
                ),
            ),
        ]);
        if !self.members.is_empty() {
            let columns = [
                Column::new("taskmanager"),
                Column::new("host"),
                Column::new("pid").right(),
                Column::new("slots").right(),
                Column::new("free").right(),
            ];
            let rows = self.members.iter().map(|member| {
                vec![
                    member.id.clone(),
                    member.host.clone(),
                    member.pid.to_string(),
                    member.slots.to_string(),
                    member.free_slots.to_string(),
                ]
            });
            text.push('\n');
            text.push_str(&table(&columns, rows.collect()));
        }
        if !self.job_list.is_empty() {
            let now = SystemTime::now();
            let shown = JobRow::COLUMNS.len() - 1;
            let rows = self
                .job_list
                .iter()
                .map(|job| job.cells(now).into_iter().take(shown).collect());
            text.push('\n');
            text.push_str(&table(&JobRow::COLUMNS[..shown], rows.collect()));
        }
        text
    }
}

impl Item for SessionDetail {
    const KIND: &'static str = "Session";
    const PLURAL: &'static str = SessionRow::PLURAL;
    const CREATE: &'static str = SessionRow::CREATE;
    const COLUMNS: &'static [Column] = SessionRow::COLUMNS;

    fn cells(&self, now: SystemTime) -> Vec<String> {
        self.session.cells(now)
    }

    fn name(&self) -> String {
        self.session.name()
    }
}
