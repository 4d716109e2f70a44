//! The server: reads its configuration and the clock, listens, and drives sessions.

pub mod config;
