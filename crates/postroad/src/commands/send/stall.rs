//! Why a transfer stands still: what was sent, and what the kernel still holds of it.
//!
//! After 354 and the content two faults look the same from above: the server is slow, or the network
//! loses the large packets (a path whose small MTU nobody announces). The kernel can tell them apart:
//! octets that were sent and never acknowledged mean the network.

use postroad_proto::client::Phase;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::Duration;

/// What is known when nothing moves.
#[derive(Clone, Debug)]
pub(super) struct Stall {
    pub(super) phase: Phase,
    /// Nothing moved for so long.
    pub(super) quiet: Duration,
    /// Octets given to the connection so far.
    pub(super) sent: u64,
    /// Of these, octets the other side's kernel has not acknowledged; `None` where this system does not tell.
    pub(super) unacknowledged: Option<u64>,
    /// When the timer gives up.
    pub(super) timer: Duration,
}

impl Stall {
    pub(super) fn sentence(&self) -> String {
        let reason = match self.unacknowledged {
            Some(0) => {
                "The other side's kernel acknowledged all of it, so the network is well and the server is still at work (or waits for an end of the content that it does not recognise)."
                    .to_owned()
            }
            Some(octets) => format!(
                "The other side has not acknowledged {octets} of them: the network loses packets on the way (a path MTU that nobody announces does this to large messages), or the server does not read."
            ),
            None => "This system does not tell how much of it arrived.".to_owned(),
        };
        format!(
            "Nothing has moved for {} s while waiting for {}. {} octets were sent. {reason} The timer of RFC 5321 \u{a7}4.5.3.2 gives up after {} s.",
            self.quiet.as_secs(),
            self.phase.awaited(),
            self.sent,
            self.timer_seconds()
        )
    }

    /// To the nearest second: the timer began a moment before the last octet left.
    fn timer_seconds(&self) -> u64 {
        self.timer.saturating_add(Duration::from_millis(500)).as_secs()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "phase": self.phase.name(),
            "quiet_ms": u64::try_from(self.quiet.as_millis()).unwrap_or(u64::MAX),
            "sent_octets": self.sent,
            "unacknowledged_octets": self.unacknowledged,
            "timer_seconds": self.timer_seconds(),
            "text": self.sentence(),
        })
    }
}

/// Octets that the kernel has sent or queued on this connection and the other side has not acknowledged.
pub(super) fn unacknowledged(socket: &TcpStream) -> Option<u64> {
    let local = socket.local_addr().ok()?;
    let table = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let (local, peer) = (local.port(), socket.peer_addr().ok()?.port());
    // The table is as long as the machine has connections; more than this is not worth the look.
    let table = BufReader::new(File::open(table).ok()?.take(16 * 1024 * 1024));
    table.lines().map_while(Result::ok).find_map(|line| queue_of(&line, local, peer))
}

/// `sl local_address rem_address st tx_queue:rx_queue …`, all in hexadecimal.
fn queue_of(line: &str, local: u16, peer: u16) -> Option<u64> {
    let port = |word: &str| u16::from_str_radix(word.rsplit_once(':')?.1, 16).ok();
    let mut words = line.split_whitespace().skip(1);
    let ours = port(words.next()?)? == local && port(words.next()?)? == peer;
    let (queued, _) = words.nth(1)?.split_once(':')?;
    if ours { u64::from_str_radix(queued, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   3: 0100007F:09DD 0100007F:D431 01 00001A2B:00000000 01:00000018 00000000     0";
        assert_eq!(queue_of(line, 0x09dd, 0xd431), Some(0x1a2b));
        assert_eq!(queue_of(line, 0xd431, 0x09dd), None, "the other end's row");
        assert_eq!(queue_of("  sl  local_address rem_address   st tx_queue rx_queue", 1, 2), None);
    }
}
