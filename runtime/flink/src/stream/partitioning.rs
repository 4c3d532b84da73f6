//! Which subtask of the next operator gets a record, without keys.

use flink_exchange::ChannelSelector;
use flink_graph::Partitioner;
use flink_record::Record;
use flink_worker::{EdgeFactory, functions::SendFunction};

use super::DataStream;

impl<T: Record> DataStream<T> {
    /// Spreads the records evenly, round robin, over the subtasks of the next operator.
    pub fn rebalance(self) -> Self {
        self.partition(Partitioner::Rebalance)
    }

    /// Spreads the records round robin over those subtasks of the next operator that are next to the producer: as
    /// [`rebalance`](Self::rebalance), with fewer channels.
    pub fn rescale(self) -> Self {
        self.partition(Partitioner::Rescale)
    }

    /// Sends records from each subtask to the subtask with the same index of the next operator, which must have the same
    /// parallelism. The default where it has.
    pub fn forward(self) -> Self {
        self.partition(Partitioner::Forward)
    }

    /// Sends all records to the first subtask of the next operator.
    pub fn global(self) -> Self {
        self.partition(Partitioner::Global)
    }

    /// Sends each record to every subtask of the next operator.
    pub fn broadcast(self) -> Self
    where
        T: Clone,
    {
        self.partition_as(Partitioner::Broadcast, EdgeFactory::broadcast::<T>)
    }

    /// Sends each record to one subtask of the next operator, chosen at random.
    pub fn shuffle(self) -> Self {
        self.partition(Partitioner::Shuffle)
    }

    /// Sends each record to the subtask of the next operator that the closure names: it is given the record and the number of
    /// subtasks. A number that is too high fails the job.
    ///
    /// ```
    /// # fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    /// // Small numbers to the first subtask, the others to the last.
    /// let numbers = env.from_sequence(1..=100);
    /// numbers.partition_custom(|number, subtasks| if *number < 10 { 0 } else { subtasks - 1 }).discard();
    /// # Ok(())
    /// # }
    /// # flink::doc_test(build);
    /// ```
    pub fn partition_custom<F>(self, partitioner: F) -> Self
    where
        F: FnMut(&T, u32) -> u32 + Clone + SendFunction + 'static,
    {
        self.partition_as(Partitioner::Custom, move || {
            let partitioner = partitioner.clone();
            EdgeFactory::custom::<T, _>(move || CustomPartitioner(partitioner.clone()))
        })
    }

    fn partition(self, partitioner: Partitioner) -> Self {
        self.partition_as(partitioner, EdgeFactory::of::<T>)
    }
}

/// A closure as a partitioner.
struct CustomPartitioner<F>(F);

impl<T, F: FnMut(&T, u32) -> u32 + Send> ChannelSelector<T> for CustomPartitioner<F> {
    #[inline]
    fn select(&mut self, record: &T, channels: u32) -> u32 {
        let channel = (self.0)(record, channels);
        assert!(
            channel < channels,
            "the custom partitioner chose subtask {channel} of {channels}, counted from 0"
        );
        channel
    }
}
