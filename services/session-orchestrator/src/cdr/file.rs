//! The file of call detail records of a gateway in one process: one line a record, in JSON.
//!
//! One rule: a record is written when its line is on the disk. Lines that come together are written by one call and one fdatasync. Of a
//! write that failed nothing stays. A file that was moved away is made anew, so that others may rotate it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Records that wait for the file; further ones are refused, and come again.
const QUEUE: usize = 1_024;
/// Lines that are written at once.
const BATCH: usize = 256;
/// Access to a file that is made here: who called whom is not for everybody.
const MODE: u32 = 0o640;

/// Way to the file; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    lines: String,
    written: oneshot::Sender<Result<(), String>>,
}

impl Writer {
    /// Creates the writer of a file, and makes the file.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub(crate) fn open(path: PathBuf) -> io::Result<Writer> {
        let mut appender = Appender { path, file: None };
        appender.file()?;
        let (sender, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(appender, waiting));
        Ok(Writer(sender))
    }

    /// Appends lines, each with its end; returns once they are on the disk.
    pub(crate) async fn append(&self, lines: String) -> Result<(), String> {
        let (written, outcome) = oneshot::channel();
        let waiting = Waiting { lines, written };
        self.0.try_send(waiting).map_err(|_| "too many records wait for the file".to_owned())?;
        outcome.await.unwrap_or_else(|_| Err("the writer has ended".into()))
    }
}

/// Writes what waits until nobody is left who may bring more.
async fn write(mut appender: Appender, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let text: String = batch.iter().map(|waiting| waiting.lines.as_str()).collect();
        // A disk may be slow: not on a thread that calls are served by.
        let wrote = tokio::task::spawn_blocking(move || {
            let outcome = appender.append(text.as_bytes());
            (appender, outcome)
        });
        let Ok((back, outcome)) = wrote.await else { return };
        appender = back;
        for Waiting { written, .. } in batch.drain(..) {
            // Who gave up comes again.
            let _ = written.send(outcome.as_ref().copied().map_err(ToString::to_string));
        }
    }
}

#[derive(Debug)]
struct Appender {
    path: PathBuf,
    file: Option<File>,
}

impl Appender {
    /// Returns the file at the path: another one if it was moved away.
    fn file(&mut self) -> io::Result<&mut File> {
        let same = match (&self.file, std::fs::metadata(&self.path)) {
            (Some(file), Ok(there)) => {
                let ours = file.metadata()?;
                (ours.dev(), ours.ino()) == (there.dev(), there.ino())
            }
            _ => false,
        };
        if !same {
            self.file = None;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let mut file =
                    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(&self.path)?;
                end_line(&mut file)?;
                Ok(none.insert(file))
            }
        }
    }

    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        let before = file.metadata()?.len();
        let outcome = file.write_all(octets).and_then(|()| file.sync_data());
        if outcome.is_err() {
            // The lines come again.
            let _ = file.set_len(before);
        }
        outcome
    }
}

/// Ends a last line that a process left unfinished as it died: what follows begins a line of its own.
fn end_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    let mut octet = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut octet)?;
    if octet == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &std::path::Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        std::fs::write(&path, "{\"torn").unwrap();
        let writer = Writer::open(path.clone()).unwrap();
        writer.append("one\n".into()).await.unwrap();
        assert_eq!(read(&path), "{\"torn\none\n", "an unfinished line stays alone");
        let moved = folder.path().join("calls.jsonl.1");
        std::fs::rename(&path, &moved).unwrap();
        let (two, three) = tokio::join!(writer.append("two\n".into()), writer.append("three\n".into()));
        assert_eq!((two, three), (Ok(()), Ok(())));
        assert_eq!((read(&moved).lines().count(), read(&path).as_str()), (2, "two\nthree\n"));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Writer::open(folder.path().join("none").join("calls.jsonl")).is_err());
        let path = folder.path().join("calls.jsonl");
        let writer = Writer::open(path.clone()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(writer.append("one\n".into()).await.is_err());
        std::fs::remove_dir(&path).unwrap();
        writer.append("one\n".into()).await.unwrap();
        assert_eq!(read(&path), "one\n");
    }
}
