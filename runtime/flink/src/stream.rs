//! Streams: what can be done with the records of a job.

mod all_windowed_stream;
mod async_data_stream;
mod connected_streams;
mod data_stream;
mod interval_join;
mod keyed_stream;
mod paired_streams;
mod partitioning;
mod printable;
mod sink;
mod window_factories;
mod windowed_stream;

pub use all_windowed_stream::AllWindowedStream;
pub use async_data_stream::AsyncDataStream;
pub use connected_streams::{
    BroadcastConnectedStream, ConnectedStreams, KeyedBroadcastConnectedStream, KeyedConnectedStreams,
};
pub use data_stream::DataStream;
pub use interval_join::IntervalJoined;
pub use keyed_stream::KeyedStream;
pub use paired_streams::{
    CoGroup, CoGroupedStreams, Join, JoinedStreams, PairedEqualTo, PairedStreams, PairedWhere, WindowedPair,
};
pub use printable::Printable;
pub use sink::DataStreamSink;
pub use windowed_stream::WindowedStream;

/// The settings that every operator has.
macro_rules! operator_settings {
    () => {
        /// Names the operator, for people: in plans, job status, failures and thread names.
        pub fn name(self, name: impl Into<String>) -> Self {
            let name = name.into();
            self.configure("name", |node| node.name = name)
        }

        /// Gives the operator an id that stays when the job is changed, by which its state will be found again. No two operators
        /// of a job may have the same.
        pub fn uid(self, uid: impl Into<String>) -> Self {
            let uid = uid.into();
            self.configure("uid", |node| node.uid = Some(uid))
        }

        /// Sets the number of the operator's subtasks.
        pub fn set_parallelism(self, parallelism: u32) -> Self {
            if let Some((declared, node)) = self.operator("set_parallelism") {
                declared.set_node_parallelism(node, parallelism);
            }
            self
        }

        /// Sets the number of the operator's key groups, 1 to 32768: the highest parallelism that it can ever have.
        pub fn set_max_parallelism(self, max_parallelism: u32) -> Self {
            self.configure("set_max_parallelism", |node| {
                node.max_parallelism = Some(max_parallelism)
            })
        }

        /// Puts the operator into a slot sharing group. Subtasks of operators of one group share slots; different groups
        /// never do. Operators that set none have the group of their inputs if these agree, else `default`.
        pub fn slot_sharing_group(self, group: impl Into<String>) -> Self {
            let group = group.into();
            self.configure("slot_sharing_group", |node| node.slot_sharing_group = Some(group))
        }

        /// Never runs the operator in one task with others.
        pub fn disable_chaining(self) -> Self {
            self.configure("disable_chaining", |node| {
                node.chaining = flink_graph::ChainingStrategy::Never
            })
        }

        fn configure(self, setting: &str, change: impl FnOnce(&mut flink_graph::StreamNode)) -> Self {
            if let Some((declared, node)) = self.operator(setting) {
                declared.node(node, change);
            }
            self
        }
    };
}

use operator_settings;
