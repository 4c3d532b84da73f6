use std::time::Duration;

use super::*;

#[derive(Serialize)]
struct Job {
    id: &'static str,
    name: &'static str,
    tasks: u32,
    started: String,
    #[serde(skip)]
    since: SystemTime,
}

impl Item for Job {
    const KIND: &'static str = "Job";
    const PLURAL: &'static str = "jobs";
    const CREATE: &'static str = "flinkctl job run JOB";
    const COLUMNS: &'static [Column] = &[
        Column::new("id"),
        Column::new("name"),
        Column::new("tasks").right(),
        Column::new("started").wide(),
        Column::new("age"),
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            self.id.to_owned(),
            self.name.to_owned(),
            self.tasks.to_string(),
            self.started.clone(),
            age(self.since, now),
        ]
    }

    fn name(&self) -> String {
        self.id.to_owned()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn jobs() -> Vec<Job> {
    let job = |id, name, tasks, seconds| {
        let since = now() - Duration::from_secs(seconds);
        Job {
            id,
            name,
            tasks,
            started: timestamp(since),
            since,
        }
    };
    vec![
        job(
            "7c1e",
            "wordcount with a name that is longer than any terminal would like to have it",
            24,
            38,
        ),
        job("03aa", "", 1, 90_000),
    ]
}

fn render(format: OutputFormat) -> String {
    render_list(&jobs(), format, now()).expect("serializable")
}

#[test]
fn every_format() {
    insta::assert_snapshot!("list_table", render(OutputFormat::Table));
    insta::assert_snapshot!("list_wide", render(OutputFormat::Wide));
    insta::assert_snapshot!("list_json", render(OutputFormat::Json));
    assert_eq!(render(OutputFormat::Name), "7c1e\n03aa\n");
}

#[test]
fn an_empty_list_is_a_document_too() {
    let text = render_list::<Job>(&[], OutputFormat::Json, now()).expect("serializable");
    assert_eq!(
        serde_json::from_str::<Value>(&text).ok(),
        Some(json!({"apiVersion": "flinkctl/v1", "kind": "JobList", "items": []}))
    );
    assert_eq!(empty_message::<Job>(), "no jobs; to get one: flinkctl job run JOB");
}

#[test]
fn fields_are_aligned() {
    assert_eq!(
        fields(&[("name", "x y".to_owned()), ("state", String::new())]),
        "name:   x y\nstate:  -\n"
    );
}

#[test]
fn one_document_has_its_fields_at_the_top() {
    let value = document("Version", &json!({"version": "1"})).expect("serializable");
    assert_eq!(
        value,
        json!({"apiVersion": "flinkctl/v1", "kind": "Version", "version": "1"})
    );
}
