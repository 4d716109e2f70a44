//! Whether the cause of a bounce can still be seen in the DNS: which checks fit it, and what their findings
//! mean for it.
//!
//! [`plan`] says what to ask; whoever has a resolver runs the checks with [`postroad_policy::live::run`];
//! [`add`] tells the findings on the page of the reading. Nothing is asked here. What only the receiver can
//! change, such as its TLS, is not checked.

mod plan;
mod tell;

pub use plan::{Gap, Plan, plan};
pub use tell::{Blind, Results, add};
