//! The commands, one module each.

pub(crate) mod answer;
pub(crate) mod check;
pub(crate) mod codes;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod queue;
pub(crate) mod reference;
pub(crate) mod reload;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod trace;
