//! What a scenario found out.

use serde::Serialize;

/// The figures of one scenario at one target. A warm-up is in none of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The target's name.
    pub target: String,
    /// What an operation is: `message`, `login`, `connection`.
    pub operation: String,
    /// Operations done in the measured time.
    pub operations: u64,
    /// The measured time in seconds.
    pub seconds: f64,
    /// Operations a second.
    pub rate: f64,
    /// Messages that were sent and never came.
    pub lost: u64,
    /// Messages that came more than once.
    pub duplicates: u64,
    /// How long one operation took; none if no single one was timed.
    pub latency: Option<Latency>,
    /// The same without the disturbance that the scenario is about; none where there is none.
    pub calm: Option<Latency>,
    /// Connections from the target to its partner at the end; none if they were not counted.
    pub between_servers: Option<u64>,
    /// CPU of the server, and of the target's partner if there is one; none without its process.
    pub server: Option<ServerCost>,
    /// Memory of the server; none without its process.
    pub memory: Option<Memory>,
    /// CPU time of the generator itself per operation, in nanoseconds.
    pub generator_ns: f64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// CPU time of the server's process and its children.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ServerCost {
    /// Nanoseconds of CPU per operation.
    pub per_operation_ns: f64,
    /// CPU time in the measured time, in seconds.
    pub seconds: f64,
    /// How coarse the clock is, in nanoseconds of CPU time of the whole measured time.
    pub resolution_ns: u64,
}

/// Memory of the server's process and its children, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Before the first connection.
    pub before: u64,
    /// At the end, connections still open and quiet.
    pub after: u64,
    /// Open connections at the end.
    pub connections: u64,
    /// What each of them costs.
    pub per_connection: f64,
    /// Churn only: what each cost at the beginning of the churn.
    pub per_connection_at_first: Option<f64>,
}

impl Report {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![("scenario", self.scenario.clone()), ("target", self.target.clone())];
        let operation = if self.operation.is_empty() { "operation" } else { &self.operation };
        lines.push(("done", format!("{} x {operation} in {:.2} s", self.operations, self.seconds)));
        lines.push(("rate", format!("{:.0} /s", self.rate)));
        for (name, latency) in [("latency", &self.latency), ("undisturbed", &self.calm)] {
            let Some(latency) = latency else { continue };
            let Latency { p50, p90, p99, p999, max } = latency;
            let text = format!(
                "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                micros(*p50),
                micros(*p90),
                micros(*p99),
                micros(*p999),
                micros(*max)
            );
            lines.push((name, text));
        }
        if let Some(count) = self.between_servers {
            lines.push(("connections between servers", count.to_string()));
        }
        lines.push(("lost", self.lost.to_string()));
        lines.push(("duplicates", self.duplicates.to_string()));
        if let Some(server) = &self.server {
            let each = micros(server.per_operation_ns / 1000.0);
            let mut text = format!("{each} per {operation} ({:.3} s in all", server.seconds);
            if server.resolution_ns > 1 {
                text.push_str(&format!(", to {:.2} s", server.resolution_ns as f64 / 1e9));
            }
            text.push(')');
            lines.push(("server CPU", text));
        }
        lines.push(("generator CPU", format!("{} per {operation}", micros(self.generator_ns / 1000.0))));
        if let Some(memory) = &self.memory {
            let mega = |bytes: u64| bytes as f64 / 1e6;
            let mut text = format!(
                "{:.2} KB per connection ({} connections; {:.1} MB before, {:.1} MB after)",
                memory.per_connection / 1000.0,
                memory.connections,
                mega(memory.before),
                mega(memory.after)
            );
            if let Some(first) = memory.per_connection_at_first {
                text.push_str(&format!("; {:.2} KB at first", first / 1000.0));
            }
            lines.push(("server memory", text));
        }
        lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
    }

    /// For programs: the fields of this type, and `stopped` with the reason if it ended before its time.
    #[must_use]
    pub fn json(&self, stopped: Option<&str>) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let (Some(object), Some(why)) = (value.as_object_mut(), stopped) {
            object.insert("stopped".to_owned(), why.into());
        }
        value.to_string()
    }
}

/// Microseconds in a unit that is read easily.
fn micros(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.2} s", value / 1e6)
    } else if value >= 1000.0 {
        format!("{:.2} ms", value / 1000.0)
    } else {
        format!("{value:.2} us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_for_people_and_an_object_for_programs() {
        let report = Report {
            scenario: "chat".to_owned(),
            target: "relay".to_owned(),
            operation: "message".to_owned(),
            operations: 1500,
            seconds: 3.0,
            rate: 500.0,
            lost: 2,
            duplicates: 1,
            latency: Some(Latency {
                p50: 900.0,
                p90: 1500.0,
                p99: 2_000_000.0,
                p999: 2_000_000.0,
                max: 2_500_000.0,
            }),
            server: Some(ServerCost { per_operation_ns: 6800.0, seconds: 0.0102, resolution_ns: 20_000_000 }),
            calm: Some(Latency { p50: 450.0, ..Latency::default() }),
            between_servers: Some(1),
            memory: Some(Memory {
                before: 10_000_000,
                after: 30_000_000,
                connections: 2000,
                per_connection: 10_000.0,
                per_connection_at_first: Some(9_500.0),
            }),
            generator_ns: 3400.0,
        };
        let table = report.table();
        for part in [
            "1500 x message in 3.00 s",
            "500 /s",
            "p50 900.00 us  p90 1.50 ms  p99 2.00 s",
            "6.80 us per message (0.010 s in all, to 0.02 s)",
            "3.40 us per message",
            "undisturbed    p50 450.00 us",
            "connections between servers 1\n",
            "10.00 KB per connection (2000 connections; 10.0 MB before, 30.0 MB after); 9.50 KB at first",
        ] {
            assert!(table.contains(part), "{part:?} is not in\n{table}");
        }
        let object: serde_json::Value = serde_json::from_str(&report.json(Some("it hangs"))).unwrap();
        assert_eq!(object["stopped"], "it hangs");
        assert_eq!(object["server"]["per_operation_ns"], 6800.0);
        assert_eq!(object["lost"], 2);
        let object: serde_json::Value = serde_json::from_str(&report.json(None)).unwrap();
        assert!(object.get("stopped").is_none());
    }
}
