//! Congestion control: CUBIC, but never more in flight than is of use.
//!
//! On a loss-free path CUBIC grows until the receiver's socket buffer is full, and every small message then waits behind
//! megabytes. The cap keeps that queue short. It is at least the configured number of bytes, and on longer paths twice what a
//! 10 Gbit/s link holds in one round trip, so that distance alone does not throttle a connection.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// The rate that a long path must not be throttled below, in bytes per second.
const PATH_RATE: f64 = 1.25e9;

/// Makes a [`Capped`] CUBIC controller per connection.
pub(super) struct CappedCubic {
    cubic: Arc<CubicConfig>,
    cap: u64,
}

impl CappedCubic {
    /// `cap` in bytes. The first window must hold ten packets of `udp_payload`, else a large MTU never sends anything.
    pub(super) fn new(cap: u64, udp_payload: u16) -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window((256 << 10).min(cap).max(10 * u64::from(udp_payload)));
        Self {
            cubic: Arc::new(cubic),
            cap,
        }
    }
}

impl ControllerFactory for CappedCubic {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.cubic).build(now, current_mtu);
        Box::new(Capped {
            inner,
            least_cap: self.cap,
            cap: self.cap,
        })
    }
}

/// `min(inner, cap)`.
struct Capped {
    inner: Box<dyn Controller>,
    least_cap: u64,
    cap: u64,
}

impl Capped {
    fn adapt(&mut self, shortest_rtt: Duration) {
        let path = 2.0 * PATH_RATE * shortest_rtt.as_secs_f64();
        self.cap = self.least_cap.max(path as u64);
    }
}

impl Controller for Capped {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.adapt(rtt.min());
        // A window that grew beyond the cap unseen would have to lose many packets before a loss had any effect.
        let limited = app_limited || self.inner.window() >= self.cap;
        self.inner.on_ack(now, sent, bytes, limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window().min(self.cap)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window().min(self.cap)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(cap: u64) -> Capped {
        let factory = CappedCubic::new(cap, 8972);
        Capped {
            inner: Arc::clone(&factory.cubic).build(Instant::now(), 1452),
            least_cap: cap,
            cap,
        }
    }

    #[test]
    fn the_window_never_exceeds_the_cap_and_shrinks_after_a_loss() {
        let cap = 100_000;
        let mut controller = controller(cap);
        assert_eq!(controller.window(), cap);
        let now = Instant::now();
        controller.on_congestion_event(now, now, false, 1452);
        assert_eq!(controller.window(), 70_000);
    }

    #[test]
    fn the_first_flight_fits_into_the_first_window() {
        assert!(controller(1 << 20).initial_window() >= 10 * 8972);
    }

    #[test]
    fn a_long_path_gets_a_larger_cap() {
        let mut controller = controller(512 << 10);
        controller.adapt(Duration::from_micros(100));
        assert_eq!(controller.cap, 512 << 10);
        controller.adapt(Duration::from_millis(2));
        assert_eq!(controller.cap, 5_000_000);
    }
}
