//! The server: reads its configuration and the clock, listens, and drives sessions.
//!
//! [`server::Server`] is the whole; [`config`] what it runs with. Between a socket and the protocol's
//! state machine stands one module, `connection`; between the state machine and the store one other,
//! `conversation`. RFC 5321 §4.5.3.2 (timers), RFC 3207 (STARTTLS), RFC 8314 (implicit TLS).

mod blame;
pub mod clock;
pub mod config;
mod connection;
mod connections;
pub mod control;
mod conversation;
mod deliver;
pub mod dns;
mod http;
mod listener;
mod metrics;
pub mod proxy;
pub mod queue;
mod record;
pub mod server;
mod shared;
pub mod shown;
mod tcp;
pub mod tls;
