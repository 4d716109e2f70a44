//! Metrics, health and the control socket: what they say, and that nobody can hurt the server there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use support::{Running, connect, plain};

#[test]
fn metrics_are_well_formed_and_count() {
    let running = Running::start(&plain(""));
    let mut client = running.client();
    client.deliver(&["bob@example.org", "carol@example.org"], "counted");
    client.say("FROB", "500");
    running.settle();
    let (head, text) = running.http_raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.contains("openmetrics-text; version=1.0.0"), "{head}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"));
    assert!(text.ends_with('\n'));
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = Vec::new();
    for line in &lines[..lines.len() - 1] {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 5 && !helped.contains(&name), "{line}");
            helped.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = sample.split('{').next().unwrap();
            let known = families.iter().any(|(family, kind)| match *kind {
                "counter" => name.strip_suffix("_total") == Some(*family),
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(*family))
                }
                _ => name == *family,
            });
            assert!(known && name.starts_with("postroad_"), "no TYPE stands before {line}");
        }
    }
    assert!(families.len() >= 20 && families.keys().all(|name| helped.contains(name)), "{families:?}");
    for (name, value) in [
        ("postroad_connections_total", 1),
        ("postroad_sessions", 1),
        ("postroad_messages_accepted_total", 1),
        ("postroad_delivered_total", 2),
        ("postroad_spool_messages", 0),
        ("postroad_spool_commits_total", 1),
        ("postroad_commit_seconds_count", 1),
        ("postroad_panics_total", 0),
    ] {
        assert!(running.metric(name) == value, "{name} is {}", running.metric(name));
    }
    assert!(
        lines.iter().any(|line| line.starts_with("postroad_replies_total{") && line.contains("code=\"500\""))
    );
}

#[test]
fn health_and_other_requests() {
    let running = Running::start(&plain(""));
    assert_eq!(running.http("/health/live"), (200, "live\n".to_owned()));
    assert_eq!(running.http("/health/ready"), (200, "ready\n".to_owned()));
    assert_eq!(running.http("/").0, 404);
    let (head, _) = running
        .http_raw(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
}

#[test]
fn odd_http_requests_hurt_nobody() {
    let running = Running::start(&plain(""));
    // Some dawdle, one sends a header without end, one a body without end, one nothing that is HTTP.
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(running.http_address());
            stream.write_all(b"GET /met").unwrap();
            stream
        })
        .collect();
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let (head, _) = running.http_raw(huge.as_bytes());
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    let body =
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n{}", "x".repeat(1 << 20));
    let (head, _) = running.http_raw(body.as_bytes());
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    let (head, _) = running.http_raw(b"\x16\x03\x01\0\0\r\n\r\n");
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    assert_eq!(running.http("/health/live").0, 200);
    running.client().deliver(&["bob@example.org"], "beside it");
    drop(slow);
}

fn control(running: &Running) -> UnixStream {
    let stream = UnixStream::connect(running.socket()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream
}

#[test]
fn the_control_socket_is_for_its_owner_and_takes_any_garbage() {
    let running = Running::start(&plain(""));
    let mode = std::fs::metadata(running.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(running.dir.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Silent clients hold up nobody.
    let silent: Vec<UnixStream> = (0..8).map(|_| control(&running)).collect();
    let requests: [&[u8]; 6] = [
        b"\n",
        b"hello\n",
        b"\xff\xfe\0\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"queue-show\",\"id\":\"../../etc/passwd\"}\n",
        b"{\"command\":\"queue-list\"",
    ];
    for request in requests {
        let mut stream = control(&running);
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"failed\"") && answer.ends_with('\n'), "{answer:?}");
    }
    let mut endless = control(&running);
    drop(endless.write_all(&vec![b'['; 1 << 20]));
    let mut answer = [0; 1024];
    let read = endless.read(&mut answer).unwrap_or(0);
    assert!(read == 0 || String::from_utf8_lossy(&answer[..read]).contains("failed"));
    assert!(running.queue().is_empty());
    running.client().deliver(&["bob@example.org"], "beside it");
    drop(silent);
    let socket = running.socket();
    let dir = running.stop();
    assert!(!socket.exists());
    drop(dir);
}
