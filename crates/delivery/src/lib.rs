//! Delivers what the spool holds: who gets it, where it goes, and what came of it.
//!
//! [`directory`] says which mailboxes an address means, [`route`] where a mailbox lies, an
//! [`agent::DeliveryAgent`] tries once, and the [`runner`] takes leases, hands them to the agent and
//! settles what came of it, with back-off. RFC 5321 §4.4 (final delivery), §4.5.1 (postmaster),
//! §4.5.4.1 (retries). Receiving and delivering meet only at the spool. Trouble of ours defers
//! (4yz), it never fails a message; docs/delivery.md has the table of crashes.
//!
//! No clock is read here: the time comes in through [`runner::Clock`].

pub mod agent;
pub mod directory;
pub mod observer;
pub mod route;
pub mod runner;
pub mod schedule;
