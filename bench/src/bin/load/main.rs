//! The load generator: many SMTP sessions from one thread, and sessions that do nothing.
//!
//! `load` sends messages over N sessions for some seconds, commands pipelined where the server offers
//! it (RFC 2920), and measures from the last octet of the final dot handed to the kernel until the
//! 250 is read. Transactions under way at the end are finished and counted. `idle` opens N sessions,
//! says EHLO (over TLS if wished), and holds them until its standard input ends.
#![allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]
#![allow(clippy::print_stdout, reason = "the result is printed")]

use clap::{Args, Parser, Subcommand};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

mod idle;
mod traffic;

#[derive(Parser)]
#[command(about = "Sends mail to a loopback SMTP server and measures how fast it is taken")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sends messages.
    Load(traffic::Load),
    /// Holds sessions that do nothing.
    Idle(idle::Idle),
}

/// Whom to talk to.
#[derive(Args, Clone)]
struct Target {
    /// The server (loopback only).
    #[arg(long)]
    addr: SocketAddr,
    /// How many sessions at the same time.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// Spreads the connections over so many source addresses (127.1.0.1 and on); 0 leaves it to the system.
    #[arg(long, default_value_t = 0)]
    sources: u32,
}

/// The address that connection number `n` comes from, if sources are spread.
fn source(sources: u32, n: u64) -> Option<SocketAddr> {
    let nth = u32::try_from(n.checked_rem(u64::from(sources))?).ok()?;
    let [_, _, high, low] = (nth / 250 * 256 + nth % 250 + 1).to_be_bytes();
    Some(SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), 0).into())
}

fn main() -> io::Result<()> {
    match Options::parse().what {
        What::Load(load) => traffic::run(load),
        What::Idle(idle) => idle::run(&idle),
    }
}
