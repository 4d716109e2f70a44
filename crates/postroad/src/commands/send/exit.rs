//! Exit codes after sysexits, and which outcome leads to which.

use postroad_proto::client::{Failure, LocalRefusal, Outcome, Permanence, Phase};
use std::process::ExitCode;

/// How the command ends, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Accepted = 0,
    Temporary = 75,
    Unavailable = 69,
    Data = 65,
    Protocol = 76,
    Denied = 77,
    NoHost = 68,
    NoInput = 66,
    Usage = 64,
}

impl Exit {
    /// A word for machines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Temporary => "temporary",
            Self::Unavailable => "refused",
            Self::Data => "data",
            Self::Protocol => "protocol",
            Self::Denied => "denied",
            Self::NoHost => "no-host",
            Self::NoInput => "no-input",
            Self::Usage => "usage",
        }
    }

    /// Its place among all, from the best to the worst.
    fn badness(self) -> u8 {
        const ORDER: [Exit; 9] = [
            Exit::Accepted,
            Exit::Temporary,
            Exit::Unavailable,
            Exit::Data,
            Exit::Protocol,
            Exit::Denied,
            Exit::NoHost,
            Exit::NoInput,
            Exit::Usage,
        ];
        ORDER.iter().position(|&exit| exit == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }

    /// The worse of two.
    pub(super) fn worst(self, other: Self) -> Self {
        if other.badness() > self.badness() { other } else { self }
    }

    /// The code for one recipient's outcome.
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted(_) => Self::Accepted,
            Outcome::Failed(failure) => Self::of_failure(failure),
        }
    }

    fn of_failure(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(..) if failure.permanence() == Permanence::Transient => Self::Temporary,
            // RFC 4954 §6: 530, 534, 535 and 538 are about authentication wherever they come.
            Failure::Refused(phase, reply)
                if matches!(phase, Phase::Login | Phase::StartTls)
                    || matches!(reply.code(), 530 | 534 | 535 | 538) =>
            {
                Self::Denied
            }
            Failure::Refused(..) => Self::Unavailable,
            Failure::Local(refusal) => match refusal {
                LocalRefusal::TlsNotOffered | LocalRefusal::LoginNotOffered | LocalRefusal::LoginNeedsTls => {
                    Self::Denied
                }
                LocalRefusal::ContentUnreadable => Self::NoInput,
                LocalRefusal::TooBig { .. }
                | LocalRefusal::NeedsEightBitMime
                | LocalRefusal::NeedsSmtputf8
                | LocalRefusal::NeedsBinaryMime
                | _ => Self::Data,
            },
            Failure::Tls(_) => Self::Denied,
            Failure::Protocol(..) => Self::Protocol,
            Failure::Closed(_) | Failure::TimedOut(_) | _ => Self::Temporary,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why nothing was sent at all: the code and the sentence.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) exit: Exit,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(exit: Exit, text: String) -> Self {
        Self { exit, text }
    }
}
