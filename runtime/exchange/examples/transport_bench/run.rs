//! Starts the two processes of each case and collects what they say.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use clap::Args;
use flink_graph::{ClusterId, JobId};
use flink_rpc::{ClusterCa, Role};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    case::{Kind, Outcome, Setup},
    report::{Report, Row},
};

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds per case.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Runs of each case; the fastest counts.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// MTUs to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [9000, 1500])]
    mtu: Vec<u16>,
    /// Only cases whose name contains this; the one stream of TLS always runs.
    #[arg(long, default_value = "")]
    only: String,
    /// Address of the sender.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    sender: IpAddr,
    /// Address of the receiver.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    receiver: IpAddr,
    /// Command to start the sender with, for example "ip netns exec left".
    #[arg(long, default_value = "")]
    sender_via: String,
    /// Command to start the receiver with.
    #[arg(long, default_value = "")]
    receiver_via: String,
    /// Cap of data in flight, in KiB, instead of the default.
    #[arg(long)]
    in_flight_cap: Option<u64>,
    /// Window of a channel, in KiB, instead of the default.
    #[arg(long)]
    stream_window: Option<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const CASES: [(&str, Kind); 8] = [
    ("tcp+tls, 1 stream", Kind::Tls),
    ("1 KiB records, 1 channel", Kind::Large { channels: 1 }),
    ("1 KiB records, 64 channels", Kind::Large { channels: 64 }),
    ("103 B records, 64 channels", Kind::Small { channels: 64 }),
    ("64 pairs, none stalled", Kind::Stalled { stalled: 0 }),
    ("64 pairs, 1 stalled", Kind::Stalled { stalled: 1 }),
    ("tcp+tls, 1 msg/ms beside bulk", Kind::TlsLatency),
    ("1 msg/ms beside 64 bulk", Kind::Latency),
];

/// IPv4 and UDP headers.
const HEADERS: u16 = 28;

pub(crate) fn run(options: &Options) -> io::Result<()> {
    let mut report = Report::default();
    for mtu in &options.mtu {
        for (name, kind) in CASES {
            if kind != Kind::Tls && !name.contains(&options.only) {
                continue;
            }
            let outcomes = (0..options.runs)
                .map(|_| case(options, *mtu, kind))
                .collect::<io::Result<Vec<_>>>()?;
            report
                .rows
                .extend(best(&outcomes).map(|(sent, received)| Row::new(name, *mtu, kind, sent, received)));
        }
    }
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", report.to_json()?)
    } else {
        write!(out, "{report}")
    }
}

/// Of disturbed runs the best one says most; for latencies that is the one with the lowest 99th percentile.
fn best(outcomes: &[(Outcome, Outcome)]) -> Option<&(Outcome, Outcome)> {
    outcomes.iter().min_by(|(_, a), (_, b)| {
        let cost = |outcome: &Outcome| match outcome.latencies.len() {
            0 => outcome.elapsed.as_secs_f64() / outcome.bytes.max(1) as f64,
            count => outcome.latencies[count * 99 / 100] as f64,
        };
        cost(a).total_cmp(&cost(b))
    })
}

fn case(options: &Options, mtu: u16, kind: Kind) -> io::Result<(Outcome, Outcome)> {
    let job = JobId::random();
    let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(3600)).map_err(io::Error::other)?;
    let setup = |bind| -> io::Result<Setup> {
        let identity = ca.issue(Role::Worker(job)).map_err(io::Error::other)?;
        let duration = Duration::from_secs(options.seconds);
        let in_flight_cap = options.in_flight_cap.map(|cap| cap << 10);
        let stream_window = options.stream_window.map(|window| window << 10);
        let udp_payload = mtu - HEADERS;
        Ok(Setup {
            kind,
            identity,
            job,
            bind,
            udp_payload,
            in_flight_cap,
            stream_window,
            duration,
        })
    };
    let mut receiver = Process::start(&options.receiver_via, "receive", &setup(options.receiver)?)?;
    let mut sender = Process::start(&options.sender_via, "send", &setup(options.sender)?)?;
    let (receiver_address, sender_address): (SocketAddr, SocketAddr) = (receiver.read()?, sender.read()?);
    receiver.write(&sender_address)?;
    sender.write(&receiver_address)?;
    let received = receiver.read()?;
    let sent = sender.read()?;
    receiver.child.wait()?;
    sender.child.wait()?;
    Ok((sent, received))
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(via: &str, role: &str, setup: &Setup) -> io::Result<Self> {
        let program = env::current_exe()?;
        // As a TaskManager starts workers.
        let mut words = via.split_whitespace().chain(["env", "MIMALLOC_PURGE_DELAY=-1"]);
        let mut command = Command::new(words.next().unwrap_or("env"));
        command.args(words).arg(program);
        let mut child = command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("no pipe to a child");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut process = Self { child, input, output };
        process.write(setup)?;
        Ok(process)
    }

    fn write<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        writeln!(self.input, "{}", serde_json::to_string(value)?)
    }

    fn read<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| io::Error::other(format!("a child failed: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without effect on one that has ended; after an error nobody else would stop it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
