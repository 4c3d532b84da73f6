//! What unit tests of operators and tasks stand on.

use std::{net::Ipv4Addr, time::Duration};

use flink_exchange::{Event, NetworkConfig, NetworkEnvironment, TaskSignal};
use flink_graph::{
    ChainingStrategy, ClusterId, ExecutionAttemptId, JobId, OperatorId, OperatorKind, StreamEdge, StreamGraph,
    StreamNode,
};
use flink_rpc::{ClusterCa, Role};

use crate::{
    EdgeFactory, JobOutput, JobProgram, NodeFactory, OutputStream, Polled, SinkWriter, SourceReader,
    error::TaskError,
    operator::{Operator, Output},
    operators::Map,
};

/// Keeps what it collects, and fails when it is full.
pub(crate) struct Collected<T> {
    pub(crate) records: Vec<T>,
    pub(crate) capacity: usize,
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            capacity: usize::MAX,
        }
    }
}

impl<T> Output<T> for Collected<T> {
    fn collect(&mut self, record: T) -> Result<(), TaskError> {
        if self.records.len() == self.capacity {
            return Err(TaskError::operator("full"));
        }
        self.records.push(record);
        Ok(())
    }

    fn event(&mut self, _: Event) -> Result<(), TaskError> {
        Ok(())
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// What an operator emits for these records and at their end.
pub(crate) fn process_all<I, P: Operator<I>>(mut operator: P, records: impl IntoIterator<Item = I>) -> Vec<P::Out> {
    let mut output = Collected::default();
    for record in records {
        operator.process(record, &mut output).unwrap();
    }
    operator.end_of_data(&mut output).unwrap();
    output.records
}

struct Numbers(u64);

impl SourceReader<u64> for Numbers {
    fn poll_next(&mut self, budget: u32, output: &mut dyn Output<u64>) -> Result<Polled, TaskError> {
        for _ in 0..budget {
            output.collect(self.0)?;
            self.0 += 1;
        }
        Ok(Polled {
            records: budget,
            end: false,
        })
    }
}

struct Nowhere;

impl SinkWriter<u64> for Nowhere {
    fn write(&mut self, _: u64) -> Result<(), TaskError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A job of one task: all numbers, through a closure, to nowhere.
pub(crate) fn program(closure: impl FnMut(u64) -> u64 + Clone + Send + 'static) -> JobProgram {
    let node = |kind, name: &str| StreamNode {
        id: OperatorId::from_bytes([0; 16]),
        uid: None,
        name: name.to_owned(),
        kind,
        input_types: if kind == OperatorKind::Source {
            Vec::new()
        } else {
            vec!["u64".to_owned()]
        },
        output_type: (kind != OperatorKind::Sink).then(|| "u64".to_owned()),
        parallelism: 1,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
        slot_sharing_group: None,
    };
    let mut graph = StreamGraph::new("test");
    graph.nodes = vec![
        node(OperatorKind::Source, "numbers"),
        node(OperatorKind::Operator, "closure"),
        node(OperatorKind::Sink, "nowhere"),
    ];
    graph.edges = (0..2)
        .map(|source| StreamEdge {
            source,
            target: source + 1,
            partitioner: None,
            input: 0,
        })
        .collect();
    let nodes = vec![
        NodeFactory::source::<u64, Numbers>(|_| Ok(Numbers(0))),
        NodeFactory::operator::<u64, _>(move |_| Ok(Map(closure.clone()))),
        NodeFactory::sink::<u64, Nowhere>(|_| Ok(Nowhere)),
    ];
    let edges = vec![EdgeFactory::of::<u64>(), EdgeFactory::of::<u64>()];
    JobProgram::new(graph, nodes, edges, Duration::ZERO).unwrap()
}

/// A data plane of its own.
pub(crate) fn environment(job: JobId) -> NetworkEnvironment {
    let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
    let identity = ca.issue(Role::Worker(job)).unwrap();
    NetworkEnvironment::start(NetworkConfig::new(Ipv4Addr::LOCALHOST.into()), &identity, job).unwrap()
}

/// For jobs that do not print.
pub(crate) struct NoOutput;

impl JobOutput for NoOutput {
    fn open(&self, _: ExecutionAttemptId, _: &TaskSignal) -> Result<Box<dyn OutputStream>, TaskError> {
        Err(TaskError::runtime("there is no output"))
    }
}
