//! Filter of log lines, as an operator writes it.

use crate::config::{Fault, TelemetryConfig};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Reads the filter of a configuration. A level alone is of Tandem's own modules: HTTP/2 frames and the like say nothing of a call.
///
/// # Errors
/// The text is neither a level nor levels by module: names key and remedy.
pub(super) fn filter(settings: &TelemetryConfig) -> Result<EnvFilter, Fault> {
    let written = settings.log.as_deref().unwrap_or("info");
    let text = match written.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => format!("info,tandem={level}"),
        _ => written.to_owned(),
    };
    EnvFilter::try_new(text).map_err(|error| {
        let trouble = format!("\"{written}\" is no filter ({error})");
        Fault::new("[telemetry] log", trouble, "write info, or debug,tandem_sip_edge=trace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<EnvFilter, Fault> {
        filter(&TelemetryConfig { log: Some(text.to_owned()), ..TelemetryConfig::default() })
    }

    use tracing::{Dispatch, debug, info, trace};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    #[test]
    fn a20_a_level_alone_is_of_our_own_modules() {
        for (text, told) in [("debug", [true, false, true, false]), ("trace", [true, true, true, false])] {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
            struct Seen(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
            impl<S: tracing::Subscriber> Layer<S> for Seen {
                fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
                    let meta = event.metadata();
                    self.0.lock().unwrap().push(format!("{} {}", meta.target(), meta.level()));
                }
            }
            let layer = Seen(seen.clone()).with_filter(of(text).unwrap());
            let dispatch: Dispatch = Registry::default().with(layer).into();
            tracing::dispatcher::with_default(&dispatch, || {
                debug!(target: "tandem_sip_edge::udp", "a");
                trace!(target: "tandem_sip_edge::udp", "b");
                info!(target: "h2::codec", "c");
                debug!(target: "h2::codec", "d");
            });
            let all = [
                "tandem_sip_edge::udp DEBUG",
                "tandem_sip_edge::udp TRACE",
                "h2::codec INFO",
                "h2::codec DEBUG",
            ];
            let expected: Vec<&str> =
                all.iter().zip(told).filter(|(_, told)| *told).map(|(line, _)| *line).collect();
            assert_eq!(*seen.lock().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn levels_by_module_are_taken_as_they_are() {
        assert_eq!(of("info,tandem_sip_edge=debug").unwrap().to_string(), "tandem_sip_edge=debug,info");
        assert!(of("tandem=loud").unwrap_err().to_string().contains("[telemetry] log"));
    }
}
