use super::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn step(host: &str, what: &str) -> Event {
    Event::Step(Phase::Connecting, host.to_owned(), what.to_owned())
}

fn done(host: &str) -> Event {
    Event::Done(Phase::Connecting, host.to_owned())
}

fn vertex(name: &str, state: &str, rate: f64) -> Vertex {
    Vertex {
        name: name.to_owned(),
        state: state.to_owned(),
        subtasks: 4,
        parallelism: 4,
        records_in: rate,
        records_out: rate / 2.0,
    }
}

/// Feeds events, ticking every 100 ms in between as the sink does, and returns what stays with the time it appeared.
fn play(style: Style, events: Vec<(u64, Event)>, until: u64) -> Vec<String> {
    let mut state = State::new(style, at(0));
    let mut events = events.into_iter().peekable();
    let mut seen = Vec::new();
    for now in (0..=until).step_by(100) {
        while let Some((time, event)) = events.next_if(|(time, _)| *time <= now) {
            state.apply(at(time), event);
        }
        state.tick(at(now));
        seen.extend(state.take_lines().into_iter().map(|line| format!("{now:>6} {line}")));
    }
    seen
}

fn slow_start() -> Vec<(u64, Event)> {
    let mut events = vec![(0, Event::Begin(Phase::Connecting, 8))];
    for host in 1..=8 {
        events.push((host * 10, step(&format!("tm{host:02}"), "connecting")));
    }
    events.push((500, step("tm07", "authenticating")));
    events.push((900, done("tm01")));
    events.push((10_500, done("tm02")));
    for host in 3..=6 {
        events.push((11_000, done(&format!("tm{host:02}"))));
    }
    events.push((
        12_000,
        Event::Failed(Phase::Connecting, "tm08".to_owned(), "Connection refused".to_owned()),
    ));
    events.push((21_000, done("tm07")));
    events.push((21_000, Event::End(Phase::Connecting)));
    events
}

#[test]
fn plain_lines_name_what_is_waited_for() {
    insta::assert_snapshot!(play(Style::Plain, slow_start(), 22_000).join("\n"));
}

#[test]
fn live_keeps_only_what_stays() {
    insta::assert_snapshot!(play(Style::Live, slow_start(), 22_000).join("\n"));
}

#[test]
fn a_quick_command_prints_one_line_per_phase() {
    let events = vec![
        (0, Event::Begin(Phase::Connecting, 1)),
        (20, done("tm01")),
        (30, Event::End(Phase::Connecting)),
        (30, Event::Begin(Phase::Uploading, 0)),
        (30, Event::End(Phase::Uploading)),
        (40, Event::Begin(Phase::Slots, 4)),
        (60, Event::Count(Phase::Slots, 4, 4)),
        (1_260, Event::End(Phase::Slots)),
    ];
    assert_eq!(
        play(Style::Plain, events, 2_000),
        ["   100 Connected  1/1  30ms", "  1300 Hosts      4/4  1.2s"]
    );
}

#[test]
fn something_is_visible_after_100_ms() {
    let seen = play(Style::Plain, vec![(0, Event::Begin(Phase::Connecting, 3))], 300);
    assert_eq!(seen, ["   100 Connecting 0/3 ..."]);
}

#[test]
fn live_names_the_slowest_host() {
    let mut state = State::new(Style::Live, at(0));
    state.apply(at(0), Event::Begin(Phase::Connecting, 40));
    state.apply(at(0), step("tm07", "connecting"));
    state.apply(at(5), step("tm08", "connecting"));
    state.apply(at(1_000), step("tm07", "authenticating"));
    let live = |state: &State, now| state.live(at(now)).remove(0);
    let expected = Live {
        title: "Connecting",
        position: Some((0, 40)),
        text: "tm07: authenticating 4.0s".to_owned(),
    };
    assert_eq!(live(&state, 5_000), expected);
    state.apply(at(6_000), done("tm07"));
    state.apply(
        at(6_000),
        Event::Failed(Phase::Connecting, "tm09".to_owned(), "no".to_owned()),
    );
    let expected = Live {
        title: "Connecting",
        position: Some((1, 40)),
        text: "(1 failed)  tm08: connecting 5.9s".to_owned(),
    };
    assert_eq!(live(&state, 6_000), expected);
}

#[test]
fn a_running_job_has_a_line_per_vertex() {
    let mut state = State::new(Style::Live, at(0));
    state.apply(at(0), Event::Begin(Phase::Running, 0));
    let long = "source: text -> tokenize -> a name that nobody would want to read to its end";
    state.apply(
        at(10),
        Event::Vertices(vec![vertex(long, "RUNNING", 1.2e6), vertex("count", "DEPLOYING", 0.0)]),
    );
    let lines: Vec<String> = state
        .live(at(2_000))
        .into_iter()
        .map(|live| format!("{}|{}", live.title, live.text))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    state.apply(at(3_000), Event::End(Phase::Running));
    assert!(state.live(at(3_000)).is_empty());
    assert_eq!(state.take_lines(), ["Ran         3.0s"]);
}

#[test]
fn plain_lines_of_a_running_job() {
    let mut events = vec![(0, Event::Begin(Phase::Running, 0))];
    for second in 0..=12 {
        let state = if second == 0 { "DEPLOYING" } else { "RUNNING" };
        events.push((
            second * 1000,
            Event::Vertices(vec![vertex("source", state, 9.5e5), vertex("count", "RUNNING", 4e5)]),
        ));
    }
    events.push((
        12_500,
        Event::Vertices(vec![vertex("source", "FINISHED", 0.0), vertex("count", "RUNNING", 4e5)]),
    ));
    insta::assert_snapshot!(play(Style::Plain, events, 13_000).join("\n"));
}

#[test]
fn a_stuck_terminal_costs_lines_not_memory() {
    let mut state = State::new(Style::Plain, at(0));
    for line in 0..BACKLOG + 3 {
        state.apply(at(0), Event::Note(line.to_string()));
    }
    let lines = state.take_lines();
    assert_eq!(lines.len(), BACKLOG + 1);
    assert_eq!(lines[0], "(3 lines left out: the terminal did not take them)");
    assert_eq!(lines[1], "3");
}

#[test]
fn events_of_a_phase_nobody_began() {
    let mut state = State::new(Style::Plain, at(0));
    state.apply(at(0), done("tm01"));
    state.apply(at(0), Event::End(Phase::Starting));
    state.apply(at(50), Event::End(Phase::Connecting));
    assert_eq!(state.take_lines(), ["Connected  1/1  50ms"]);
}
