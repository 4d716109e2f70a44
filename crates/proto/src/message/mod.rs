//! The message format, as far as a mail server must read or write it (RFC 5322, RFC 5321 §4.4).

pub mod header;
pub mod trace;
