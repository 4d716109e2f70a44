//! The record of each session and message: what was said, found and decided, and when.
//!
//! It never decides anything, never stops mail, and holds neither content nor secrets. The way of a record:
//! a session tells its [`SessionLog`] what happens; now and then it takes a [`Chunk`] out and submits it to the
//! [`Ledger`], which never blocks; a thread writes chunks to a file in blocks; a reader finds them again by
//! [`Reference`], address, message-id and more, also while the server runs.
//!
//! ```
//! use postroad_ledger::{Ledger, Origin, Reader, References, SessionLog, Settings};
//! use postroad_proto::reply::{Reply, ReplyId};
//! use postroad_proto::time::{Tick, UnixTime};
//! use std::time::Duration;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ledger.db");
//! let ledger = Ledger::start(&Settings::new(&path))?;
//! let references = References::default();
//!
//! let (started, began) = (UnixTime(1_795_327_384_000), Tick::default());
//! let origin = Origin::Session { peer: Some("192.0.2.1:4711".parse()?), listener: "mx".into() };
//! let mut log = SessionLog::new(references.next(started), started, began, origin);
//! log.command(began, b"RCPT TO:<nobody@example.org>");
//! let reference = references.next(started);
//! log.reply(began, &Reply::of(ReplyId::NeedMail), Some(reference));
//! if let Some(chunk) = log.take() {
//!     ledger.submit(chunk);
//! }
//! assert!(ledger.flush(Duration::from_secs(10)));
//!
//! let reader = Reader::open(&path)?;
//! let record = reader.find(reference)?.ok_or("not found")?;
//! assert_eq!((record.events.len(), record.asked), (2, Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod event;
mod query;
mod queue;
mod reference;
mod search;
mod session;
mod store;
mod summary;
mod terms;
mod wire;

pub use event::{Event, Events, Kept, Outcome, Side, decode, encode};
pub use query::{AddressPattern, BadPattern, CodePattern, Network, Query};
pub use queue::{Health, Ledger, Settings, State};
pub use reference::{NotAReference, Reference, References};
pub use search::{Page, Position, ReadError, Reader, Record, survey};
pub use session::{Chunk, Origin, SessionLog};
pub use summary::{Happening, Summary};
pub use terms::path;
