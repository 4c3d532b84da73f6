//! Which channel a record goes to: Flink's partitioners. That of keyed streams is with the operators, who know keys.

use std::hash::{BuildHasher, RandomState};

/// Chooses the channel of each record.
pub trait ChannelSelector<T>: Send {
    /// Index of the channel for `record`, below `channels`, which is at least 1.
    fn select(&mut self, record: &T, channels: u32) -> u32;
}

/// Everything to channel 0: `forward` (whose only channel leads to the same subtask index) and `global`.
#[derive(Debug, Clone, Copy, Default)]
pub struct First;

impl<T> ChannelSelector<T> for First {
    #[inline]
    fn select(&mut self, _: &T, _: u32) -> u32 {
        0
    }
}

/// Round robin from a random start: `rebalance` over all subtasks, `rescale` over those channels that the caller opened.
#[derive(Debug, Clone)]
pub struct RoundRobin {
    next: u32,
}

impl RoundRobin {
    /// Starts at a random channel, so that many producers with few records do not all prefer the first consumer.
    pub fn new() -> Self {
        Self {
            next: RandomState::new().hash_one(()) as u32 >> 1,
        }
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ChannelSelector<T> for RoundRobin {
    #[inline]
    fn select(&mut self, _: &T, channels: u32) -> u32 {
        self.next += 1;
        if self.next >= channels {
            self.next %= channels;
        }
        self.next
    }
}

/// Uniformly at random: `shuffle`.
#[derive(Debug, Clone)]
pub struct Shuffle {
    state: u64,
}

impl Shuffle {
    /// With a seed of its own.
    pub fn new() -> Self {
        Self {
            state: RandomState::new().hash_one(()),
        }
    }
}

impl Default for Shuffle {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ChannelSelector<T> for Shuffle {
    /// The next number of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), cut
    /// down to the number of channels by a multiplication.
    #[inline]
    fn select(&mut self, _: &T, channels: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (((bits >> 32) * u64::from(channels)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_visits_every_channel_equally_often() {
        let mut selector = RoundRobin::new();
        let mut counts = [0; 7];
        for _ in 0..70 {
            counts[selector.select(&(), 7) as usize] += 1;
        }
        assert_eq!(counts, [10; 7]);
    }

    #[test]
    fn a_shuffle_gives_every_channel_about_as_much() {
        let mut selector = Shuffle::new();
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[selector.select(&(), 7) as usize] += 1;
        }
        // Six standard deviations of a binomial distribution: 6 * sqrt(70000 * 1/7 * 6/7).
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 556), "{counts:?}");
    }

    #[test]
    fn the_first_channel_takes_all() {
        assert_eq!(First.select(&1, 5), 0);
    }
}
