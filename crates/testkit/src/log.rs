//! Output of a program: its last lines with the time of each, to be waited on by several.

use crate::clock::{Deadline, now_ms};
use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that are kept; older ones go.
const LINES: usize = 20_000;
/// Octets after which a line is cut in two.
const WIDTH: usize = 64 * 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a control connection.
    Out,
    /// Standard error.
    Err,
}

/// One line of output.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its place in the whole output, from 0.
    pub number: usize,
    /// When it was read, in ms since 1970.
    pub at: u64,
    /// Where it came from.
    pub stream: Stream,
    /// The text, without its end of line and without colour.
    pub text: String,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<Line>,
    next: usize,
    ended: bool,
}

/// The output of one program.
#[derive(Default)]
pub struct Log {
    inner: Mutex<Inner>,
    news: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub fn push(&self, stream: Stream, text: String) {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.lines.push_back(Line { number, at: now_ms(), stream, text });
        if inner.lines.len() > LINES {
            inner.lines.pop_front();
        }
        self.news.notify_all();
    }

    /// Marks the end: nobody writes any more, so nobody need wait.
    pub fn end(&self) {
        self.lock().ended = true;
        self.news.notify_all();
    }

    /// Copies everything from `source` until it ends. Lines end with LF or CR (status lines end with CR alone).
    pub fn copy(&self, stream: Stream, mut source: impl Read) {
        let (mut line, mut chunk) = (Vec::new(), [0u8; 8192]);
        while let Ok(count @ 1..) = source.read(&mut chunk) {
            for &byte in chunk.iter().take(count) {
                let ends = matches!(byte, b'\n' | b'\r');
                if !ends {
                    line.push(byte);
                }
                if (ends && !line.is_empty()) || line.len() >= WIDTH {
                    self.push(stream, plain(&line));
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.push(stream, plain(&line));
        }
    }

    /// The number that the next line will have.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lock().next
    }

    /// All kept lines from number `from` on.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<Line> {
        self.lock().lines.iter().filter(|line| line.number >= from).cloned().collect()
    }

    /// Waits for the first line from number `from` on that `wanted` makes something of.
    pub fn find<T>(
        &self,
        from: usize,
        within: Duration,
        mut wanted: impl FnMut(&Line) -> Option<T>,
    ) -> Option<T> {
        let deadline = Deadline::after(within);
        let mut next = from;
        let mut inner = self.lock();
        loop {
            let found = inner.lines.iter().filter(|line| line.number >= next).find_map(&mut wanted);
            if found.is_some() || inner.ended || deadline.passed() {
                return found;
            }
            next = inner.next;
            let waited = self.news.wait_timeout(inner, deadline.left());
            inner = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }

    /// The last lines, for an error.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let inner = self.lock();
        let skip = inner.lines.len().saturating_sub(count);
        let lines: Vec<String> =
            inner.lines.iter().skip(skip).map(|line| format!("  | {}", line.text)).collect();
        lines.join("\n")
    }
}

/// Text without terminal colours.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // A control sequence ends with its first letter (ECMA-48 §5.4); `;` ends the broken one of baresip 1.0.
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_either_end_of_line_and_lose_their_colour() {
        let log = Log::default();
        log.copy(Stream::Out, &b"\x1b[31mred\x1b[0m\rtwo\r\n\nthree"[..]);
        let texts: Vec<String> = log.since(0).into_iter().map(|l| l.text).collect();
        assert_eq!(texts, ["red", "two", "three"]);
        assert_eq!(log.tail(1), "  | three");
    }

    #[test]
    fn waiting_ends_with_the_program_or_with_time() {
        let log = Log::default();
        log.push(Stream::Out, "a".into());
        let none = log.find(0, Duration::from_millis(10), |l| (l.text == "b").then_some(()));
        assert!(none.is_none());
        log.end();
        let none = log.find(0, Duration::from_secs(600), |l| (l.text == "b").then_some(()));
        assert!(none.is_none(), "and at once");
        assert_eq!(log.find(0, Duration::ZERO, |l| (l.text == "a").then_some(l.number)), Some(0));
    }
}
