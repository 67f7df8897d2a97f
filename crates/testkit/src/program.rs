//! A child process that is watched, waited for with a deadline, and gone with its value.

use crate::clock::poll;
use crate::log::{Line, Log, Stream};
use anyhow::{Context, Result, anyhow, bail};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Lines of output that an error shows.
const TAIL: usize = 40;

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Log>,
}

impl Program {
    /// Starts it with its output captured.
    ///
    /// # Errors
    /// The program is not there; the error names it and what to do.
    pub fn start(name: &str, mut command: Command) -> Result<Program> {
        if crate::interrupt::happened() {
            bail!("interrupted before {name} was started");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // It stays in our process group: a runner that kills the group kills it too; and it dies with this process.
        let parent = std::process::id();
        // SAFETY: prctl, sigprocmask and getppid are async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // What we block for `interrupt`, the child shall hear.
                let mut none = std::mem::zeroed();
                libc::sigemptyset(&raw mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                if libc::getppid().cast_unsigned() != parent {
                    return Err(std::io::Error::other("the parent has gone"));
                }
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn(command).with_context(|| {
            format!("{name} cannot be started: {program}: is it installed? run `cargo xtask setup`")
        })?;
        crate::interrupt::started(child.id());
        let log = Arc::new(Log::default());
        let pipes: [Option<(Stream, Box<dyn std::io::Read + Send>)>; 2] = [
            child.stdout.take().map(|out| (Stream::Out, Box::new(out) as _)),
            child.stderr.take().map(|err| (Stream::Err, Box::new(err) as _)),
        ];
        let readers: Vec<_> = pipes
            .into_iter()
            .flatten()
            .map(|(stream, pipe)| {
                let log = Arc::clone(&log);
                std::thread::spawn(move || log.copy(stream, pipe))
            })
            .collect();
        let watched = Arc::clone(&log);
        std::thread::spawn(move || {
            for reader in readers {
                let _ = reader.join();
            }
            watched.end();
        });
        let stdin = child.stdin.take();
        Ok(Program { name: name.to_owned(), child, stdin, log })
    }

    /// Its output.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub fn running(&mut self) -> bool {
        let running = matches!(self.child.try_wait(), Ok(None));
        if !running {
            crate::interrupt::ending(self.child.id());
        }
        running
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    /// The program has ended.
    pub fn write(&mut self, line: &str) -> Result<()> {
        let Some(stdin) = &mut self.stdin else { bail!("{} takes no input any more", self.name) };
        let written = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        written.map_err(|error| self.failure(&format!("takes no input: {error}")))
    }

    /// Waits for a line from number `from` on that contains `text`.
    ///
    /// # Errors
    /// No such line came in time; the error shows the end of the output.
    pub fn expect(&self, from: usize, text: &str, within: Duration) -> Result<Line> {
        self.log
            .find(from, within, |line| line.text.contains(text).then(|| line.clone()))
            .ok_or_else(|| self.failure(&format!("never said {text:?} within {within:?}")))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// The program still runs after `within`.
    pub fn finish(&mut self, within: Duration) -> Result<ExitStatus> {
        crate::interrupt::ending(self.child.id());
        let child = &mut self.child;
        match poll(within, || child.try_wait().ok().flatten()) {
            Some(status) => Ok(status),
            None => Err(self.failure(&format!("still runs after {within:?}"))),
        }
    }

    /// Asks it to end (SIGTERM) and makes it after `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.stdin = None;
        self.signal(libc::SIGTERM);
        if self.finish(grace).is_err() {
            self.kill();
        }
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        crate::interrupt::ending(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: i32) {
        if self.running() {
            let pid = self.child.id().cast_signed();
            // SAFETY: the child has not been waited for (it runs), so the id is its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Has it load its configuration again (SIGHUP).
    pub fn reload(&mut self) {
        self.signal(libc::SIGHUP);
    }

    /// An error that shows the end of its output.
    #[must_use]
    pub fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}; the end of its output:\n{}", self.name, self.log.tail(TAIL))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts the child from a thread that lives as long as this process: "die with the parent" means that thread.
fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = channel();
    spawner.send((command, reply)).map_err(|_| anyhow!("the starting thread has gone"))?;
    Ok(answer.recv()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start("shell", command).unwrap()
    }

    #[test]
    fn output_and_input_and_end() {
        let mut program = shell("echo up; read word; echo got $word >&2; exit 3");
        program.expect(0, "up", Duration::from_secs(5)).unwrap();
        program.write("this").unwrap();
        let line = program.expect(0, "got this", Duration::from_secs(5)).unwrap();
        assert_eq!(line.stream, Stream::Err);
        assert_eq!(program.finish(Duration::from_secs(5)).unwrap().code(), Some(3));
        assert!(!program.running());
    }

    #[test]
    fn a_failure_shows_the_tail() {
        let program = shell("echo first words; sleep 60");
        program.expect(0, "first", Duration::from_secs(5)).unwrap();
        let error = program.expect(0, "never", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("| first words"), "{error}");
    }

    #[test]
    fn one_that_refuses_to_end_is_ended() {
        let program = shell("trap '' TERM; echo up; while :; do sleep 1; done");
        program.expect(0, "up", Duration::from_secs(5)).unwrap();
        let pid = program.pid();
        drop(program);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::start("phone", Command::new("no-such-program-here")).err().unwrap();
        assert!(format!("{error:#}").contains("no-such-program-here"), "{error:#}");
    }
}
