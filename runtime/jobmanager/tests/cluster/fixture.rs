//! A job program whose coordinators do what tests ask for. The artifact is a line of shell that starts this test binary again;
//! [`coordinator`] is the process then, and a no-op in an ordinary test run.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use flink_graph::{ChainingStrategy, OperatorId, OperatorKind, StreamEdge, StreamGraph, StreamNode};
use flink_process::ENV_ROLE;
use flink_rpc::messages::BlobDigest;
use flink_worker::{
    Availability, CoordinatorContext, EdgeFactory, ExecutionConfig, JobProgram, NodeFactory, OperatorCoordinator,
    Outputs, Polled, SinkOperator, SourceOperator, TaskError,
};
use sha2::{Digest as _, Sha256};

/// The node whose operator is coordinated: `Source: numbers`.
pub(crate) const SOURCE: u32 = 0;

#[test]
#[expect(clippy::exit, reason = "this is the process's main function")]
fn coordinator() {
    if std::env::var(ENV_ROLE).as_deref() != Ok("coordinator") {
        return;
    }
    let code: ExitCode = flink_worker::run_coordinator(|args| {
        let args = std::str::from_utf8(args).map_err(|error| error.to_string())?;
        let (behaviour, parallelism) = args.split_once('/').ok_or("no parallelism")?;
        if behaviour == "build error" {
            return Err("as told".to_owned());
        }
        let parallelism = parallelism.parse().map_err(|_| "no number")?;
        Ok(program(behaviour, parallelism))
    });
    let _told = writeln!(std::io::stderr(), "fixture: {code:?}");
    std::process::exit(0);
}

/// Puts the artifact into a blob store.
pub(crate) fn install(blob_dir: &Path) -> BlobDigest {
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexec '{}' --exact fixture::coordinator --nocapture\n",
        this.display()
    );
    let digest = BlobDigest(Sha256::digest(&script).into());
    let draft = blob_dir.join("draft");
    std::fs::write(&draft, script).unwrap();
    // A file that this process has written may still be open for writing in a child that another test is just starting, and
    // would not be executed.
    let copied = Command::new("cp")
        .arg(&draft)
        .arg(blob_dir.join(digest.to_string()))
        .status();
    assert!(copied.unwrap().success());
    digest
}

/// `Source: numbers -> Sink: nowhere`.
pub(crate) fn program(behaviour: &str, parallelism: u32) -> JobProgram {
    let behaviour = behaviour.to_owned();
    let node = |kind, name: &str, types: (&[&str], Option<&str>)| StreamNode {
        id: OperatorId::from_bytes([0; 16]),
        uid: None,
        name: name.to_owned(),
        kind,
        input_types: types.0.iter().map(|&name| name.to_owned()).collect(),
        output_type: types.1.map(str::to_owned),
        parallelism,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
        slot_sharing_group: None,
    };
    let mut graph = StreamGraph::new("coordinated");
    graph.nodes = vec![
        node(OperatorKind::Source, "numbers", (&[], Some("u64"))),
        node(OperatorKind::Sink, "nowhere", (&["u64"], None)),
    ];
    graph.edges = vec![StreamEdge {
        source: 0,
        target: 1,
        partitioner: None,
        input: 0,
        side_output: None,
    }];
    let source = NodeFactory::source::<u64, Nothing>(|_| Ok(Nothing));
    let nodes = vec![
        source.with_coordinator(move || Ok(Box::new(Obedient(behaviour.clone())))),
        NodeFactory::sink::<u64, Nothing>(|_| Ok(Nothing)),
    ];
    JobProgram::new(graph, nodes, vec![EdgeFactory::of::<u64>()], ExecutionConfig::default()).unwrap()
}

/// Tasks are the test's own.
struct Nothing;

impl SourceOperator<u64> for Nothing {
    fn poll_next(&mut self, _: u32, _: &mut Outputs<u64>) -> Result<Polled, TaskError> {
        Ok(Polled {
            records: 0,
            next: Availability::End,
        })
    }
}

impl SinkOperator<u64> for Nothing {
    fn write(&mut self, _: u64, _: i64) -> Result<(), TaskError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Does what its job was submitted for, and what subtasks say.
struct Obedient(String);

impl OperatorCoordinator for Obedient {
    /// Each subtask learns the process id.
    fn start(&mut self, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        let _told = writeln!(std::io::stderr(), "fixture: starting");
        if self.0 == "start error" {
            return Err(TaskError::operator("as told"));
        }
        std::fs::write(std::env::temp_dir().join("scratch"), "x").map_err(TaskError::operator)?;
        let pid = std::process::id().to_string();
        (0..context.parallelism()).try_for_each(|subtask| context.send_event(subtask, pid.clone().into()))
    }

    fn handle_event(
        &mut self,
        subtask: u32,
        event: Vec<u8>,
        context: &mut CoordinatorContext,
    ) -> Result<(), TaskError> {
        let text = String::from_utf8(event).map_err(TaskError::operator)?;
        match text.as_str() {
            "error" => Err(TaskError::operator("no more splits")),
            "panic" => panic!("cannot stand {subtask}"),
            "abort" => std::process::abort(),
            "hang" => loop {
                std::thread::park();
            },
            "flood" => (0..2000).try_for_each(|_| context.send_event(subtask, Vec::new())),
            "later" => {
                context.wake_at(context.now() + Duration::from_millis(1));
                Ok(())
            }
            text => context.send_event(subtask, format!("{subtask}: {text}").into()),
        }
    }

    fn subtask_ended(&mut self, subtask: u32, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        if self.0 == "end error" && subtask + 1 == context.parallelism() {
            return Err(TaskError::operator("could not commit"));
        }
        Ok(())
    }

    fn wake(&mut self, _: std::time::Instant, context: &mut CoordinatorContext) -> Result<(), TaskError> {
        context.send_event(0, b"woken".to_vec())
    }
}
