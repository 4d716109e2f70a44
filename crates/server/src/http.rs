//! Metrics and health over HTTP: `/metrics`, `/health/live`, `/health/ready`.
//!
//! Live: the process answers. Ready: it also takes mail: the store works and has room.

use crate::shared::Shared;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use postroad_ledger::State;
use postroad_spool::Spool;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Requests at the same time; more wait.
const CONNECTIONS: usize = 32;
/// For a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a connection as a whole: one that does not read its answers must not keep its place.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// Answers for as long as the future is polled.
pub(crate) async fn serve<S: Spool>(listener: TcpListener, shared: Arc<Shared<S>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the metrics listener could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let response = answer(&request, &shared);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                tracing::debug!(%error, "a metrics connection broke");
            }
        });
    }
}

fn answer<S: Spool>(request: &Request<Incoming>, shared: &Shared<S>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => {
            let in_memory = shared.in_flight.load(Ordering::Relaxed);
            let ledger = shared.records.as_ref().map(|records| records.ledger.health()).unwrap_or_default();
            let rendered = shared.metrics.render(&shared.spool.status(), &ledger, in_memory);
            let mut response = text(StatusCode::OK, rendered);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
            response
        }
        "/health/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/health/ready" => {
            let status = shared.spool.status();
            if status.failing {
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the last write or flush failed; mail gets 451\n".to_owned(),
                )
            } else if status.free_over_reserve < 0 {
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "free disk is below spool.reserve; mail gets 452\n".to_owned(),
                )
            } else {
                text(StatusCode::OK, format!("ready\n{}", of_ledger(shared)))
            }
        }
        _ => text(StatusCode::NOT_FOUND, "/metrics, /health/live or /health/ready\n".to_owned()),
    }
}

/// What there is to say of the ledger; nothing if all is well. Mail goes on without it, so the server is no
/// less ready.
fn of_ledger<S>(shared: &Shared<S>) -> String {
    let Some(records) = &shared.records else { return String::new() };
    let health = records.ledger.health();
    match health.state {
        State::Broken => {
            format!("the ledger cannot be written: {}; {} records dropped\n", health.message, health.dropped)
        }
        State::Starting | State::Working | _ if health.dropped > 0 => {
            format!("the ledger dropped {} records\n", health.dropped)
        }
        State::Starting | State::Working | _ => String::new(),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
