//! Lines of Prometheus' text format.

use super::{Label, MAX_LABEL};
use std::fmt::{Display, Write as _};

/// Writes description and type of a metric.
pub(super) fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// Writes one value.
pub(super) fn sample(text: &mut String, name: &str, labels: &str, value: impl Display) {
    if labels.is_empty() {
        let _ = writeln!(text, "{name} {value}");
    } else {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

/// Returns labels as they stand between braces. A value that is too long is cut.
pub(super) fn labels(labels: &[Label<'_>]) -> String {
    let written = labels.iter().map(|(name, value)| {
        let value: String = value.chars().take(MAX_LABEL).collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    written.collect::<Vec<_>>().join(",")
}
