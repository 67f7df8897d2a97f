//! The thread and its core: what it has used, and where it runs.

use std::io;

/// CPU time of this thread so far, us.
#[must_use]
pub fn used_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is written by the call alone.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

/// Lets this thread sleep as long as it asks for, not 50 us longer.
pub fn sleep_exactly() {
    // SAFETY: takes numbers only. Without it sleeps are longer, nothing else.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

/// The cores that this process may use.
#[must_use]
pub fn cores() -> Vec<usize> {
    // SAFETY: a cpu_set_t of zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as is said and lives for the call.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return vec![];
    }
    // SAFETY: the numbers are below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps this thread on one core.
///
/// # Errors
/// Those of the system.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a cpu_set_t of zeros is the empty set; the number is below CPU_SETSIZE; the set lives for the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_cpu_and_one_that_is_pinned_stays() {
        let worked = std::thread::spawn(|| {
            let core = cores()[0];
            pin(core).unwrap();
            assert_eq!(cores(), [core]);
            let mut sum = 0u64;
            while used_us() < 20_000 {
                sum = sum.wrapping_mul(31).wrapping_add(1);
            }
            sum
        });
        assert_ne!(worked.join().unwrap(), 0);
        assert!(pin(usize::MAX).is_err());
    }
}
