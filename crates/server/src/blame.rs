//! The only road from a trouble of ours to the wire. Everything on it is 4yz.

use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_spool::SpoolError;

/// What the peer is told about trouble with the store.
pub(crate) fn refusal(error: &SpoolError) -> Refusal {
    if matches!(error, SpoolError::Full) { refuse(ReplyId::StorageFull) } else { Refusal::trouble() }
}

/// A refusal from the catalogue; a reply that is none becomes trouble of ours.
pub(crate) fn refuse(id: ReplyId) -> Refusal {
    Refusal::try_from(Reply::of(id)).unwrap_or_else(|_not_a_refusal| Refusal::trouble())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_ours_is_never_permanent() {
        let id = postroad_spool::SpoolId::from_bits(1);
        for error in [
            SpoolError::Full,
            SpoolError::Corrupt(id),
            SpoolError::Gone(id),
            SpoolError::Locked,
            SpoolError::TooNew { found: 2, known: 1 },
            SpoolError::DamagedFormat,
            SpoolError::Io(std::io::Error::other("x")),
        ] {
            assert!(refusal(&error).is_transient(), "{error}");
        }
        assert!(refusal(&SpoolError::Full).reply().code() == 452);
    }
}
