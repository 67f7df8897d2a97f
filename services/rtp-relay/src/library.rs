//! Sounds that can be played: files of one directory, by name; each is read and encoded once for a codec and shared by all who
//! hear it. What was used last is kept, within a bound.

use ::sound::codec::Kind;
use ::sound::file;
use ::sound::player::Track;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use tonic::Status;

/// A name and a codec, and what was made of them.
type Kept = ((String, Kind), Arc<Track>);

/// Octets of encoded sound that are kept.
const ROOM: usize = 64 << 20;
/// Octets of a file that is read.
const LARGEST: u64 = 64 << 20;
/// Characters of a name.
const NAME: usize = 128;

/// The sounds of a relay.
#[derive(Debug)]
pub struct Library {
    directory: Option<PathBuf>,
    /// Used last at the end. Sockets while a file is read: who asks for the same one meanwhile finds it.
    tracks: Mutex<Vec<Kept>>,
}

impl Library {
    /// Of this directory; `None`: nothing can be played.
    ///
    /// # Errors
    /// The operator's fault: the key, the value, the remedy.
    pub fn new(directory: Option<&str>) -> anyhow::Result<Library> {
        if let Some(path) = directory {
            let remedy =
                || format!("[relay] sounds: {path:?}; name a directory that can be read, or leave it out");
            let is = std::fs::metadata(path).with_context(remedy)?.is_dir();
            ensure!(is, "[relay] sounds: {path:?} is no directory; name one, or leave it out");
        }
        Ok(Library { directory: directory.map(PathBuf::from), tracks: Mutex::default() })
    }

    /// The sound of this name in this codec.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: no name of a file. NOT_FOUND: there is none. FAILED_PRECONDITION: it cannot be played.
    pub async fn track(&self, name: &str, kind: Kind) -> Result<Arc<Track>, Status> {
        // A name, never a way: nothing outside of the directory can be named.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.len() > NAME || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Status::invalid_argument("sound: a file's name of letters, digits, - _ . is wanted"));
        }
        let directory = self.directory.as_deref().ok_or_else(|| {
            Status::not_found(format!("sound: {name:?} cannot be played, [relay] sounds names no directory"))
        })?;
        let mut tracks = self.tracks.lock().await;
        if let Some(at) = tracks.iter().position(|((of, k), _)| of == name && *k == kind) {
            let found = tracks.remove(at);
            let track = found.1.clone();
            tracks.push(found);
            return Ok(track);
        }
        let path = directory.join(name);
        let track = tokio::task::spawn_blocking(move || load(&path, kind)).await;
        let track = track.map_err(|_| Status::internal("sound: reading it failed"))??;
        let mut size: usize = tracks.iter().map(|(_, track)| track.size()).sum::<usize>() + track.size();
        while size > ROOM && !tracks.is_empty() {
            size -= tracks.remove(0).1.size();
        }
        tracks.push(((name.into(), kind), track.clone()));
        Ok(track)
    }
}

fn load(path: &Path, kind: Kind) -> Result<Arc<Track>, Status> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let octets = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(Status::not_found(format!("sound: {name:?} is no file")));
        }
        Ok(found) if found.len() > LARGEST => {
            return Err(Status::failed_precondition(format!(
                "sound: {name:?} has over {} MiB",
                LARGEST >> 20
            )));
        }
        Ok(_) => std::fs::read(path),
        Err(error) => Err(error),
    };
    let octets =
        octets.map_err(|error| Status::not_found(format!("sound: {name:?} in [relay] sounds: {error}")))?;
    let fault = |why: String| Status::failed_precondition(format!("sound: {name:?} cannot be played: {why}"));
    let samples = file::read(&octets, Track::rate(kind)).map_err(|error| fault(error.to_string()))?;
    Ok(Arc::new(Track::encode(kind, &samples).map_err(|error| fault(error.to_string()))?))
}
