//! When to send which probe: rounds in which only what is unanswered is sent again. No socket and no clock.

use std::time::Duration;

use super::packet::Probe;
use super::{Answer, LEAST_PAYLOAD, Source, Target};

/// When the rounds begin. A first packet may be lost to address resolution, several to a burst.
const ROUNDS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(450),
    Duration::from_millis(700),
    Duration::from_millis(1000),
];
/// After this time what is unanswered stays so.
const DEADLINE: Duration = Duration::from_millis(1500);

/// The probes to a list of targets. Times are since its beginning.
#[derive(Debug)]
pub(super) struct Probing {
    targets: Vec<State>,
    payload: u16,
    round: usize,
}

#[derive(Debug)]
struct State {
    wants_whole: bool,
    answer: Answer,
}

impl State {
    /// Whether its answer cannot become better.
    fn is_settled(&self) -> bool {
        self.answer.round_trip.is_some() && (self.answer.whole || !self.wants_whole)
    }
}

impl Probing {
    /// `payload`: bytes of a packet of the full size.
    pub(super) fn new(targets: &[Target], payload: u16) -> Self {
        let state = |target: &Target| State {
            wants_whole: target.from == Source::Worker,
            answer: Answer::default(),
        };
        Self {
            targets: targets.iter().map(state).collect(),
            payload,
            round: 0,
        }
    }

    /// The probes of the round that begins now.
    pub(super) fn round(&mut self) -> Vec<Probe> {
        let attempt = u8::try_from(self.round).unwrap_or(u8::MAX);
        self.round += 1;
        let mut probes = Vec::new();
        for (target, state) in (0..).zip(&self.targets) {
            let mut send = |whole, size| {
                probes.push(Probe {
                    target,
                    attempt,
                    whole,
                    size,
                });
            };
            if state.answer.round_trip.is_none() {
                send(false, LEAST_PAYLOAD);
            }
            if state.wants_whole && !state.answer.whole {
                send(true, self.payload);
            }
        }
        probes
    }

    /// When the next round begins, or, after the last one, when the time is up. `None`: nothing is left to wait for.
    pub(super) fn next(&self) -> Option<Duration> {
        if self.targets.iter().all(State::is_settled) || self.round > ROUNDS.len() {
            return None;
        }
        Some(ROUNDS.get(self.round).copied().unwrap_or(DEADLINE))
    }

    /// An answer arrived.
    pub(super) fn answered(&mut self, now: Duration, probe: Probe) {
        let state = usize::try_from(probe.target)
            .ok()
            .and_then(|at| self.targets.get_mut(at));
        let sent = ROUNDS.get(usize::from(probe.attempt));
        if let (Some(state), Some(sent)) = (state, sent) {
            state.answer.round_trip.get_or_insert_with(|| now.saturating_sub(*sent));
            state.answer.whole |= probe.whole;
            state.answer.error = None;
        }
    }

    /// A probe could not be sent. That a whole one is too large for this host's own network card is not worth an error.
    pub(super) fn failed(&mut self, probe: Probe, error: String) {
        let state = usize::try_from(probe.target)
            .ok()
            .and_then(|at| self.targets.get_mut(at));
        if let Some(state) = state.filter(|state| !probe.whole && state.answer.round_trip.is_none()) {
            state.answer.error = Some(error);
        }
    }

    /// What came of it, in the order of the targets.
    pub(super) fn finish(self) -> Vec<Answer> {
        self.targets.into_iter().map(|state| state.answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probing(from: &[Source]) -> Probing {
        let target = |&from: &Source| Target {
            address: ([10, 0, 0, 1], 1).into(),
            from,
        };
        Probing::new(&from.iter().map(target).collect::<Vec<_>>(), 1452)
    }

    fn sent(probes: &[Probe]) -> Vec<(u32, bool, u16)> {
        probes
            .iter()
            .map(|probe| (probe.target, probe.whole, probe.size))
            .collect()
    }

    #[test]
    fn only_what_is_unanswered_is_sent_again() {
        let mut probing = probing(&[Source::Worker, Source::Client]);
        assert_eq!(probing.next(), Some(Duration::ZERO));
        let first = probing.round();
        assert_eq!(sent(&first), [(0, false, 1200), (0, true, 1452), (1, false, 1200)]);
        probing.answered(Duration::from_millis(3), first[0]);
        probing.answered(Duration::from_millis(4), first[2]);
        assert_eq!(probing.next(), Some(ROUNDS[1]));
        let second = probing.round();
        assert_eq!(sent(&second), [(0, true, 1452)]);
        probing.answered(Duration::from_millis(101), second[0]);
        assert_eq!(probing.next(), None);
        let answers = probing.finish();
        assert_eq!(answers[0].round_trip, Some(Duration::from_millis(3)));
        assert!(answers[0].whole && answers[1].round_trip.is_some());
    }

    #[test]
    fn an_answer_belongs_to_its_own_attempt() {
        let mut probing = probing(&[Source::Client]);
        let _lost = probing.round();
        let second = probing.round();
        probing.answered(Duration::from_millis(102), second[0]);
        assert_eq!(probing.finish()[0].round_trip, Some(Duration::from_millis(2)));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let mut probing = probing(&[Source::Worker]);
        for round in ROUNDS {
            assert_eq!(probing.next(), Some(round));
            assert_eq!(probing.round().len(), 2);
        }
        assert_eq!(probing.next(), Some(DEADLINE));
        let _last = probing.round();
        assert_eq!(probing.next(), None);
        assert_eq!(probing.finish(), [Answer::default()]);
    }

    #[test]
    fn an_error_lasts_until_an_answer() {
        let mut probing = probing(&[Source::Worker]);
        let probes = probing.round();
        probing.failed(probes[1], "message too long".to_owned());
        assert_eq!(probing.targets[0].answer.error, None);
        probing.failed(probes[0], "network unreachable".to_owned());
        assert!(probing.targets[0].answer.error.is_some());
        probing.answered(Duration::ZERO, probes[0]);
        assert_eq!(probing.targets[0].answer.error, None);
    }

    #[test]
    fn without_targets_there_is_nothing_to_wait_for() {
        assert_eq!(probing(&[]).next(), None);
    }
}
