//! How far the starts of TaskManagers are, for whoever waits for slots.

use std::collections::BTreeMap;

use flink_rpc::messages::{ProvisioningEvent, ProvisioningStage};

/// The latest stage of each host, numbered by change: a reader gets what is newer than what it has seen, and of
/// each host the latest only. Bounded by the number of hosts.
#[derive(Debug, Default)]
pub(crate) struct ProvisioningBoard {
    latest: u64,
    hosts: BTreeMap<String, (u64, ProvisioningStage)>,
}

impl ProvisioningBoard {
    /// Number of the latest change.
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// Notes how far a host is.
    pub(crate) fn note(&mut self, host: &str, stage: ProvisioningStage) {
        self.latest += 1;
        self.hosts.insert(host.to_owned(), (self.latest, stage));
    }

    /// What has changed after `since` and up to `until`, in the order in which it did.
    pub(crate) fn changes(&self, since: u64, until: u64) -> Vec<ProvisioningEvent> {
        let mut changes: Vec<_> = self
            .hosts
            .iter()
            .filter(|(_, (number, _))| (since + 1..=until).contains(number))
            .collect();
        changes.sort_by_key(|(_, (number, _))| *number);
        let event = |(host, (_, stage)): (&String, &(u64, ProvisioningStage))| ProvisioningEvent {
            host: host.clone(),
            stage: stage.clone(),
        };
        changes.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_latest_stage_of_each_host_that_changed() {
        let mut board = ProvisioningBoard::default();
        board.note("h1", ProvisioningStage::Connecting);
        board.note("h2", ProvisioningStage::Connecting);
        let seen = board.latest();
        board.note("h1", ProvisioningStage::Uploading { sent: 1, total: 2 });
        board.note("h1", ProvisioningStage::Starting);
        let event = |host: &str, stage| ProvisioningEvent {
            host: host.to_owned(),
            stage,
        };
        assert_eq!(
            board.changes(seen, u64::MAX),
            [event("h1", ProvisioningStage::Starting)]
        );
        assert_eq!(
            board.changes(0, u64::MAX),
            [
                event("h2", ProvisioningStage::Connecting),
                event("h1", ProvisioningStage::Starting)
            ]
        );
        assert_eq!(board.changes(0, seen), [event("h2", ProvisioningStage::Connecting)]);
        assert_eq!(board.changes(board.latest(), u64::MAX), []);
    }
}
