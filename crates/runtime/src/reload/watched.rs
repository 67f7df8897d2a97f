//! Files whose changes are looked for: by device, inode, length and time, through links, as Kubernetes replaces those.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device, inode, length, seconds and nanoseconds of the last change.
type Stamp = (u64, u64, u64, i64, i64);

/// Files with what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// Files that have changed and were not asked for yet.
    changed: BTreeSet<PathBuf>,
}

impl Watched {
    /// Looks at these files from now on. Returns true if one of them was not looked at before.
    pub(crate) fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>) -> bool {
        let mut known = std::mem::take(&mut self.files);
        let mut new = false;
        for file in files {
            let stamp = known.remove(&file).unwrap_or_else(|| {
                new |= !self.files.contains_key(&file);
                stamp(&file)
            });
            self.files.entry(file).or_insert(stamp);
        }
        new
    }

    /// Returns true if a file was changed, replaced, made or removed, and none was since the last look: whoever writes them has done.
    pub(super) fn settled(&mut self) -> bool {
        !self.look() && !self.changed.is_empty()
    }

    /// Returns the files that have changed by now, and forgets that.
    pub(crate) fn take(&mut self) -> BTreeSet<PathBuf> {
        self.look();
        std::mem::take(&mut self.changed)
    }

    /// Looks at all files. Returns true if one has changed since the last look.
    fn look(&mut self) -> bool {
        let mut moves = false;
        for (file, known) in &mut self.files {
            let now = stamp(file);
            if now != *known {
                *known = now;
                self.changed.insert(file.clone());
                moves = true;
            }
        }
        moves
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_change_counts_once_nobody_writes_any_more() {
        let place = tempfile::tempdir().unwrap();
        let (file, other) = (place.path().join("secret"), place.path().join("other"));
        std::fs::write(&file, "one").unwrap();
        let mut watched = Watched::default();
        assert!(watched.watch([file.clone(), other.clone()]));
        assert!(!watched.watch([other.clone(), file.clone()]), "both are known");
        assert!(!watched.settled());
        std::fs::write(&file, "").unwrap();
        assert!(!watched.settled(), "it may go on");
        std::fs::write(&file, "other").unwrap();
        assert!(!watched.settled(), "it went on");
        assert!(watched.settled());
        assert_eq!(watched.take(), [file.clone()].into());
        assert!(!watched.settled());
        // What is made and removed counts, too.
        std::fs::write(&other, "new").unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(watched.take(), [file, other].into());
    }

    /// Kubernetes lets `..data` lead to another directory, at once for all files of a Secret.
    #[test]
    fn a_link_counts_as_the_file_that_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for version in ["..1", "..2"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("password"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/password", at("password")).unwrap();
        let mut watched = Watched::default();
        watched.watch([at("password")]);
        symlink("..2", at("..next")).unwrap();
        std::fs::rename(at("..next"), at("..data")).unwrap();
        assert!(!watched.settled() && watched.settled());
    }
}
