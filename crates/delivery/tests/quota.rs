//! Quotas: 452 4.2.2 while a mailbox is full, 552 5.2.2 once it has been for long, 552 5.2.3 for what
//! could never fit; and the file that other programs read and write beside us.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use common::{Scene, settings};
use postroad_delivery::agent::maildir::MaildirAgent;
use postroad_delivery::route::Quota;
use postroad_proto::addr::Mailbox;
use postroad_spool::SpoolId;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

const BOB: &str = "bob@example.org";
/// The trace lines in front of each message to Bob.
const TRACE: u64 = "Return-Path: <alice@example.net>\r\nDelivered-To: bob@example.org\r\n".len() as u64;

fn bytes(limit: u64) -> Quota {
    Quota { bytes: Some(limit), messages: None }
}

fn messages(limit: u64) -> Quota {
    Quota { bytes: None, messages: Some(limit) }
}

fn verdict(scene: &Scene, agent: &MaildirAgent, size: u64) -> String {
    let refusal = agent.quota_verdict(&Mailbox::parse(BOB).unwrap(), size, scene.now());
    refusal.map_or("ok".into(), |refusal| refusal.reply().to_string())
}

fn at_rcpt(scene: &Scene, size: u64) -> String {
    verdict(scene, &scene.agent, size)
}

fn sizes(scene: &Scene) -> String {
    fs::read_to_string(scene.maildir(BOB).join("maildirsize")).unwrap()
}

/// Deletes a message as a reader that keeps quotas does.
fn delete_one(scene: &Scene) {
    let name = &scene.names(BOB, "new")[0];
    let path = scene.maildir(BOB).join("new").join(name);
    let size = fs::metadata(&path).unwrap().len();
    fs::remove_file(path).unwrap();
    let file = scene.maildir(BOB).join("maildirsize");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{text}-{size} -1\n")).unwrap();
}

#[test]
fn a_full_mailbox_defers_until_there_is_room() {
    let scene = Scene::with_quota(messages(2));
    for _ in 0..3 {
        scene.store(&[BOB], b"x");
    }
    assert_eq!(
        scene.round(),
        [
            "delivered bob@example.org",
            "delivered bob@example.org",
            "deferred bob@example.org: 452 4.2.2 The mailbox is full; try again later",
        ]
    );
    assert_eq!(at_rcpt(&scene, 1), "452 4.2.2 The mailbox is full; try again later");
    delete_one(&scene);
    scene.clock.forward(Duration::from_mins(1));
    assert_eq!(at_rcpt(&scene, 1), "ok");
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
    assert_eq!(scene.names(BOB, "new").len(), 2);
}

#[test]
fn octets_count_as_the_files_have_them() {
    let scene = Scene::with_quota(bytes(3 * (TRACE + 10)));
    for _ in 0..4 {
        scene.store(&[BOB], b"0123456789");
    }
    let said = scene.round();
    assert_eq!(said.iter().filter(|line| line.starts_with("delivered")).count(), 3);
    assert!(said[3].starts_with("deferred bob@example.org: 452 4.2.2"), "{said:?}");
    let total: u64 = scene
        .names(BOB, "new")
        .iter()
        .map(|name| fs::metadata(scene.maildir(BOB).join("new").join(name)).unwrap().len())
        .sum();
    assert_eq!(total, 3 * (TRACE + 10));
}

#[test]
fn a_message_larger_than_the_mailbox_fails_at_once() {
    let scene = Scene::with_quota(bytes(500));
    scene.store(&[BOB, "eve@example.org"], &[b'x'; 600]);
    let said = scene.round();
    assert_eq!(said[0], "failed bob@example.org: 552 5.2.3 The message is larger than the mailbox can take");
    assert_eq!(at_rcpt(&scene, 501), "552 5.2.3 The message is larger than the mailbox can take");
    assert_eq!(
        at_rcpt(&scene, 400),
        "552 5.2.3 The message is larger than the mailbox can take",
        "with its trace"
    );
    assert_eq!(at_rcpt(&scene, 300), "ok");
}

#[test]
fn a_mailbox_that_stays_full_fails_and_a_restart_does_not_forget() {
    let scene = Scene::with_quota(messages(1));
    scene.store(&[BOB], b"x");
    scene.round();
    scene.store(&[BOB], b"y");
    assert!(scene.round()[0].starts_with("deferred bob@example.org: 452 4.2.2"));
    scene.clock.forward(Duration::from_hours(25));
    let restarted = MaildirAgent::open(settings(scene.dir.path(), messages(1), vec![])).unwrap();
    assert_eq!(verdict(&scene, &restarted, 1), "ok", "what may be out of date is no reason to refuse");
    assert_eq!(
        scene.round(),
        ["failed bob@example.org: 552 5.2.2 The mailbox has been full for a long time"]
    );
    scene.clock.forward(Duration::from_secs(3));
    // the count that attempt made has the machine's time, not that of the test's clock
    let counted = fs::File::options().append(true).open(scene.maildir(BOB).join("maildirsize")).unwrap();
    counted.set_modified(UNIX_EPOCH + Duration::from_millis(scene.now().0)).unwrap();
    assert_eq!(verdict(&scene, &restarted, 1), "552 5.2.2 The mailbox has been full for a long time");
    delete_one(&scene);
    scene.clock.forward(Duration::from_secs(3));
    scene.store(&[BOB], b"z");
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
    scene.store(&[BOB], b"again");
    assert!(
        scene.round()[0].starts_with("deferred bob@example.org: 452 4.2.2"),
        "the count of days begins anew"
    );
}

#[test]
fn the_count_is_kept_where_other_programs_look() {
    let scene = Scene::with_quota(Quota { bytes: Some(10_000), messages: Some(50) });
    scene.store(&[BOB], b"0123456789");
    scene.store(&[BOB], b"0123456789");
    scene.round();
    let one = TRACE + 10;
    assert_eq!(sizes(&scene), format!("10000S,50C\n0 0\n{} 2\n", 2 * one));
    scene.clock.forward(Duration::from_secs(3));
    scene.store(&[BOB], b"0123456789");
    scene.round();
    assert_eq!(sizes(&scene), format!("10000S,50C\n0 0\n{} 2\n{one} 1\n", 2 * one));
}

#[test]
fn a_count_that_cannot_be_right_is_made_anew() {
    let scene = Scene::with_quota(messages(3));
    scene.store(&[BOB], b"x");
    scene.round();
    let file = scene.maildir(BOB).join("maildirsize");
    let long = format!("3C\n{}", "0 0\n".repeat(2000));
    for broken in ["", "3C\n", "9S\n0 0\n", "3C\n0 zero\n", "3C\n0 0", "3C\n-5 -1\n", "\0\0\0\0", &long] {
        fs::write(&file, broken).unwrap();
        scene.clock.forward(Duration::from_secs(3));
        let name = scene.names(BOB, "new")[0].clone();
        scene.store(&[BOB], b"x");
        assert_eq!(scene.round(), ["delivered bob@example.org"], "{broken:?}");
        let text = sizes(&scene);
        assert!(text.starts_with("3C\n") && text.lines().count() == 3, "{broken:?} became {text:?}");
        assert!(text.contains(&format!("{} 1\n", TRACE + 1)), "{broken:?} became {text:?}");
        // readers make room without a word
        fs::remove_file(scene.maildir(BOB).join("new").join(name)).unwrap();
    }
}

#[test]
fn folders_count_and_what_is_trashed_does_not() {
    let scene = Scene::with_quota(messages(4));
    let maildir = scene.maildir(BOB);
    for file in [
        "cur/1.a,S=5:2,S",
        "cur/2.a,S=5:2,ST",
        "new/.hidden",
        ".Sent/cur/3.a:2,S",
        ".Trash/cur/4.a:2,S",
        ".Sent/tmp/5.a",
        "tmp/6.a",
    ] {
        fs::create_dir_all(maildir.join(file).parent().unwrap()).unwrap();
        fs::write(maildir.join(file), "12345").unwrap();
    }
    for _ in 0..3 {
        scene.store(&[BOB], b"x");
    }
    let said = scene.round();
    assert_eq!(said.iter().filter(|line| line.starts_with("delivered")).count(), 2, "{said:?}");
    assert!(sizes(&scene).starts_with("4C\n10 2\n"), "{}", sizes(&scene));
}

#[test]
fn a_delivery_that_does_not_happen_takes_no_room() {
    let scene = Scene::with_quota(messages(1));
    scene.store(&[BOB], b"x");
    fs::create_dir_all(scene.maildir(BOB)).unwrap();
    fs::write(scene.maildir(BOB).join("tmp"), "in the way").unwrap();
    assert!(scene.round()[0].starts_with("deferred bob@example.org: 451"));
    fs::remove_file(scene.maildir(BOB).join("tmp")).unwrap();
    scene.clock.forward(Duration::from_mins(1));
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
}

#[test]
fn a_redelivery_after_a_crash_counts_once() {
    let scene = Scene::with_quota(messages(2));
    scene.store(&[BOB], b"x");
    let leases = postroad_spool::Spool::lease(&*scene.spool, scene.now(), 1).unwrap();
    postroad_delivery::agent::DeliveryAgent::deliver(&*scene.agent, scene.now(), &leases, &*scene.spool);
    drop(leases);
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
    scene.store(&[BOB], b"y");
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
    assert_eq!(at_rcpt(&scene, 0), "452 4.2.2 The mailbox is full; try again later");
}

#[test]
fn a_mailbox_without_a_quota_has_no_books() {
    let scene = Scene::new();
    scene.store(&[BOB], b"x");
    scene.round();
    assert_eq!(at_rcpt(&scene, u64::MAX), "ok");
    assert_eq!(common::names(&scene.maildir(BOB)), ["cur", "new", "tmp"]);
}

#[test]
fn room_is_promised_until_the_delivery() {
    let scene = Scene::with_quota(bytes(1000));
    let envelope = common::envelope(&[BOB, "eve@example.org"]);
    let promise = |id: u128, size: u64| {
        let (promise, refused) = scene.agent.promise(SpoolId::from_bits(id), &envelope, size, scene.now());
        let refused: Vec<String> =
            refused.iter().map(|(who, why)| format!("{who}: {}", why.reply())).collect();
        (promise, refused)
    };
    let full = [
        "bob@example.org: 452 4.2.2 The mailbox is full; try again later",
        "eve@example.org: 452 4.2.2 The mailbox is full; try again later",
    ];
    let (first, refused) = promise(1, 600);
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(promise(2, 600).1, full);
    first.withdraw();
    assert!(promise(3, 600).1.is_empty());
    // Nobody delivers it: it does not fill the mailbox for ever.
    scene.clock.forward(Duration::from_hours(23));
    assert_eq!(promise(4, 600).1, full);
    scene.clock.forward(Duration::from_hours(2));
    assert!(promise(5, 600).1.is_empty());
}

#[test]
fn a_promise_is_kept_through_failed_attempts_and_ends_with_the_delivery() {
    let scene = Scene::with_quota(bytes(1000));
    let id = scene.store(&[BOB], &[b'x'; 600]);
    let envelope = common::envelope(&[BOB]);
    let promise = |id: SpoolId, size: u64| scene.agent.promise(id, &envelope, size, scene.now()).1.len();
    assert_eq!(promise(id, 600), 0);
    fs::create_dir_all(scene.maildir(BOB)).unwrap();
    fs::write(scene.maildir(BOB).join("tmp"), "in the way").unwrap();
    assert!(scene.round()[0].starts_with("deferred bob@example.org: 451"));
    assert_eq!(promise(SpoolId::from_bits(2), 600), 1);
    fs::remove_file(scene.maildir(BOB).join("tmp")).unwrap();
    scene.clock.forward(Duration::from_mins(1));
    assert_eq!(scene.round(), ["delivered bob@example.org"]);
    // What is left is what the file left.
    let left = 1000 - 600 - 2 * TRACE;
    assert_eq!(promise(SpoolId::from_bits(3), left + 1), 1);
    assert_eq!(promise(SpoolId::from_bits(4), left), 0);
}
