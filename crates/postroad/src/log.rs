//! The log, on standard error: for people or as JSON, from a bounded queue that drops rather than blocks.

use postroad_server::config::{Level, Log, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines that may wait to be written.
const QUEUE: usize = 32_768;

/// Starts the log; what is queued is written when the guard is dropped.
pub(crate) fn start(log: &Log) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(std::io::stderr());
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
        Level::Info | _ => LevelFilter::INFO,
    };
    let layer = fmt::layer().with_writer(writer).with_target(false);
    let registry = tracing_subscriber::registry().with(level);
    let started = match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Human | _ => {
            registry.with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
    };
    // It can fail only if a log was started before in this process, which then goes on.
    drop(started);
    guard
}
