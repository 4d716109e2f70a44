//! Why a transfer stands still, as far as the octets that came tell.

use super::content::{Chunk, Receiving};
use super::session::State;
use super::{Content, Stall, StallKind};
use crate::time::Tick;
use core::time::Duration;

/// Octets of a command line that are kept as evidence.
const TAIL: usize = 16;

/// What the state shows when its time is over; `line` is what came of a command.
pub(super) fn of(state: &State, line: &[u8], overlong: bool, now: Tick, waited: Duration) -> Option<Stall> {
    match state {
        State::Content(receiving) => Some(of_content(receiving, now)),
        State::Chunks(receiving, Chunk { left: 1.., .. }) => Some(Stall {
            kind: StallKind::ChunkIncomplete,
            content: receiving.seen(),
            tail: receiving.decoder.tail().to_vec(),
            waited: now.since(receiving.last_input),
        }),
        State::Skipping { last_input, .. } => {
            Some(of_line(StallKind::ChunkIncomplete, line, now.since(*last_input)))
        }
        State::Ready | State::Collecting(_) | State::Chunks(..) | State::Failed => {
            let kind = if line.is_empty() && !overlong {
                StallKind::ClientWaits
            } else {
                StallKind::CommandWithoutCrlf
            };
            Some(of_line(kind, line, waited))
        }
        State::Asking(_) | State::Closed => None,
    }
}

fn of_content(receiving: &Receiving, now: Tick) -> Stall {
    let content = receiving.seen();
    let (findings, tail) = (content.findings, receiving.decoder.tail());
    // An LF may still be outside the filter where it ends what came.
    let with_lf = findings.bare_lf > findings.crlf || (tail.ends_with(b"\n") && !tail.ends_with(b"\r\n"));
    let kind = if content.taken == 0 {
        StallKind::NothingAfter354
    } else if with_lf {
        StallKind::NoTerminatorLf
    } else {
        StallKind::NoTerminator
    };
    Stall { kind, tail: tail.to_vec(), waited: now.since(receiving.last_input), content }
}

fn of_line(kind: StallKind, line: &[u8], waited: Duration) -> Stall {
    let tail = line.get(line.len().saturating_sub(TAIL)..).unwrap_or_default().to_vec();
    let content = Content { taken: line.len() as u64, ..Content::default() };
    Stall { kind, content, tail, waited }
}
