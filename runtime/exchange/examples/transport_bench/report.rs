//! The table and its ratios.

use std::fmt;

use serde::Serialize;

use crate::case::{Kind, Outcome};

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

/// One case at one MTU.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    mtu: u16,
    kind: Kind,
    /// GB (1e9 bytes) per second.
    gb_per_s: f64,
    /// CPU seconds of both processes per GB.
    cpu_per_gb: f64,
    /// Million records per second.
    mrec_per_s: f64,
    /// Million records per CPU second of both processes.
    mrec_per_core_s: f64,
    /// Share of the fastest channel that the slowest one got.
    fairness: f64,
    /// Microseconds.
    p50_us: f64,
    p99_us: f64,
}

impl Row {
    pub(crate) fn new(name: &'static str, mtu: u16, kind: Kind, sent: &Outcome, received: &Outcome) -> Self {
        let seconds = received.elapsed.as_secs_f64();
        let cpu = (sent.cpu + received.cpu).as_secs_f64();
        let gigabytes = received.bytes as f64 / 1e9;
        let records = received.records as f64 / 1e6;
        let slowest = received.per_channel.iter().min().copied().unwrap_or(1);
        let fastest = received.per_channel.iter().max().copied().unwrap_or(1);
        let percentile = |percent: usize| {
            let index = received.latencies.len() * percent / 100;
            received.latencies.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e3)
        };
        Self {
            name,
            mtu,
            kind,
            gb_per_s: gigabytes / seconds,
            cpu_per_gb: cpu / gigabytes,
            mrec_per_s: records / seconds,
            mrec_per_core_s: records / cpu,
            fairness: slowest as f64 / fastest as f64,
            p50_us: percentile(50),
            p99_us: percentile(99),
        }
    }
}

impl Report {
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    fn find(&self, mtu: u16, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.mtu == mtu && row.kind == kind)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:29} {:>5} {:>7} {:>7} {:>8} {:>8} {:>8} {:>9} {:>6} {:>8} {:>8}",
            "case", "MTU", "GB/s", "x TLS", "CPU/GB", "x TLS", "Mrec/s", "/core-s", "fair", "p50 us", "p99 us"
        )?;
        for row in &self.rows {
            let ratio = |value: fn(&Row) -> f64| {
                self.find(row.mtu, Kind::Tls)
                    .map_or(f64::NAN, |tls| value(row) / value(tls))
            };
            writeln!(
                f,
                "{:29} {:>5} {:>7.2} {:>7.2} {:>8.3} {:>8.2} {:>8.2} {:>9.2} {:>6.2} {:>8.0} {:>8.0}",
                row.name,
                row.mtu,
                row.gb_per_s,
                ratio(|row| row.gb_per_s),
                row.cpu_per_gb,
                ratio(|row| row.cpu_per_gb),
                row.mrec_per_s,
                row.mrec_per_core_s,
                row.fairness,
                row.p50_us,
                row.p99_us,
            )?;
        }
        for row in self.rows.iter().filter(|row| row.kind == Kind::Stalled { stalled: 1 }) {
            if let Some(free) = self.find(row.mtu, Kind::Stalled { stalled: 0 }) {
                let ratio = row.gb_per_s / free.gb_per_s;
                writeln!(
                    f,
                    "MTU {}: with 1 of 64 stalled the others move {ratio:.2} x as much",
                    row.mtu
                )?;
            }
        }
        for row in self.rows.iter().filter(|row| row.kind == Kind::Latency) {
            if let Some(tls) = self.find(row.mtu, Kind::TlsLatency) {
                let ratio = row.p99_us / tls.p99_us;
                writeln!(
                    f,
                    "MTU {}: beside bulk a message takes {ratio:.2} x as long as over one TCP+TLS connection, at p99",
                    row.mtu
                )?;
            }
        }
        Ok(())
    }
}
