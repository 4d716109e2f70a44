//! A server that was built, started on a free loopback port and ended for sure.

use crate::smtp::Talk;
use crate::trouble;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `postroad serve`. Dropped means killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `binary` on the data directory with these settings (`key=value`), and waits for its
    /// greeting. What it prints goes to a file beside the data directory.
    pub fn start(binary: &Path, data: &Path, settings: &[&str]) -> io::Result<Self> {
        // The port is free until the server takes it; nothing else on loopback hunts for ports.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--listen").arg(addr.to_string()).arg("--data").arg(data);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        Self::spawn(command, addr, &data.with_extension("log"))
    }

    /// Runs the command and waits until the server greets at `addr`. What it prints is appended to `log`.
    pub fn spawn(mut command: Command, addr: SocketAddr, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let mut server = Self { child, addr, log: log.into() };
        server.wait_for_greeting()?;
        Ok(server)
    }

    fn wait_for_greeting(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if Talk::open(self.addr).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(12).collect();
                let last: Vec<_> = last.into_iter().rev().collect();
                return trouble(format!("the server ended at its start ({status}):\n{}", last.join("\n")));
            }
            if begun.elapsed() > PATIENCE {
                return trouble("the server did not greet within a minute");
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it without warning, as a power cut would end the process (not the disk).
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return trouble("the process id is out of range") };
        kill_process(pid, Signal::TERM)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                return trouble("the server did not end within a minute of being asked");
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The file of its resident memory, for [`resident_kib`].
    pub fn status_file(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/status", self.child.id()))
    }
}

/// Resident memory in KiB by the `status` file of a process; 0 when it has ended.
pub fn resident_kib(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
