//! `tandem records`: call detail records from the file or the stream of the configuration, as a table, CSV or JSON. Nothing is taken.

use crate::exit;
use bus::Bus;
use clap::Args;
use orchestrator::cdr::record::{CALL_FIELDS, LEG_FIELDS, MEDIA_FIELDS};
use orchestrator::cdr::{stream, time};
use runtime::config::Fault;
use runtime::config::load::examine;
use runtime::{Config, clock, links};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest line that is read, octets.
const MAX_LINE: u64 = 1_048_576;

#[derive(Args)]
pub struct Arguments {
    /// The configuration: its [records] say where they are
    #[arg(long, env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
    /// Calls that ended since then: 90s, 15m, 1h, 7d, 2026-11-30, 2026-11-30T16:00:00Z
    #[arg(long, default_value = "1d")]
    since: String,
    /// Calls that ended before then
    #[arg(long)]
    until: Option<String>,
    /// Legs in place of calls
    #[arg(long)]
    legs: bool,
    /// As CSV (RFC 4180); a cell that a spreadsheet would take for a formula begins with an apostrophe
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON, one record a line
    #[arg(long)]
    json: bool,
}

/// Records that are wanted.
struct Wanted {
    since_ms: u64,
    until_ms: u64,
    kind: &'static str,
}

impl Wanted {
    fn takes(&self, record: &Value) -> bool {
        let ended = record["ended"].as_str().and_then(|ended| time::parse(ended, 0));
        let within = ended.is_some_and(|ended| (self.since_ms..self.until_ms).contains(&ended));
        within && record["kind"] == self.kind
    }
}

/// Reason for which there is nothing to show, with the exit code that tells it.
struct Failure {
    code: u8,
    text: String,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure { code: exit::FAULT, text: fault.line() }
    }
}

/// Writes one record after another.
type Show<'a> = dyn FnMut(&Value, &str) -> io::Result<()> + 'a;

/// Reads and shows.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            eprintln!("tandem: {text}");
            ExitCode::from(code)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let now = clock::now_ms();
    let moment = |option: &str, text: &str| {
        time::parse(text, now).ok_or_else(|| Failure {
            code: exit::USAGE,
            text: format!(
                "{option}: \"{text}\" is no time; write it as 1h, 7d, 2026-11-30 or 2026-11-30T16:00:00Z"
            ),
        })
    };
    let since_ms = moment("--since", &arguments.since)?;
    let until = arguments.until.as_deref().map(|until| moment("--until", until)).transpose()?;
    let kind = if arguments.legs { "leg" } else { "call" };
    let wanted = Wanted { since_ms, until_ms: until.unwrap_or(u64::MAX), kind };
    let examined = examine(arguments.config.as_deref(), std::env::vars());
    let Some(config) = examined.config else {
        let text = examined.faults.iter().map(Fault::line).collect::<Vec<_>>().join("\n");
        return Err(Failure { code: exit::FAULT, text });
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = match (arguments.csv, arguments.json) {
        (true, _) => csv(&config, &wanted, &mut out),
        (_, true) => read(&config, &wanted, &mut |_, line| writeln!(out, "{line}")),
        _ => table(&config, &wanted, &mut out),
    };
    // Nobody may read on, as in `tandem records | head -1`.
    let _ = out.flush();
    shown
}

/// Reads the records that are wanted, oldest first. A reader that goes ends it.
fn read(config: &Config, wanted: &Wanted, show: &mut Show<'_>) -> Result<(), Failure> {
    let mut gone = false;
    let mut each = |line: &str| {
        if let Ok(record) = serde_json::from_str::<Value>(line)
            && wanted.takes(&record)
        {
            gone = show(&record, line).is_err();
        }
        !gone
    };
    if let Some(path) = &config.records.file {
        return from_file(path, &mut each);
    }
    if config.records.stream.is_none() {
        let remedy = "name a file or a stream there, or the configuration that has one with --config";
        return Err(Fault::new("[records]", "names no file and no stream", remedy).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure { code: exit::FAULT, text: error.to_string() })?;
    runtime.block_on(from_stream(config, wanted, &mut each))
}

fn from_file(path: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure> {
    let unreadable = |error: io::Error| {
        Failure::from(Fault::new("[records] file", format!("{path}: {error}"), "name a readable file"))
    };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut line = vec![];
    loop {
        line.clear();
        let length = io::Read::take(&mut file, MAX_LINE).read_until(b'\n', &mut line);
        if length.map_err(unreadable)? == 0 || !each(String::from_utf8_lossy(&line).trim_end()) {
            return Ok(());
        }
    }
}

async fn from_stream(
    config: &Config,
    wanted: &Wanted,
    each: &mut dyn FnMut(&str) -> bool,
) -> Result<(), Failure> {
    let unreachable = |text: String| Failure { code: exit::UNREACHABLE, text };
    let nats = links::nats(config, "records").map_err(|error| unreachable(error.to_string()))?;
    let bus = Bus::nats(&nats).await.map_err(|error| unreachable(links::bus_fault(&error).line()))?;
    let Some(stream) = stream(&config.records).and_then(|config| bus.stream(config)) else { return Ok(()) };
    let failed = |error: bus::BusError| {
        let name = config.records.stream.as_deref().unwrap_or_default();
        let remedy =
            "an orchestrator makes it as it starts; is JetStream on, and may the user of [bus] use it?";
        unreachable(Fault::new("[records] stream", format!("\"{name}\": {error}"), remedy).line())
    };
    let subject = format!("tandem.cdr.{}", wanted.kind);
    let mut records = stream.read(&subject, &time::rfc3339(wanted.since_ms)).await.map_err(failed)?;
    while let Some(record) = records.next().await.map_err(failed)? {
        if !each(&String::from_utf8_lossy(&record)) {
            break;
        }
    }
    Ok(())
}

/// Returns the columns of CSV: the fields of a record, those of the first content of its media after a point.
fn columns(kind: &str) -> Vec<String> {
    let fields = if kind == "leg" { LEG_FIELDS } else { CALL_FIELDS };
    let plain = fields.iter().filter(|field| **field != "media").map(ToString::to_string);
    let media = MEDIA_FIELDS.iter().filter(|_| kind == "leg").map(|field| format!("media.{field}"));
    plain.chain(media).collect()
}

fn csv(config: &Config, wanted: &Wanted, out: &mut impl Write) -> Result<(), Failure> {
    let columns = columns(wanted.kind);
    let _ = write!(out, "{}\r\n", columns.join(","));
    read(config, wanted, &mut |record, _| {
        let cells = columns.iter().map(|column| cell(record, column)).collect::<Vec<_>>();
        write!(out, "{}\r\n", cells.join(","))
    })
}

fn cell(record: &Value, column: &str) -> String {
    let value = match column.split_once('.') {
        Some((list, field)) => &record[list][0][field],
        None => &record[column],
    };
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Array(members) => members.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => return other.to_string(),
    };
    // Spreadsheets compute what begins so, and a caller chooses what stands here.
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let text = format!("{guard}{text}");
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Rows that are looked at for the widths of columns, and written together.
const ROWS: usize = 500;

fn table(config: &Config, wanted: &Wanted, out: &mut impl Write) -> Result<(), Failure> {
    let head: &[&str] = match wanted.kind {
        "leg" => {
            &["OPENED", "TALK", "CALL", "LEG", "PARTY", "LINK", "ENDED BY", "REASON", "CODEC", "LOST", "MOS"]
        }
        _ => &["PLACED", "TALK", "CALL", "OUTCOME", "FROM", "DIALLED", "TRUNK", "REASON"],
    };
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let (mut rows, mut any) = (vec![head], false);
    read(config, wanted, &mut |record, _| {
        any = true;
        rows.push(row(record));
        if rows.len() < ROWS { Ok(()) } else { aligned(&mut rows, out) }
    })?;
    if any {
        // A reader that has gone is told of elsewhere.
        let _ = aligned(&mut rows, out);
    } else {
        let _ = writeln!(out, "none");
    }
    Ok(())
}

fn row(record: &Value) -> Vec<String> {
    let text = |field: &str| shown(record[field].as_str().unwrap_or("-"));
    let number = |value: &Value| if value.is_null() { "-".to_owned() } else { value.to_string() };
    let moment = |field: &str| text(field).replace('T', " ").chars().take(19).collect::<String>();
    let reason = match record["sip"].as_u64() {
        Some(status) => format!("{} ({status})", text("reason")),
        None => text("reason"),
    };
    if record["kind"] == "leg" {
        let media = &record["media"][0];
        let codec = record["codecs"][0].as_str().unwrap_or("-");
        let party = if record["direction"] == "inbound" { text("from") } else { text("to") };
        let (leg, link) = (number(&record["leg"]), text("link"));
        let (lost, mos) = (number(&media["lost"]), number(&media["mos"]));
        return vec![
            moment("opened"),
            span(&record["talk_ms"]),
            text("id"),
            leg,
            party,
            link,
            text("ended_by"),
            reason,
            shown(codec),
            lost,
            mos,
        ];
    }
    vec![
        moment("placed"),
        span(&record["talk_ms"]),
        text("id"),
        text("outcome"),
        text("from"),
        text("dialled"),
        text("trunk"),
        reason,
    ]
}

/// Returns a text without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Returns milliseconds as people read them: `1:02:03`, `2:03`.
fn span(ms: &Value) -> String {
    let Some(seconds) = ms.as_u64().map(|ms| ms.div_ceil(1_000)) else { return "-".into() };
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Writes rows in columns as wide as they need, and takes them.
fn aligned(rows: &mut Vec<Vec<String>>, out: &mut impl Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows.drain(..) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(from: &str) -> Value {
        json!({
            "v": 1, "kind": "call", "id": "abc", "outcome": "answered", "from": from, "dialled": "sip:2700@gw.example",
            "placed": "2026-11-30T16:05:00.250Z", "ended": "2026-11-30T16:07:03.100Z", "talk_ms": 62_010, "trunk": "pbx",
            "reason": "Normal", "sip": null,
        })
    }

    #[test]
    fn a_row_is_what_people_read() {
        let mut rows = vec![vec!["PLACED".into(), "TALK".into()], row(&record("sip:2041@pbx\u{1b}[31m"))];
        assert_eq!(rows[1][..2], ["2026-11-30 16:05:00", "1:03"]);
        assert_eq!(rows[1][4], "sip:2041@pbx?[31m");
        let mut out = vec![];
        aligned(&mut rows, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("PLACED               TALK\n2026-11-30 16:05:00  1:03  abc  answered"),
            "{text}"
        );
    }

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        assert_eq!(cell(&record("=1+2"), "from"), "'=1+2");
        assert_eq!(cell(&record("\"Rosa, R.\" <sip:1@a>"), "from"), "\"\"\"Rosa, R.\"\" <sip:1@a>\"");
        assert_eq!((cell(&record(""), "sip"), cell(&record(""), "talk_ms")), (String::new(), "62010".into()));
        let leg = json!({ "codecs": ["PCMU/8000", "VP8/90000"], "media": [{ "mos": 4.32 }] });
        assert_eq!(
            (cell(&leg, "codecs"), cell(&leg, "media.mos")),
            ("PCMU/8000 VP8/90000".into(), "4.32".into())
        );
        assert!(
            columns("leg").contains(&"media.mos".to_owned()) && !columns("leg").contains(&"media".to_owned())
        );
    }

    #[test]
    fn records_are_taken_by_kind_and_time() {
        let at = |text: &str| time::parse(text, 0).unwrap();
        let wanted =
            |since: &str, until: &str, kind| Wanted { since_ms: at(since), until_ms: at(until), kind };
        let record = record("a");
        assert!(wanted("2026-11-30", "2026-12-01", "call").takes(&record));
        assert!(!wanted("2026-11-30", "2026-12-01", "leg").takes(&record));
        assert!(!wanted("2026-11-30T16:07:04", "2026-12-01", "call").takes(&record));
        assert!(!wanted("2026-11-30", "2026-11-30T16:07:03", "call").takes(&record));
    }
}
