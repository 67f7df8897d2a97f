//! Ctrl-C: everything that was started ends, and whoever waits for it wakes up and cleans up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static HAPPENED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Catches SIGINT and SIGTERM from now on. To be called before any thread is started.
pub fn catch() {
    // SAFETY: the set is initialised before its use; blocking signals and waiting for them touch nothing else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        std::thread::spawn(move || {
            let mut signal = 0;
            while libc::sigwait(&raw const set, &raw mut signal) == 0 {
                HAPPENED.store(true, Ordering::SeqCst);
                for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    libc::kill(pid.cast_signed(), libc::SIGTERM);
                }
            }
        });
    }
}

/// True once a signal came.
#[must_use]
pub fn happened() -> bool {
    HAPPENED.load(Ordering::SeqCst)
}

pub(crate) fn started(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
}

/// To be called before the child is waited for: after that its id may be another's.
pub(crate) fn ending(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| *p != pid);
}
