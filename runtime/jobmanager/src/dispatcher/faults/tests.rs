use flink_graph::{JobVertex, VertexId};

use super::*;

fn graph(parallelism: u32) -> JobGraph {
    let vertex = JobVertex {
        id: VertexId::from_bytes([1; 16]),
        name: "keyed-window".to_owned(),
        nodes: vec![0],
        parallelism,
        max_parallelism: 128,
        slot_sharing_group: "default".to_owned(),
        operators: Vec::new(),
    };
    JobGraph {
        name: "wordcount".to_owned(),
        vertices: vec![vertex],
        edges: Vec::new(),
    }
}

fn shortage(required: u32, offer: u32) -> Shortage {
    Shortage {
        required,
        offer,
        task_managers: 16,
        slots: 64,
        used_by_others: vec![(JobId::from_bytes([2; 16]), 44)],
        startable: 0,
        standalone: false,
        waited: Duration::from_secs(60),
    }
}

#[test]
fn a_cluster_that_is_too_small_is_described_in_numbers() {
    let names = BTreeMap::from([(JobId::from_bytes([2; 16]), "etl".to_owned())]);
    let fault = slots_insufficient(&graph(24), &shortage(24, 20), &names, Vec::new());
    assert_eq!(fault.code, "slots.insufficient");
    assert_eq!(
        fault.message,
        "job \"wordcount\" needs 24 slots, the cluster can offer 20"
    );
    assert_eq!(
        fault.notes,
        [
            "16 TaskManagers with 64 slots | 44 used by job \"etl\" | 0 hosts can still be started",
            "largest vertex: `keyed-window` with parallelism 24",
            "waited 60s",
        ]
    );
    assert!(fault.help.unwrap().starts_with("-p 20, or "));
}

#[test]
fn who_starts_task_managers_by_hand_is_told_to_start_more() {
    let shortage = Shortage {
        standalone: true,
        used_by_others: Vec::new(),
        ..shortage(24, 20)
    };
    let fault = slots_insufficient(&graph(24), &shortage, &BTreeMap::new(), Vec::new());
    assert_eq!(fault.notes[0], "16 TaskManagers with 64 slots");
    assert_eq!(
        fault.help.as_deref(),
        Some("-p 20, or start more TaskManagers: flinkctl taskmanager --join FILE --slots N")
    );
}

#[test]
fn slots_that_came_too_late_are_not_called_too_few() {
    let fault = slots_insufficient(&graph(20), &shortage(20, 20), &BTreeMap::new(), Vec::new());
    assert_eq!(fault.code, "slots.insufficient");
    assert_eq!(
        fault.message,
        "job \"wordcount\" needs 20 slots, and did not get them in time"
    );
    assert!(fault.help.unwrap().contains("--slot-timeout"));
}

#[test]
fn when_failed_hosts_would_have_been_enough_they_are_the_reason() {
    let failed = HostFault {
        host: "h3".to_owned(),
        code: "ssh.refused".to_owned(),
        message: "Connection refused".to_owned(),
        help: None,
    };
    let fault = slots_insufficient(
        &graph(24),
        &shortage(24, 20),
        &BTreeMap::new(),
        vec![(4, failed.clone())],
    );
    assert_eq!(
        (fault.code.as_str(), &fault.hosts[..]),
        ("ssh.refused", &[failed.clone()][..])
    );
    assert_eq!(
        fault.message,
        "job \"wordcount\" needs 24 slots, the cluster can offer 20: 1 host failed"
    );
    let fault = slots_insufficient(
        &graph(25),
        &shortage(25, 20),
        &BTreeMap::new(),
        vec![(4, failed.clone())],
    );
    assert_eq!(
        (fault.code.as_str(), &fault.hosts[..]),
        ("slots.insufficient", &[failed][..])
    );
}

#[test]
fn the_end_of_a_connection_in_words() {
    let closed = |reason: &str| ConnectionEnd::Closed {
        reason: reason.to_owned(),
    };
    let broken = ConnectionEnd::Broken {
        reason: "reset".to_owned(),
    };
    let cases = [
        (
            ConnectionEnd::Silent,
            None,
            "taskmanager.lost",
            "is lost: no sign of life for 3s",
        ),
        (broken.clone(), None, "taskmanager.lost", "is lost: reset"),
        (closed(""), None, "taskmanager.ended", "ended: it did not say why"),
        (
            closed("out of memory"),
            None,
            "taskmanager.ended",
            "ended: out of memory",
        ),
        (broken, Some("SIGTERM"), "taskmanager.ended", "ended: SIGTERM"),
    ];
    for (end, announced, code, words) in cases {
        let (fault, failure) = task_manager_lost("h2", &end, announced, Duration::from_secs(3));
        assert_eq!((fault.code.as_str(), fault.host.as_str()), (code, "h2"));
        assert_eq!(fault.message, format!("the TaskManager {words}"));
        assert_eq!(
            (failure.kind, failure.message),
            (TaskFailureKind::TaskManagerLost, fault.message)
        );
    }
}
