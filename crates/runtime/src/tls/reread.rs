//! Values made of files, made again when the files change.

use crate::clock;
use crate::config::Fault;
use crate::reload::Watched;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Value made of files. Whoever takes it has it made anew if a file has changed since; files that cannot be used leave the old value
/// in use. Clones share it.
pub struct Reread<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Section of the configuration that names the files.
    section: &'static str,
    read: Box<dyn Fn() -> Result<T, Fault> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: T,
    files: Watched,
    looked: Instant,
}

impl<T> Clone for Reread<T> {
    fn clone(&self) -> Reread<T> {
        Reread(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reread").field("section", &self.0.section).finish_non_exhaustive()
    }
}

impl<T: Clone> Reread<T> {
    /// Makes the value of files that a section of the configuration names.
    ///
    /// # Errors
    /// The [`Fault`] of `read`.
    pub fn new<'a>(
        section: &'static str,
        files: impl IntoIterator<Item = &'a str>,
        read: impl Fn() -> Result<T, Fault> + Send + Sync + 'static,
    ) -> Result<Reread<T>, Fault> {
        // Looked at before they are read: what changes in between is read again.
        let mut watched = Watched::default();
        watched.watch(files.into_iter().map(PathBuf::from));
        let current = Mutex::new(Current { value: read()?, files: watched, looked: clock::instant() });
        Ok(Reread(Arc::new(Shared { section, read: Box::new(read), current })))
    }

    /// Returns the value of the present files.
    #[must_use]
    pub fn current(&self) -> T {
        self.at(clock::instant())
    }

    fn at(&self, now: Instant) -> T {
        let Shared { section, read, current } = &*self.0;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(current.looked) >= LOOK {
            current.looked = now;
            if !current.files.take().is_empty() {
                match read() {
                    Ok(value) => {
                        current.value = value;
                        tracing::info!("the certificates of {section} have changed and are in use");
                    }
                    Err(fault) => tracing::error!(
                        %fault,
                        "the changed certificates of {section} cannot be used; the old ones stay"
                    ),
                }
            }
        }
        current.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::lines;

    #[test]
    fn changed_files_are_read_again_and_bad_ones_leave_the_old_value() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        let write = |text: &str, second: u64| {
            std::fs::write(&file, text).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        };
        write("1", 0);
        let read = {
            let file = file.clone();
            move || {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                text.parse::<u32>().map_err(|_| Fault::new("[x] file", "no number", "write one"))
            }
        };
        let number = Reread::new("[x]", [file.to_str().unwrap()], read).unwrap();
        let start = clock::instant();
        let said = lines(|| {
            write("2", 1);
            assert_eq!(number.at(start + LOOK / 2), 1, "not looked at yet");
            assert_eq!(number.at(start + LOOK * 2), 2);
            write("x", 2);
            assert_eq!(number.at(start + LOOK * 4), 2);
            assert_eq!(number.at(start + LOOK * 6), 2, "told once");
            write("3", 3);
            assert_eq!(number.at(start + LOOK * 8), 3);
        });
        assert_eq!(said.matches("the certificates of [x] have changed and are in use").count(), 2, "{said}");
        assert_eq!(said.matches("[x] file: no number; write one").count(), 1, "{said}");
    }
}
