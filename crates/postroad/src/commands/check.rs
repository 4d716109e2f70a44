//! Runs the checks that `explain --check` planned: all at once, each with a time limit, and all with one.

use crate::exit::Exit;
use anstream::eprintln;
use indicatif::{ProgressBar, ProgressStyle};
use postroad_explain::live::{Blind, Plan, Results};
use postroad_policy::dns::DnsError;
use postroad_policy::live::{self, Check};
use postroad_server::dns::Dns;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one check may take.
const ONE: Duration = Duration::from_secs(10);

/// How long all of them may take.
const ALL: Duration = Duration::from_secs(20);

/// Runs each check once, whoever asked for it.
pub(crate) fn run(plans: &[Plan], server: Option<SocketAddr>) -> Result<Result<Results, Blind>, Exit> {
    let checks: BTreeSet<Check> = plans.iter().flat_map(|plan| plan.checks.iter().cloned()).collect();
    if checks.is_empty() {
        return Ok(Ok(Results::new()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        eprintln!("postroad: {error}");
        Exit::System
    })?;
    let found = runtime.block_on(async {
        match server.map_or_else(Dns::of_system, Dns::at) {
            Ok(dns) => ask(dns, checks).await,
            Err(unknown) => {
                eprintln!("postroad: --check: {unknown}");
                Err(Blind::NoNameServer)
            }
        }
    });
    // A question that still waits must not hold up the answer.
    runtime.shutdown_background();
    Ok(found)
}

/// Asks; what is not answered in time is missing.
async fn ask(dns: Dns, checks: BTreeSet<Check>) -> Result<Results, Blind> {
    let bar = ProgressBar::new(checks.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} asking the DNS {pos}/{len}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let dns = Arc::new(dns);
    let mut running = JoinSet::new();
    for check in checks {
        let dns = Arc::clone(&dns);
        running.spawn(async move {
            let found = timeout(ONE, live::run(&*dns, &check)).await;
            (check, found.unwrap_or(Err(DnsError::Timeout)))
        });
    }
    let mut results = Results::new();
    let gathering = async {
        while let Some(ended) = running.join_next().await {
            if let Ok((check, found)) = ended {
                results.insert(check, found);
            }
            bar.inc(1);
        }
        live::is_closed(&*dns).await
    };
    let closed = timeout(ALL, gathering).await;
    bar.finish_and_clear();
    if closed == Ok(true) { Err(Blind::Closed) } else { Ok(results) }
}
