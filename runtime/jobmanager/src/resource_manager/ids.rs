//! Ids without a random generator: what decides must be repeatable.

/// Makes 16-byte ids: a prefix that is the cluster's own, and a counter. They sort by the time they were made.
#[derive(Debug)]
pub(super) struct IdSource {
    prefix: [u8; 8],
    next: u64,
}

impl IdSource {
    pub(super) fn new(prefix: [u8; 8]) -> Self {
        Self { prefix, next: 0 }
    }

    pub(super) fn next(&mut self) -> [u8; 16] {
        self.next += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.prefix);
        id[8..].copy_from_slice(&self.next.to_be_bytes());
        id
    }
}
