//! Tables for the slot manager alone; [`super::super::simulation`] has the properties of the whole.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(30);

fn id(number: u8) -> TaskManagerId {
    TaskManagerId::from_bytes([number; 16])
}

fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

/// A slot manager, and the time.
struct Bench {
    slots: SlotManager,
    now: Instant,
}

impl Bench {
    fn new(placement: PlacementStrategy) -> Self {
        Self {
            slots: SlotManager::new(placement, Some(IDLE), IdSource::new([7; 8])),
            now: Instant::now(),
        }
    }

    /// With these TaskManagers, numbered from 1.
    fn with_task_managers(placement: PlacementStrategy, slots: &[u32]) -> Self {
        let mut bench = Self::new(placement);
        for (number, slots) in (1..).zip(slots) {
            assert_eq!(
                bench.event(SlotEvent::Registered {
                    id: id(number),
                    slots: *slots
                }),
                []
            );
        }
        bench
    }

    fn startable(mut self, hosts: u32, slots: u32) -> Self {
        self.slots.set_capacity(Capacity {
            startable_hosts: hosts,
            startable_slots: slots,
            ..Capacity::default()
        });
        self
    }

    fn event(&mut self, event: SlotEvent) -> Vec<SlotAction> {
        self.slots.handle(self.now, event)
    }

    fn declare(&mut self, number: u8, slots: u32) -> Vec<SlotAction> {
        self.event(SlotEvent::Declare {
            job: job(number),
            slots,
            timeout: TIMEOUT,
        })
    }

    fn after(&mut self, time: Duration) -> Vec<SlotAction> {
        self.now += time;
        self.event(SlotEvent::Tick)
    }

    /// Goes to the next check; the allocations by job and TaskManager, in numbers.
    fn check(&mut self) -> Vec<(JobId, TaskManagerId, usize)> {
        allocations(&self.after(CHECK_DELAY))
    }
}

fn allocations(actions: &[SlotAction]) -> Vec<(JobId, TaskManagerId, usize)> {
    let allocation = |action: &SlotAction| match action {
        SlotAction::Allocate { job, id, allocations } => Some((*job, *id, allocations.len())),
        _ => None,
    };
    actions.iter().filter_map(allocation).collect()
}

#[test]
fn placements() {
    use PlacementStrategy::{Pack, Spread};
    // Placement, slots of the TaskManagers, slots needed, how many are taken of each.
    let cases: [(_, &[u32], u32, &[usize]); 8] = [
        (Spread, &[4, 4, 4], 3, &[1, 1, 1]),
        (Spread, &[4, 4, 4], 7, &[3, 2, 2]),
        (Spread, &[4, 4, 4], 12, &[4, 4, 4]),
        // The share that is used decides, not the number.
        (Spread, &[2, 8], 5, &[1, 4]),
        (Pack, &[4, 4, 4], 3, &[3, 0, 0]),
        (Pack, &[4, 4, 4], 6, &[4, 2, 0]),
        (Pack, &[2, 8, 4], 8, &[0, 8, 0]),
        (Pack, &[2, 8, 4], 10, &[0, 8, 2]),
    ];
    for (placement, task_managers, needed, expected) in cases {
        let mut bench = Bench::with_task_managers(placement, task_managers);
        assert_eq!(bench.declare(1, needed), []);
        let got = bench.check();
        let taken = |number| {
            got.iter()
                .filter(|(_, taken, _)| *taken == id(number))
                .map(|(.., slots)| slots)
                .sum()
        };
        let taken: Vec<usize> = (1..=task_managers.len() as u8).map(taken).collect();
        assert_eq!(taken, expected, "{placement:?} {task_managers:?} {needed}");
    }
}

#[test]
fn changes_are_collected_for_the_check_delay() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[4]);
    assert_eq!(bench.declare(1, 1), []);
    bench.now += CHECK_DELAY / 2;
    assert_eq!(bench.declare(1, 3), []);
    assert_eq!(bench.after(CHECK_DELAY / 4), []);
    assert_eq!(allocations(&bench.after(CHECK_DELAY / 4)), [(job(1), id(1), 3)]);
}

#[test]
fn registered_first_then_starting_then_new_ones() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[2]).startable(3, 12);
    bench.declare(1, 4);
    let actions = bench.after(CHECK_DELAY);
    assert_eq!(allocations(&actions), [(job(1), id(1), 2)]);
    assert_eq!(actions.last(), Some(&SlotAction::Request { slots: 2 }));
    bench.event(SlotEvent::Starting { id: id(2), slots: 4 });
    assert_eq!(
        bench.event(SlotEvent::Tick),
        [],
        "what was asked for is planned at once, without another request"
    );
    // The next job fits beside the first one.
    bench.declare(2, 2);
    assert_eq!(bench.after(CHECK_DELAY), []);
    let actions = bench.event(SlotEvent::Registered { id: id(2), slots: 4 });
    assert_eq!(allocations(&actions), [(job(1), id(2), 2), (job(2), id(2), 2)]);
}

#[test]
fn a_task_manager_with_fewer_slots_than_promised() {
    let mut bench = Bench::new(PlacementStrategy::Spread).startable(1, 4);
    bench.declare(1, 4);
    assert_eq!(bench.after(CHECK_DELAY), [SlotAction::Request { slots: 4 }]);
    bench.event(SlotEvent::Starting { id: id(1), slots: 4 });
    bench.event(SlotEvent::Tick);
    let mut bench = bench.startable(0, 0);
    assert_eq!(
        allocations(&bench.event(SlotEvent::Registered { id: id(1), slots: 3 })),
        [(job(1), id(1), 3)]
    );
    let actions = bench.after(CHECK_DELAY);
    assert!(
        matches!(&actions[..], [SlotAction::NotEnough { shortage, .. }] if shortage.offer == 3),
        "{actions:?}"
    );
}

#[test]
fn what_can_never_be_is_refused_at_once_and_what_is_only_used_is_waited_for() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[4, 4]).startable(1, 4);
    bench.declare(1, 6);
    assert_eq!(bench.check().len(), 2);
    bench.declare(2, 13);
    let actions = bench.after(CHECK_DELAY);
    let shortage = Shortage {
        required: 13,
        offer: 6,
        task_managers: 2,
        slots: 8,
        used_by_others: vec![(job(1), 6)],
        startable: 1,
        standalone: false,
        waited: CHECK_DELAY,
    };
    assert_eq!(actions, [SlotAction::NotEnough { job: job(2), shortage }]);
    bench.declare(2, 0);
    // All that there is, but not now.
    bench.declare(3, 12);
    assert_eq!(bench.after(CHECK_DELAY), []);
    bench.declare(1, 0);
    let actions = bench.after(CHECK_DELAY);
    assert_eq!(allocations(&actions).iter().map(|(.., slots)| slots).sum::<usize>(), 8);
    assert_eq!(actions.last(), Some(&SlotAction::Request { slots: 4 }));
}

#[test]
fn a_job_that_waits_too_long_is_told_the_numbers_once() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[4]);
    bench.declare(1, 3);
    bench.check();
    bench.declare(2, 2);
    assert_eq!(bench.after(CHECK_DELAY), []);
    assert_eq!(bench.slots.deadline(), Some(bench.now - CHECK_DELAY + TIMEOUT));
    let actions = bench.after(TIMEOUT - CHECK_DELAY);
    let [SlotAction::NotEnough { job: short, shortage }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (*short, shortage.required, shortage.offer, shortage.waited),
        (job(2), 2, 1, TIMEOUT)
    );
    assert_eq!(bench.after(TIMEOUT), []);
}

#[test]
fn nothing_is_assigned_to_a_job_that_cannot_have_all() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[4, 4]);
    bench.declare(1, 5);
    bench.check();
    bench.declare(2, 5);
    bench.declare(3, 3);
    assert_eq!(
        bench.check().iter().map(|(job, ..)| *job).collect::<BTreeSet<_>>(),
        BTreeSet::from([job(3)])
    );
}

#[test]
fn standalone_clusters_wait_for_what_may_come() {
    let mut bench = Bench::new(PlacementStrategy::Spread);
    bench.slots.set_capacity(Capacity {
        unbounded: true,
        ..Capacity::default()
    });
    bench.declare(1, 8);
    assert_eq!(bench.after(CHECK_DELAY), []);
    bench.event(SlotEvent::Registered { id: id(1), slots: 4 });
    assert_eq!(bench.after(CHECK_DELAY), []);
    bench.event(SlotEvent::Registered { id: id(2), slots: 4 });
    assert_eq!(bench.check().len(), 2);
}

#[test]
fn lost_slots_are_replaced_unless_the_job_is_ending() {
    for is_ending in [false, true] {
        let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[2, 2, 2]);
        bench.declare(1, 4);
        let taken = bench.check();
        if is_ending {
            bench.event(SlotEvent::Hold { job: job(1) });
        }
        bench.event(SlotEvent::Lost { id: taken[0].1 });
        let replaced: usize = bench.check().iter().map(|(.., slots)| slots).sum();
        assert_eq!(replaced, if is_ending { 0 } else { taken[0].2 });
    }
}

#[test]
fn a_withdrawn_job_gives_everything_back_and_starts_are_cancelled() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Pack, &[2]).startable(1, 2);
    bench.declare(1, 4);
    bench.after(CHECK_DELAY);
    bench.event(SlotEvent::Starting { id: id(2), slots: 2 });
    bench.event(SlotEvent::Tick);
    let actions = bench.declare(1, 0);
    let [
        SlotAction::Free {
            id: freed, allocations, ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((*freed, allocations.len()), (id(1), 2));
    assert_eq!(bench.after(CHECK_DELAY), [SlotAction::Cancel { id: id(2) }]);
    assert_eq!(bench.slots.free_slots(id(1)), 2);
}

#[test]
fn an_idle_task_manager_is_released_but_not_while_somebody_waits() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Pack, &[2, 2]);
    bench.declare(1, 2);
    let taken = bench.check()[0].1;
    let idle = if taken == id(1) { id(2) } else { id(1) };
    bench.declare(2, 4);
    assert_eq!(bench.after(IDLE), [], "job 2 waits, and will need it");
    bench.declare(2, 0);
    assert_eq!(bench.event(SlotEvent::Tick), [SlotAction::Release { id: idle }]);
    bench.declare(1, 0);
    assert_eq!(bench.after(IDLE - CHECK_DELAY), []);
    assert_eq!(bench.after(CHECK_DELAY), [SlotAction::Release { id: taken }]);
    assert_eq!(bench.slots.deadline(), None);
}

#[test]
fn freed_slots_are_free_and_unknown_ones_are_not() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[2]);
    bench.declare(1, 2);
    let actions = bench.after(CHECK_DELAY);
    let [SlotAction::Allocate { allocations, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    bench.event(SlotEvent::Hold { job: job(1) });
    let foreign = AllocationId::from_bytes([9; 16]);
    bench.event(SlotEvent::Freed {
        id: id(1),
        allocations: vec![allocations[0], foreign],
    });
    assert_eq!(bench.slots.free_slots(id(1)), 1);
    bench.event(SlotEvent::Freed {
        id: id(1),
        allocations: vec![allocations[0]],
    });
    assert_eq!(bench.slots.free_slots(id(1)), 1, "freeing again changes nothing");
}

#[test]
fn a_task_manager_that_leaves_gets_no_more_jobs() {
    let mut bench = Bench::with_task_managers(PlacementStrategy::Spread, &[2, 2]);
    bench.event(SlotEvent::Leaving { id: id(1) });
    bench.declare(1, 2);
    assert_eq!(bench.check(), [(job(1), id(2), 2)]);
    bench.declare(2, 1);
    assert_eq!(bench.after(CHECK_DELAY), []);
}
