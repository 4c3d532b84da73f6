//! What unit tests of operators and tasks stand on.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use flink_exchange::{Event, NetworkConfig, NetworkEnvironment, TaskSignal, WatermarkStatus};
use flink_graph::{
    ChainingStrategy, ClusterId, ExecutionAttemptId, JobId, OperatorId, OperatorKind, StreamEdge, StreamGraph,
    StreamNode,
};
use flink_record::{NO_TIMESTAMP, Timestamp};
use flink_rpc::{ClusterCa, Role};

use crate::{
    Availability, EdgeFactory, ExecutionConfig, JobOutput, JobProgram, NodeFactory, OutputStream, Polled, SinkOperator,
    SourceOperator,
    counters::TaskCounters,
    error::TaskError,
    operator::{BoxedOutput, Operator, Output, Outputs},
    operators::Map,
    program::OperatorContext,
    time::ProcessingTimeService,
};

/// What an operator has emitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Emitted<T> {
    Record(T, Timestamp),
    Event(Event),
}

/// Keeps what it collects, and fails when it is full.
struct Log<T> {
    emitted: Rc<RefCell<Vec<Emitted<T>>>>,
    capacity: Rc<Cell<usize>>,
}

impl<T> Output<T> for Log<T> {
    fn collect(&mut self, record: T, timestamp: Timestamp) -> Result<(), TaskError> {
        if self.emitted.borrow().len() >= self.capacity.get() {
            return Err(TaskError::operator("full"));
        }
        self.emitted.borrow_mut().push(Emitted::Record(record, timestamp));
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), TaskError> {
        self.emitted.borrow_mut().push(Emitted::Event(event));
        Ok(())
    }

    fn batch_done(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    fn processing_time(&mut self, _: Timestamp) -> Result<(), TaskError> {
        Ok(())
    }
}

/// An operator under test, with an output that is kept.
pub(crate) struct Harness<I, P: Operator<I>> {
    operator: P,
    outputs: Outputs<P::Out>,
    emitted: Rc<RefCell<Vec<Emitted<P::Out>>>>,
    capacity: Rc<Cell<usize>>,
    input: PhantomData<fn(I)>,
}

impl<I, P: Operator<I>> Harness<I, P>
where
    P::Out: 'static,
{
    pub(crate) fn new(operator: P) -> Self {
        let (emitted, capacity) = (Rc::default(), Rc::new(Cell::new(usize::MAX)));
        let log = Log {
            emitted: Rc::clone(&emitted),
            capacity: Rc::clone(&capacity),
        };
        Self {
            operator,
            outputs: Outputs::new(Box::new(log)),
            emitted,
            capacity,
            input: PhantomData,
        }
    }

    /// Adds a side output, whose records are kept in what is returned.
    pub(crate) fn side_output<S: 'static>(&mut self, tag: &str) -> Rc<RefCell<Vec<Emitted<S>>>> {
        let emitted = Rc::default();
        let log = Log {
            emitted: Rc::clone(&emitted),
            capacity: Rc::new(Cell::new(usize::MAX)),
        };
        let boxed: BoxedOutput<S> = Box::new(log);
        self.outputs.add_side(tag.into(), Box::new(boxed));
        emitted
    }

    /// From so many records on collecting fails.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity.set(capacity);
    }

    pub(crate) fn process(&mut self, record: I, timestamp: Timestamp) {
        self.operator.process(record, timestamp, &mut self.outputs).unwrap();
    }

    pub(crate) fn process_err(&mut self, record: I) -> String {
        let result = self.operator.process(record, NO_TIMESTAMP, &mut self.outputs);
        result.unwrap_err().to_string()
    }

    pub(crate) fn watermark(&mut self, watermark: Timestamp) {
        self.operator.watermark(watermark, &mut self.outputs).unwrap();
    }

    pub(crate) fn watermark_status(&mut self, status: WatermarkStatus) {
        self.operator.watermark_status(status, &mut self.outputs).unwrap();
    }

    /// Why the end of the data cannot be reached.
    pub(crate) fn end_of_data_err(&mut self) -> TaskError {
        self.operator.end_of_data(&mut self.outputs).unwrap_err()
    }

    pub(crate) fn processing_time(&mut self, now: Timestamp) {
        self.operator.processing_time(now, &mut self.outputs).unwrap();
    }

    pub(crate) fn batch_done(&mut self) {
        self.operator.batch_done(&mut self.outputs).unwrap();
    }

    /// The operator itself.
    pub(crate) fn operator(&self) -> &P {
        &self.operator
    }

    pub(crate) fn end_of_data(&mut self) {
        self.operator.end_of_data(&mut self.outputs).unwrap();
    }

    /// All that was emitted since the last look.
    pub(crate) fn take_all(&mut self) -> Vec<Emitted<P::Out>> {
        self.emitted.take()
    }

    /// The records that were emitted since the last look, with their timestamps.
    pub(crate) fn take_stamped(&mut self) -> Vec<(P::Out, Timestamp)> {
        let emitted = self.take_all().into_iter();
        emitted
            .filter_map(|emitted| match emitted {
                Emitted::Record(record, timestamp) => Some((record, timestamp)),
                Emitted::Event(_) => None,
            })
            .collect()
    }

    /// The records that were emitted since the last look.
    pub(crate) fn take(&mut self) -> Vec<P::Out> {
        self.take_stamped().into_iter().map(|(record, _)| record).collect()
    }
}

/// What an operator emits for these records and at their end.
pub(crate) fn process_all<I, P: Operator<I>>(operator: P, records: impl IntoIterator<Item = I>) -> Vec<P::Out>
where
    P::Out: 'static,
{
    let mut harness = Harness::new(operator);
    records
        .into_iter()
        .for_each(|record| harness.process(record, NO_TIMESTAMP));
    harness.end_of_data();
    harness.take()
}

struct Numbers(u64);

impl SourceOperator<u64> for Numbers {
    fn poll_next(&mut self, budget: u32, output: &mut Outputs<u64>) -> Result<Polled, TaskError> {
        for _ in 0..budget {
            output.collect(self.0, NO_TIMESTAMP)?;
            self.0 += 1;
        }
        Ok(Polled {
            records: budget,
            next: Availability::Now,
        })
    }
}

struct Nowhere;

impl SinkOperator<u64> for Nowhere {
    fn write(&mut self, _: u64, _: Timestamp) -> Result<(), TaskError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A job of one task: all numbers, through a closure, to nowhere.
pub(crate) fn program(closure: impl FnMut(u64) -> u64 + Clone + Send + 'static) -> JobProgram {
    let closure = NodeFactory::operator::<u64, _>(move |_| Ok(Map(closure.clone())));
    program_with(closure, 1)
}

/// A job of one vertex: all numbers, through an operator, to nowhere.
pub(crate) fn program_with(closure: NodeFactory, parallelism: u32) -> JobProgram {
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
        parallelism,
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
            side_output: None,
        })
        .collect();
    let nodes = vec![
        NodeFactory::source::<u64, Numbers>(|_| Ok(Numbers(0))),
        closure,
        NodeFactory::sink::<u64, Nowhere>(|_| Ok(Nowhere)),
    ];
    let config = ExecutionConfig {
        buffer_timeout: Duration::ZERO,
        ..ExecutionConfig::default()
    };
    let edges = vec![EdgeFactory::of::<u64>(), EdgeFactory::of::<u64>()];
    JobProgram::new(graph, nodes, edges, config).unwrap()
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

/// Calls `with` with what an operator of a job of one task is told.
pub(crate) fn with_context<R>(with: impl FnOnce(&OperatorContext<'_>) -> R) -> R {
    let context = OperatorContext {
        name: "tested".into(),
        attempt: ExecutionAttemptId {
            job: JobId::random(),
            vertex: 0,
            subtask: 0,
            attempt: 0,
        },
        parallelism: 1,
        max_parallelism: 128,
        config: &ExecutionConfig::default(),
        clock: &ProcessingTimeService::manual(0),
        counters: &Arc::<TaskCounters>::default(),
        signal: &TaskSignal::new(),
        job_output: &NoOutput,
        gateway: None,
    };
    with(&context)
}
