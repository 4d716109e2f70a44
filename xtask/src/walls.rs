//! Which of our crates may use which, and what they may not use at all.
//!
//! A crate earns its place by what it forbids; this is where that is held to. The facts come from
//! `cargo metadata`, so an edge that the compiler sees cannot be missed here.

use crate::{root, trouble};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::process::Command;

/// Each crate of ours with the crates of ours it may use. Tests may use all of them.
const EDGES: &[(&str, &[&str])] = &[
    ("postroad-proto", &[]),
    ("postroad-spool", &["postroad-proto"]),
    ("postroad-delivery", &["postroad-proto", "postroad-spool"]),
    ("postroad-reference", &[]),
    ("postroad-explain", &["postroad-proto", "postroad-reference", "postroad-ledger", "postroad-policy"]),
    ("postroad-ledger", &["postroad-proto"]),
    ("postroad-policy", &["postroad-proto"]),
    (
        "postroad-server",
        &["postroad-proto", "postroad-spool", "postroad-delivery", "postroad-ledger", "postroad-policy"],
    ),
    (
        "postroad",
        &[
            "postroad-proto",
            "postroad-spool",
            "postroad-delivery",
            "postroad-reference",
            "postroad-explain",
            "postroad-ledger",
            "postroad-policy",
            "postroad-server",
        ],
    ),
    (
        "postroad-testkit",
        &[
            "postroad-proto",
            "postroad-spool",
            "postroad-delivery",
            "postroad-reference",
            "postroad-policy",
            "postroad-server",
        ],
    ),
    (
        "xtask",
        &[
            "postroad-proto",
            "postroad-spool",
            "postroad-delivery",
            "postroad-reference",
            "postroad-explain",
            "postroad-ledger",
            "postroad-policy",
            "postroad-server",
            "postroad-testkit",
        ],
    ),
];

/// The crates that may use an async runtime, outside tests.
const MAY_USE_TOKIO: &[&str] = &["postroad-delivery", "postroad-server", "postroad"];

/// What proto may use: crates that need no std as they are configured here.
const PROTO_MAY_USE: &[&str] = &["memchr"];

/// Every breach of the walls, as sentences; empty when they stand.
pub fn breaches() -> io::Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        return trouble(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut found = Vec::new();
    for package in list(&metadata, "packages") {
        check(package, &mut found);
    }
    let proto = std::fs::read_to_string(root().join("crates/proto/src/lib.rs"))?;
    if !proto.lines().any(|line| line == "#![no_std]") || proto.contains("extern crate std") {
        found.push("postroad-proto is no longer no_std: I/O, threads and clocks could get in".into());
    }
    Ok(found)
}

fn check(package: &Value, found: &mut Vec<String>) {
    let name = text(package, "name");
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let Some(may_use) = allowed.get(name) else {
        found.push(format!("{name} is not in the table of xtask/src/walls.rs"));
        return;
    };
    for dependency in list(package, "dependencies") {
        let used = text(dependency, "name");
        let in_tests = dependency.get("kind").and_then(Value::as_str) == Some("dev");
        if in_tests {
            continue;
        }
        if allowed.contains_key(used) && !may_use.contains(&used) {
            found.push(format!("{name} may not use {used}"));
        }
        if used.starts_with("tokio") && !MAY_USE_TOKIO.contains(&name) {
            found.push(format!("{name} may not use {used}: it is bound to no runtime"));
        }
        if name == "postroad-proto" {
            let std = list(dependency, "features").any(|feature| feature.as_str() == Some("std"));
            let defaults = dependency.get("uses_default_features").and_then(Value::as_bool) != Some(false);
            if !PROTO_MAY_USE.contains(&used) {
                found.push(format!("postroad-proto may not use {used}"));
            } else if std || defaults {
                found.push(format!("postroad-proto must use {used} without its std feature"));
            }
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walls_stand() {
        assert_eq!(breaches().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn breaches_are_seen() {
        let package = r#"{"name":"postroad-proto","dependencies":[
            {"name":"postroad-spool","kind":null,"features":[],"uses_default_features":true},
            {"name":"memchr","kind":null,"features":["std"],"uses_default_features":false},
            {"name":"tokio","kind":null,"features":[],"uses_default_features":true},
            {"name":"proptest","kind":"dev","features":["std"],"uses_default_features":true}]}"#;
        let mut found = Vec::new();
        check(&serde_json::from_str(package).unwrap(), &mut found);
        assert_eq!(
            found,
            [
                "postroad-proto may not use postroad-spool",
                "postroad-proto may not use postroad-spool",
                "postroad-proto must use memchr without its std feature",
                "postroad-proto may not use tokio: it is bound to no runtime",
                "postroad-proto may not use tokio",
            ]
        );
    }
}
