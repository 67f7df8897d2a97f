//! Verdicts: each step with its time and figures, for people and for programs.
//!
//! One rule: a step that failed says what happened and what to do about it. Start at [`Report::step`].

use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Cause of a failed step, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Cause in words.
    pub cause: String,
    /// Remedy in words.
    pub remedy: String,
    /// True if nobody could be reached: the gateway was not tried at all.
    pub unreachable: bool,
}

impl Fault {
    /// Returns a fault of the call.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { cause: cause.into(), remedy: remedy.into(), unreachable: false }
    }

    /// Returns the fault that nobody answers.
    pub fn unreachable(cause: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { unreachable: true, ..Fault::new(cause, remedy) }
    }
}

/// Marker that a step failed; the report has the fault.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// One step.
#[derive(Clone, Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    facts: Map<String, Value>,
    fault: Option<Fault>,
}

/// Steps of a call, or of what comes before all calls.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    steps: Vec<Step>,
}

impl Report {
    /// Returns a report without steps.
    pub fn new(title: impl Into<String>) -> Report {
        Report { title: title.into(), steps: vec![] }
    }

    /// Does a step within a time; `late` is the fault if it takes longer.
    ///
    /// # Errors
    /// The step failed, and the report says why.
    pub async fn step<T>(
        &mut self,
        name: &'static str,
        within: Duration,
        late: Fault,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Failed> {
        let began = Instant::now();
        let (outcome, fault) = match timeout(within, work).await {
            Ok(Ok(outcome)) => (Ok(outcome), None),
            Ok(Err(fault)) => (Err(Failed), Some(fault)),
            Err(_) => (Err(Failed), Some(late)),
        };
        self.steps.push(Step { name, took: began.elapsed(), facts: Map::new(), fault });
        outcome
    }

    /// Adds a figure to the last step.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(step) = self.steps.last_mut() {
            step.facts.insert(name.to_owned(), value.into());
        }
    }

    /// Returns the fault of the step that failed.
    pub fn fault(&self) -> Option<&Fault> {
        self.steps.iter().find_map(|step| step.fault.as_ref())
    }

    /// Writes it for people.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.title);
        for step in &self.steps {
            let verdict = if step.fault.is_some() { "FAILED" } else { "ok" };
            let facts: Vec<String> =
                step.facts.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
            let line = format!(
                "  {:<12}{verdict:<8}{:>8.3} s  {}",
                step.name,
                step.took.as_secs_f64(),
                facts.join(", ")
            );
            let _ = writeln!(out, "{}", line.trim_end());
            if let Some(fault) = &step.fault {
                let _ = writeln!(out, "              {}; {}", fault.cause, fault.remedy);
            }
        }
        out
    }

    /// Returns it for programs.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let mut value = json!({
                    "step": step.name,
                    "ok": step.fault.is_none(),
                    "took_ms": (step.took.as_secs_f64() * 1e4).round() / 10.0,
                    "facts": step.facts,
                });
                if let Some(fault) = &step.fault {
                    value["cause"] = json!(fault.cause);
                    value["remedy"] = json!(fault.remedy);
                }
                value
            })
            .collect();
        json!({ "title": self.title, "worked": self.fault().is_none(), "steps": steps })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_that_is_late_has_failed_and_says_why() {
        let mut report = Report::new("SIP to XMPP");
        let second = Duration::from_secs(1);
        let late = || Fault::new("nobody answered", "answer");
        report.step("rings", second, late(), async { Ok(()) }).await.unwrap();
        report.fact("code", 180);
        assert!(report.fault().is_none());
        let never = std::future::pending::<Result<(), Fault>>();
        assert!(report.step("answered", second, late(), never).await.is_err());
        assert_eq!(report.fault(), Some(&late()));
        let text = report.text();
        assert!(text.contains("rings       ok") && text.contains("code 180"), "{text}");
        assert!(
            text.contains("answered    FAILED     1.000 s") && text.contains("nobody answered; answer"),
            "{text}"
        );
        let json = report.json();
        assert_eq!((&json["worked"], &json["steps"][1]["remedy"]), (&json!(false), &json!("answer")));
    }
}
