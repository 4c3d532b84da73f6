//! Tables for the active resource manager alone; [`super::super::simulation`] has the properties of the whole.

use super::*;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

fn manager(placement: PlacementStrategy, slots: &[u32], max: Option<u32>) -> ActiveResourceManager {
    let hosts = (1..).zip(slots).map(|(number, slots)| HostCapacity {
        host: format!("h{number}"),
        slots: *slots,
    });
    let config = ActiveConfig {
        hosts: hosts.collect(),
        accepts_unknown: slots.is_empty(),
        placement,
        max_task_managers: max,
        start_timeout: START_TIMEOUT,
        stop_grace: STOP_GRACE,
    };
    ActiveResourceManager::new(config, IdSource::new([3; 8]))
}

fn fault(host: &str) -> HostFault {
    HostFault {
        host: host.to_owned(),
        code: "ssh.refused".to_owned(),
        message: "refused".to_owned(),
        help: None,
    }
}

fn started(actions: &[ActiveAction]) -> Vec<(TaskManagerId, &str)> {
    let start = |action: &'_ ActiveAction| match action {
        ActiveAction::Start { id, .. } => Some(*id),
        _ => None,
    };
    let host = |action: &ActiveAction| matches!(action, ActiveAction::Start { .. });
    let hosts = actions.iter().filter(|action| host(action)).map(|action| match action {
        ActiveAction::Start { host, .. } => host.as_str(),
        _ => "",
    });
    actions.iter().filter_map(start).zip(hosts).collect()
}

/// Requests slots and returns the hosts that are started.
fn request(manager: &mut ActiveResourceManager, now: Instant, slots: u32) -> Vec<TaskManagerId> {
    let actions = manager.handle(now, ActiveEvent::Request { slots });
    started(&actions).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn choices_of_hosts() {
    use PlacementStrategy::{Pack, Spread};
    // Placement, slots of the hosts, most TaskManagers, slots wanted, hosts chosen.
    let cases: [(_, &[u32], _, u32, &[&str]); 9] = [
        (Spread, &[4, 4, 4], None, 1, &["h1"]),
        (Spread, &[4, 4, 4], None, 2, &["h1", "h2"]),
        (Spread, &[4, 4, 4], None, 12, &["h1", "h2", "h3"]),
        (Spread, &[4, 4, 4], Some(2), 8, &["h1", "h2"]),
        (Spread, &[1, 2, 8], Some(2), 9, &["h3", "h2"]),
        (Pack, &[4, 4, 4], None, 4, &["h1"]),
        (Pack, &[4, 4, 4], None, 5, &["h1", "h2"]),
        (Pack, &[2, 8, 4], None, 8, &["h2"]),
        (Pack, &[2, 8, 4], None, 9, &["h2", "h3"]),
    ];
    for (placement, slots, max, wanted, expected) in cases {
        let mut manager = manager(placement, slots, max);
        let actions = manager.handle(Instant::now(), ActiveEvent::Request { slots: wanted });
        let hosts: Vec<_> = started(&actions).into_iter().map(|(_, host)| host).collect();
        assert_eq!(hosts, expected, "{placement:?} {slots:?} {max:?} {wanted}");
    }
}

#[test]
fn capacity_is_what_could_be_chosen() {
    let mut manager = manager(PlacementStrategy::Spread, &[1, 2, 8], Some(2));
    let capacity = manager.capacity();
    assert_eq!(
        (capacity.startable_hosts, capacity.startable_slots, capacity.unbounded),
        (2, 10, false)
    );
    request(&mut manager, Instant::now(), 10);
    let capacity = manager.capacity();
    assert_eq!((capacity.startable_hosts, capacity.startable_slots), (0, 0));
}

#[test]
fn a_failed_host_is_left_alone_for_longer_and_longer() {
    let mut manager = manager(PlacementStrategy::Spread, &[4, 4], None);
    let mut now = Instant::now();
    for (hosts, exclusion) in [("h1", 30), ("h2", 30), ("h1", 60), ("h2", 60), ("h1", 120)] {
        let actions = manager.handle(now, ActiveEvent::Request { slots: 1 });
        let [(id, host)] = started(&actions)[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(host, hosts);
        let actions = manager.handle(
            now,
            ActiveEvent::Failed {
                id,
                fault: fault(hosts),
            },
        );
        assert_eq!(
            actions,
            [
                ActiveAction::StartFailed {
                    id,
                    fault: fault(hosts)
                },
                ActiveAction::Gone { id, left_behind: None }
            ]
        );
        let excluded = manager.excluded_hosts(now);
        assert!(excluded.contains(&(4, fault(hosts))), "{excluded:?}");
        if hosts == "h2" {
            assert_eq!(request(&mut manager, now, 1), []);
            now += Duration::from_secs(exclusion);
            assert_eq!(
                manager.handle(now, ActiveEvent::Tick),
                [ActiveAction::HostAvailable, ActiveAction::HostAvailable]
            );
        }
    }
}

#[test]
fn a_registration_makes_up_for_failures() {
    let mut manager = manager(PlacementStrategy::Spread, &[4], None);
    let mut now = Instant::now();
    for _ in 0..3 {
        let id = request(&mut manager, now, 1)[0];
        manager.handle(now, ActiveEvent::Failed { id, fault: fault("h1") });
        now = manager.deadline().unwrap();
        manager.handle(now, ActiveEvent::Tick);
    }
    let id = request(&mut manager, now, 1)[0];
    assert!(manager.admit(id));
    assert!(!manager.admit(id), "only once");
    manager.handle(
        now,
        ActiveEvent::Disconnected {
            id,
            ended: false,
            fault: fault("h1"),
        },
    );
    manager.handle(now, ActiveEvent::Stopped { id, left_behind: None });
    assert_eq!(manager.deadline(), Some(now + FIRST_EXCLUSION));
}

#[test]
fn a_start_that_takes_too_long_is_stopped_and_the_host_is_occupied_until_then() {
    let mut manager = manager(PlacementStrategy::Spread, &[4], None);
    let now = Instant::now();
    let id = request(&mut manager, now, 1)[0];
    assert_eq!((manager.starting(), manager.deadline()), (1, Some(now + START_TIMEOUT)));
    let actions = manager.handle(now + START_TIMEOUT, ActiveEvent::Tick);
    let [
        ActiveAction::StartFailed { fault, .. },
        ActiveAction::Stop { id: stopped },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (fault.code.as_str(), fault.host.as_str(), *stopped),
        ("taskmanager.start-timeout", "h1", id)
    );
    assert!(!manager.admit(id), "it comes too late");
    let later = now + START_TIMEOUT + FIRST_EXCLUSION;
    assert_eq!(manager.handle(later, ActiveEvent::Tick), []);
    let actions = manager.handle(later, ActiveEvent::Stopped { id, left_behind: None });
    assert_eq!(
        actions,
        [
            ActiveAction::HostAvailable,
            ActiveAction::Gone { id, left_behind: None }
        ]
    );
}

#[test]
fn endings() {
    let closes = |ended| {
        move |id| ActiveEvent::Disconnected {
            id,
            ended,
            fault: fault("h1"),
        }
    };
    type Event = Box<dyn Fn(TaskManagerId) -> ActiveEvent>;
    // Whether it was released before; what happens then; whether the provider has to see to it.
    let cases: [(bool, Event, bool); 4] = [
        (true, Box::new(closes(true)), false),
        (true, Box::new(closes(false)), true),
        (false, Box::new(closes(true)), true),
        (false, Box::new(closes(false)), true),
    ];
    for (released, event, is_stopped) in cases {
        let mut manager = manager(PlacementStrategy::Spread, &[4], None);
        let now = Instant::now();
        let id = request(&mut manager, now, 1)[0];
        assert!(manager.admit(id));
        if released {
            let actions = manager.handle(now, ActiveEvent::Release { id });
            assert_eq!(actions, [ActiveAction::Shutdown { id }]);
            assert_eq!(manager.handle(now, ActiveEvent::Release { id }), [], "once is enough");
        }
        let event = event(id);
        let actions = manager.handle(now, event.clone());
        assert_eq!(
            actions.contains(&ActiveAction::Stop { id }),
            is_stopped,
            "{released} {event:?}: {actions:?}"
        );
        assert_eq!(manager.task_managers().is_empty(), !is_stopped);
    }
}

#[test]
fn one_that_does_not_end_when_told_is_stopped_and_what_nobody_can_vouch_for_is_named() {
    let mut manager = manager(PlacementStrategy::Spread, &[4], None);
    let now = Instant::now();
    let id = request(&mut manager, now, 1)[0];
    assert!(manager.admit(id));
    manager.handle(now, ActiveEvent::Release { id });
    assert_eq!(
        manager.handle(now + STOP_GRACE, ActiveEvent::Tick),
        [ActiveAction::Stop { id }]
    );
    let stopped = ActiveEvent::Stopped {
        id,
        left_behind: Some(fault("h1")),
    };
    let actions = manager.handle(now + STOP_GRACE, stopped);
    assert_eq!(
        actions,
        [ActiveAction::Gone {
            id,
            left_behind: Some(fault("h1"))
        }]
    );
    assert_eq!(manager.excluded_hosts(now + STOP_GRACE).len(), 1);
}

#[test]
fn a_start_that_is_no_longer_wanted_is_stopped_and_the_host_comes_back() {
    let mut manager = manager(PlacementStrategy::Spread, &[4], None);
    let now = Instant::now();
    let id = request(&mut manager, now, 1)[0];
    assert_eq!(
        manager.handle(now, ActiveEvent::Release { id }),
        [ActiveAction::Stop { id }]
    );
    assert_eq!(manager.capacity().returning_slots, 4);
    // The provider may find that it had failed anyway.
    manager.handle(now, ActiveEvent::Failed { id, fault: fault("h1") });
    assert_eq!(manager.capacity().startable_slots, 4);
}

#[test]
fn standalone_task_managers_are_let_in_told_to_end_and_not_stopped() {
    let mut manager = manager(PlacementStrategy::Spread, &[], None);
    let (now, id) = (Instant::now(), TaskManagerId::random());
    assert!(manager.capacity().unbounded);
    assert!(manager.admit(id));
    assert!(!manager.admit(id));
    assert_eq!(
        manager.handle(now, ActiveEvent::Release { id }),
        [ActiveAction::Shutdown { id }]
    );
    let actions = manager.handle(now + STOP_GRACE, ActiveEvent::Tick);
    let [
        ActiveAction::Gone {
            left_behind: Some(fault),
            ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(fault.code, "taskmanager.stop-timeout");
    assert!(manager.admit(id), "it may come back");
}
