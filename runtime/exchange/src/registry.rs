//! Where the two ends of a channel find each other, in either order.
//!
//! An entry exists only while one end is there and the other is not; the second end takes it away. An end that goes away
//! early leaves a mark, so that the other end learns of it when it comes. Marks and unclaimed streams of an old attempt go
//! when a newer attempt of the same channel shows up: there are at most as many entries as the job has channels.

use std::{
    any::{Any, type_name},
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quinn::{RecvStream, VarInt};
use tokio::sync::oneshot;

use crate::{channel::ChannelId, error::ExchangeError, local::LocalChannel};

/// What a consumer waits for.
pub(crate) type Arrival = Result<RecvStream, ExchangeError>;

/// Code of STOP_SENDING towards a producer whose consumer is gone.
const STOP_CONSUMER_GONE: VarInt = VarInt::from_u32(1);

/// Which end of a local channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Producer,
    Consumer,
}

#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    inbound: BTreeMap<ChannelId, Inbound>,
    local: BTreeMap<ChannelId, LocalEntry>,
    shut_down: bool,
}

/// The end of a QUIC channel that came first, at the consumer's worker.
enum Inbound {
    /// A consumer waits for its stream.
    Consumer {
        peer: SocketAddr,
        reply: oneshot::Sender<Arrival>,
    },
    /// A stream waits for its consumer. Its guardian task hands it to whom it is told.
    Stream(oneshot::Sender<oneshot::Sender<Arrival>>),
    /// The consumer went away before the stream came.
    ConsumerGone,
    /// The producer failed before the consumer came.
    ProducerFailed,
}

struct LocalEntry {
    end: End,
    type_name: &'static str,
    channel: Box<dyn Any + Send>,
}

impl Registry {
    /// A consumer wants the stream of `channel`, which will come from `peer`.
    pub(crate) fn expect(
        &self,
        channel: ChannelId,
        peer: SocketAddr,
    ) -> Result<oneshot::Receiver<Arrival>, ExchangeError> {
        let (reply, arrival) = oneshot::channel();
        let mut tables = self.lock();
        if tables.shut_down {
            return Err(ExchangeError::ShutDown);
        }
        tables.forget_older(channel);
        match tables.inbound.remove(&channel) {
            None => {
                tables.inbound.insert(channel, Inbound::Consumer { peer, reply });
            }
            Some(Inbound::Stream(guardian)) => {
                // A guardian that is gone has seen the stream being reset.
                if let Err(reply) = guardian.send(reply) {
                    let _ = reply.send(Err(ExchangeError::ProducerFailed { channel }));
                }
            }
            Some(Inbound::ProducerFailed) => {
                let _ = reply.send(Err(ExchangeError::ProducerFailed { channel }));
            }
            Some(first @ (Inbound::Consumer { .. } | Inbound::ConsumerGone)) => {
                tables.inbound.insert(channel, first);
                return Err(ExchangeError::ChannelInUse { channel });
            }
        }
        Ok(arrival)
    }

    /// The consumer of `channel` goes away before its stream came.
    pub(crate) fn abandon(&self, channel: ChannelId) {
        if let Entry::Occupied(mut entry) = self.lock().inbound.entry(channel)
            && matches!(entry.get(), Inbound::Consumer { .. })
        {
            entry.insert(Inbound::ConsumerGone);
        }
    }

    /// The stream of `channel` is here. When its consumer is not, the stream comes back with the way to learn of it: the
    /// caller guards the stream and hands it to the sender it receives.
    pub(crate) fn arrive(
        &self,
        channel: ChannelId,
        mut stream: RecvStream,
    ) -> Option<(RecvStream, oneshot::Receiver<oneshot::Sender<Arrival>>)> {
        let mut tables = self.lock();
        tables.forget_older(channel);
        match tables.inbound.remove(&channel) {
            None if tables.shut_down => None,
            None => {
                let (guardian, claim) = oneshot::channel();
                tables.inbound.insert(channel, Inbound::Stream(guardian));
                Some((stream, claim))
            }
            Some(Inbound::Consumer { reply, .. }) => {
                // A consumer that is just being dropped drops the stream with its receiver, which stops it.
                let _ = reply.send(Ok(stream));
                None
            }
            Some(first) => {
                tables.inbound.insert(channel, first);
                let _ = stream.stop(STOP_CONSUMER_GONE);
                None
            }
        }
    }

    /// The producer of `channel` failed. Its stream, if it was claimed already, is reset beside this.
    pub(crate) fn producer_failed(&self, channel: ChannelId) {
        let mut tables = self.lock();
        tables.forget_older(channel);
        match tables.inbound.remove(&channel) {
            Some(Inbound::Consumer { reply, .. }) => {
                let _ = reply.send(Err(ExchangeError::ProducerFailed { channel }));
            }
            Some(Inbound::ConsumerGone) => {}
            None | Some(Inbound::Stream(_) | Inbound::ProducerFailed) => {
                tables.inbound.insert(channel, Inbound::ProducerFailed);
            }
        }
    }

    /// The connection to `peer` is lost: consumers that wait for a stream of it fail.
    pub(crate) fn peer_lost(&self, peer: SocketAddr, error: &ExchangeError) {
        let mut tables = self.lock();
        let lost = tables.inbound.extract_if(
            ..,
            |_, entry| matches!(entry, Inbound::Consumer { peer: expected, .. } if *expected == peer),
        );
        for (_, entry) in lost {
            if let Inbound::Consumer { reply, .. } = entry {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    /// Nothing will arrive any more; later ends are refused.
    pub(crate) fn shut_down(&self) {
        let mut tables = self.lock();
        tables.shut_down = true;
        for entry in std::mem::take(&mut tables.inbound).into_values() {
            if let Inbound::Consumer { reply, .. } = entry {
                let _ = reply.send(Err(ExchangeError::ShutDown));
            }
        }
    }

    /// One end of a channel inside this worker.
    pub(crate) fn local<T: Send + 'static>(
        &self,
        channel: ChannelId,
        end: End,
    ) -> Result<Arc<LocalChannel<T>>, ExchangeError> {
        let mut tables = self.lock();
        if tables.shut_down {
            return Err(ExchangeError::ShutDown);
        }
        tables.forget_older(channel);
        let entry = match tables.local.entry(channel) {
            Entry::Vacant(entry) => {
                let made = Arc::new(LocalChannel::<T>::new());
                entry.insert(LocalEntry {
                    end,
                    type_name: type_name::<T>(),
                    channel: Box::new(Arc::clone(&made)),
                });
                return Ok(made);
            }
            Entry::Occupied(entry) => entry,
        };
        if entry.get().end == end {
            return Err(ExchangeError::ChannelInUse { channel });
        }
        let Some(made) = entry.get().channel.downcast_ref::<Arc<LocalChannel<T>>>() else {
            let other = entry.get().type_name;
            let (producer, consumer) = match end {
                End::Producer => (type_name::<T>(), other),
                End::Consumer => (other, type_name::<T>()),
            };
            return Err(ExchangeError::TypeMismatch {
                channel,
                producer,
                consumer,
            });
        };
        let made = Arc::clone(made);
        entry.remove();
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Drops what older attempts of this channel left behind. Ends that are still alive learn of their attempt's end from
    /// whoever cancels it.
    fn forget_older(&mut self, channel: ChannelId) {
        let older = ChannelId { attempt: 0, ..channel }..channel;
        self.inbound
            .extract_if(older.clone(), |_, entry| !matches!(entry, Inbound::Consumer { .. }))
            .for_each(drop);
        self.local.extract_if(older, |_, _| true).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelId = ChannelId {
        edge: 1,
        producer: 2,
        consumer: 3,
        attempt: 4,
    };

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    #[test]
    fn local_ends_meet_in_either_order() {
        let registry = Registry::default();
        for (first, second) in [(End::Producer, End::Consumer), (End::Consumer, End::Producer)] {
            let a = registry.local::<u32>(CHANNEL, first).unwrap();
            let b = registry.local::<u32>(CHANNEL, second).unwrap();
            assert!(Arc::ptr_eq(&a, &b));
        }
    }

    #[test]
    fn local_ends_must_agree_on_the_record_type() {
        let registry = Registry::default();
        let _producer = registry.local::<u32>(CHANNEL, End::Producer).unwrap();
        let error = registry.local::<String>(CHANNEL, End::Consumer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "channel 1:2->3#4 carries u32 but its other end expects alloc::string::String"
        );
    }

    #[test]
    fn an_end_cannot_be_taken_twice() {
        let registry = Registry::default();
        let _producer = registry.local::<u32>(CHANNEL, End::Producer).unwrap();
        let again = registry.local::<u32>(CHANNEL, End::Producer);
        assert!(matches!(again, Err(ExchangeError::ChannelInUse { .. })));
        let _arrival = registry.expect(CHANNEL, peer()).unwrap();
        assert!(matches!(
            registry.expect(CHANNEL, peer()),
            Err(ExchangeError::ChannelInUse { .. })
        ));
    }

    #[test]
    fn a_producer_that_failed_first_fails_its_consumer() {
        let registry = Registry::default();
        registry.producer_failed(CHANNEL);
        let mut arrival = registry.expect(CHANNEL, peer()).unwrap();
        assert!(matches!(
            arrival.try_recv(),
            Ok(Err(ExchangeError::ProducerFailed { .. }))
        ));
    }

    #[test]
    fn a_lost_peer_fails_its_own_consumers_only() {
        let registry = Registry::default();
        let other = ChannelId { producer: 9, ..CHANNEL };
        let mut lost = registry.expect(CHANNEL, peer()).unwrap();
        let mut kept = registry.expect(other, SocketAddr::from(([127, 0, 0, 1], 2))).unwrap();
        registry.peer_lost(peer(), &ExchangeError::ShutDown);
        assert!(matches!(lost.try_recv(), Ok(Err(ExchangeError::ShutDown))));
        assert!(matches!(kept.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
    }

    #[test]
    fn a_new_attempt_clears_what_an_old_one_left() {
        let registry = Registry::default();
        registry.producer_failed(CHANNEL);
        drop(registry.local::<u32>(CHANNEL, End::Producer).unwrap());
        let next = ChannelId { attempt: 5, ..CHANNEL };
        let _arrival = registry.expect(next, peer()).unwrap();
        let tables = registry.lock();
        assert_eq!(tables.inbound.keys().collect::<Vec<_>>(), [&next]);
        assert!(tables.local.is_empty());
    }

    #[test]
    fn nothing_is_accepted_after_shut_down() {
        let registry = Registry::default();
        let mut waiting = registry.expect(CHANNEL, peer()).unwrap();
        registry.shut_down();
        assert!(matches!(waiting.try_recv(), Ok(Err(ExchangeError::ShutDown))));
        assert!(matches!(registry.expect(CHANNEL, peer()), Err(ExchangeError::ShutDown)));
    }
}
