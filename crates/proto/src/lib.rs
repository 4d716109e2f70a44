//! SMTP and LMTP, both sides, and the message format, without I/O.
//!
//! Everything here is a state machine or a parser over bytes that somebody else moved: there is no
//! socket, no file, no thread and no clock, and `no_std` makes the compiler say so. Time comes in as
//! a [`time::Tick`]. The texts: RFC 5321 (SMTP), 2033 (LMTP), 2920 (pipelining), 3030 (chunks),
//! 1870 (size), 2034 and 3463 (enhanced codes), 6531 (SMTPUTF8), 5322 (message format).
//!
//! Failure is a value: what a peer did wrong becomes a [`reply::Reply`], never a panic.
#![no_std]
extern crate alloc;

pub mod addr;
pub mod base64;
pub mod client;
pub mod command;
pub mod envelope;
pub mod message;
pub mod number;
pub mod reply;
pub mod server;
pub mod time;
pub mod wire;
