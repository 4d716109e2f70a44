//! RFC 5321 §4.4: what readers find in a Maildir, and what a crash or a fault leaves there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod common;

use common::{Scene, binary, duties, envelope, recipient, settings, store};
use postroad_delivery::agent::maildir::{FlushBy, LineEnds, MaildirAgent};
use postroad_delivery::agent::{DeliveryAgent, Report};
use postroad_delivery::route::{Override, Quota};
use postroad_proto::addr::{Domain, Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_spool::Spool;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

struct MaildirBench {
    dir: tempfile::TempDir,
    agent: Arc<MaildirAgent>,
}

impl MaildirBench {
    fn new(flush_by: FlushBy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), Quota::default(), vec![]);
        settings.flush_by = flush_by;
        let agent = Arc::new(MaildirAgent::open(settings).unwrap());
        Self { dir, agent }
    }

    fn maildir(&self, address: &str) -> PathBuf {
        let (local, domain) = address.split_once('@').unwrap();
        self.dir.path().join("mail").join(domain).join(local)
    }
}

impl duties::Bench for MaildirBench {
    fn agent(&self) -> Arc<dyn DeliveryAgent> {
        self.agent.clone()
    }

    fn arrived(&self, address: &str) -> Vec<Vec<u8>> {
        ["new", "cur"]
            .iter()
            .flat_map(|part| {
                let part = self.maildir(address).join(part);
                common::names(&part).into_iter().map(move |name| fs::read(part.join(name)).unwrap())
            })
            .collect()
    }

    fn obstruct(&self, address: &str) {
        // root may write anywhere, so a file stands where the directory should be
        let maildir = self.maildir(address);
        fs::create_dir_all(maildir.parent().unwrap()).unwrap();
        fs::write(maildir, "").unwrap();
    }

    fn mend(&self, address: &str) {
        fs::remove_file(self.maildir(address)).unwrap();
    }
}

#[test]
fn the_agent_does_its_duties() {
    duties::all(|| MaildirBench::new(FlushBy::Batch));
    duties::all(|| MaildirBench::new(FlushBy::File));
}

#[test]
fn trace_lines_stand_in_front_of_the_content_as_it_was() {
    let scene = Scene::new();
    let mailbox = Mailbox::parse("bob@example.org").unwrap();
    let original = Some(Mailbox::parse("sales@example.org").unwrap());
    let envelope = Envelope::new(
        ReversePath::Null,
        vec![Recipient { mailbox, original }, recipient("carol@example.org")],
    );
    store(&*scene.spool, scene.now(), envelope.unwrap(), b"Subject: x\r\n\r\n.\r\n");
    assert_eq!(scene.round(), ["delivered bob@example.org", "delivered carol@example.org"]);
    assert_eq!(
        String::from_utf8(scene.only("bob@example.org")).unwrap(),
        "Return-Path: <>\r\nDelivered-To: bob@example.org\r\nX-Original-To: sales@example.org\r\n\
         Subject: x\r\n\r\n.\r\n"
    );
    assert_eq!(
        String::from_utf8(scene.only("carol@example.org")).unwrap(),
        "Return-Path: <>\r\nDelivered-To: carol@example.org\r\nSubject: x\r\n\r\n.\r\n"
    );
    assert_eq!(scene.spool.status().messages, 0, "a delivered message leaves the spool");
}

#[test]
fn line_ends_become_lf_where_asked_but_never_in_binary_content() {
    let scene = Scene::with(|settings| settings.line_ends = LineEnds::Lf);
    scene.store(&["text@example.org"], b"Subject: x\r\n\r\na\rb\r\n");
    let large = b"0123456789abcdef\r\n".repeat(100_000);
    scene.store(&["large@example.org"], &large);
    store(&*scene.spool, scene.now(), binary(envelope(&["bin@example.org"])), b"\r\n\0\r\n");
    scene.round();
    assert_eq!(
        String::from_utf8(scene.only("text@example.org")).unwrap(),
        "Return-Path: <alice@example.net>\nDelivered-To: text@example.org\nSubject: x\n\na\rb\n"
    );
    assert!(scene.only("bin@example.org").ends_with(b"bin@example.org\r\n\r\n\0\r\n"));
    let arrived = scene.only("large@example.org");
    assert!(arrived.ends_with(&b"0123456789abcdef\n".repeat(100_000)));
    let name = &scene.names("large@example.org", "new")[0];
    assert!(name.ends_with(&format!(",S={}", arrived.len())), "{name}");
}

#[test]
fn a_maildir_is_private_and_its_names_are_unique_and_say_the_size() {
    let scene = Scene::new();
    let ids: Vec<_> = (0..20).map(|_| scene.store(&["bob@example.org"], b"x")).collect();
    scene.round();
    let names = scene.names("bob@example.org", "new");
    assert_eq!(names.len(), 20);
    for (name, id) in names.iter().zip(&ids) {
        let size = fs::metadata(scene.maildir("bob@example.org").join("new").join(name)).unwrap().len();
        assert_eq!(*name, format!("1795327384.M123000_{id}-0.mx.example.org,S={size}"));
    }
    assert_eq!(scene.names("bob@example.org", "tmp"), [""; 0]);
    let maildir = scene.maildir("bob@example.org");
    for path in [maildir.clone(), maildir.join("cur"), maildir.join("new"), maildir.join("tmp")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let file = maildir.join("new").join(&names[0]);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn one_recipient_that_fails_is_retried_alone() {
    let scene = Scene::new();
    let blocked = scene.maildir("b@example.org");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "in the way").unwrap();
    scene.store(&["a@example.org", "b@example.org", "c@example.org"], b"x");
    assert_eq!(
        scene.round(),
        [
            "delivered a@example.org",
            "deferred b@example.org: 451 4.3.0 Trouble on our side; try again later",
            "delivered c@example.org",
        ]
    );
    assert_eq!(scene.round(), [""; 0], "it is not due yet");
    fs::remove_file(&blocked).unwrap();
    scene.clock.forward(Duration::from_mins(1));
    assert_eq!(scene.round(), ["delivered b@example.org"]);
    for address in ["a@example.org", "b@example.org", "c@example.org"] {
        scene.only(address);
    }
    assert_eq!(scene.spool.status().messages, 0);
}

#[test]
fn nothing_above_the_maildirs_own_place_is_made() {
    let scene = Scene::new();
    fs::remove_dir(scene.dir.path().join("mail")).unwrap();
    scene.store(&["a@example.org"], b"x");
    assert_eq!(scene.round(), ["deferred a@example.org: 451 4.3.0 Trouble on our side; try again later"]);
    assert!(!scene.dir.path().join("mail").exists());
}

#[test]
fn a_maildir_that_somebody_removed_is_made_again() {
    let scene = Scene::new();
    scene.store(&["a@example.org"], b"x");
    scene.round();
    fs::remove_dir_all(scene.dir.path().join("mail/example.org")).unwrap();
    scene.store(&["a@example.org"], b"y");
    assert_eq!(scene.round(), ["delivered a@example.org"]);
    fs::remove_dir_all(scene.maildir("a@example.org").join("tmp")).unwrap();
    scene.store(&["a@example.org"], b"z");
    assert!(scene.round()[0].starts_with("deferred a@example.org: 451"));
    scene.clock.forward(Duration::from_mins(1));
    assert_eq!(scene.round(), ["delivered a@example.org"]);
    assert_eq!(scene.names("a@example.org", "new").len(), 2);
}

#[test]
fn after_a_crash_a_message_that_a_reader_moved_is_not_doubled() {
    let scene = Scene::new();
    scene.store(&["a@example.org", "b@example.org"], b"x");
    let lease = || scene.spool.lease(scene.now(), 10).unwrap();
    let first = lease();
    scene.agent.deliver(scene.now(), &first, &*scene.spool);
    drop(first); // the crash: nothing is settled
    let maildir = scene.maildir("a@example.org");
    let name = &scene.names("a@example.org", "new")[0];
    fs::rename(maildir.join("new").join(name), maildir.join("cur").join(format!("{name}:2,FS"))).unwrap();
    assert_eq!(scene.round(), ["delivered a@example.org", "delivered b@example.org"]);
    assert_eq!(scene.names("a@example.org", "new"), [""; 0]);
    assert_eq!(scene.names("a@example.org", "cur").len(), 1);
    assert_eq!(scene.names("b@example.org", "new").len(), 1);
    assert_eq!(scene.spool.status().messages, 0);
}

#[test]
fn what_a_crash_left_half_written_is_written_anew() {
    let scene = Scene::new();
    let id = scene.store(&["a@example.org"], b"the whole message");
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(scene.maildir("a@example.org").join(part)).unwrap();
    }
    let half = format!("1795327384.M123000_{id}-0.mx.example.org");
    fs::write(scene.maildir("a@example.org").join("tmp").join(half), "Return-Path: <al").unwrap();
    assert_eq!(scene.round(), ["delivered a@example.org"]);
    assert!(scene.only("a@example.org").ends_with(b"the whole message"));
    assert_eq!(scene.names("a@example.org", "tmp"), [""; 0]);
}

#[test]
fn a_file_of_the_same_name_is_never_written_over() {
    let scene = Scene::new();
    scene.store(&["a@example.org"], b"x");
    let leases = scene.spool.lease(scene.now(), 10).unwrap();
    scene.agent.deliver(scene.now(), &leases, &*scene.spool);
    let file = scene.maildir("a@example.org").join("new").join(&scene.names("a@example.org", "new")[0]);
    fs::write(&file, "changed by its reader").unwrap();
    // not known to be uncertain, so that only the rename can notice
    assert_eq!(scene.agent.deliver(scene.now(), &leases, &*scene.spool), [[Report::delivered()]]);
    assert_eq!(scene.only("a@example.org"), b"changed by its reader");
    assert_eq!(scene.names("a@example.org", "tmp"), [""; 0]);
}

#[test]
fn a_reader_never_sees_a_file_that_is_not_whole() {
    let scene = Scene::new();
    let content = b"0123456789abcdef\r\n".repeat(30_000);
    for _ in 0..40 {
        scene.store(&["a@example.org"], &content);
    }
    let whole = content.len() + "Return-Path: <alice@example.net>\r\nDelivered-To: a@example.org\r\n".len();
    let new = scene.maildir("a@example.org").join("new");
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            // bounded by the deliveries below, and by the number of looks
            for look in 0..1_000_000 {
                let names = common::names(&new);
                for name in &names {
                    let size = fs::metadata(new.join(name)).unwrap().len();
                    assert_eq!(size, whole as u64, "look {look}");
                }
                if names.len() == 40 {
                    return names.len();
                }
                std::thread::yield_now();
            }
            0
        });
        assert_eq!(scene.round().len(), 40);
        watcher.join().unwrap()
    });
    assert_eq!(seen, 40);
}

#[test]
fn addresses_cannot_reach_outside_of_their_place() {
    let scene = Scene::new();
    let domain = || Domain::parse("example.org").unwrap();
    let evil = ["../../etc", "..", ".", "a/b", "/etc/passwd", ".ssh", &"é".repeat(32), "A b"];
    let recipients = evil
        .iter()
        .map(|local| Recipient { mailbox: Mailbox::new(local, domain()).unwrap(), original: None })
        .collect();
    let envelope = Envelope::new(ReversePath::Null, recipients).unwrap();
    store(&*scene.spool, scene.now(), envelope, b"x");
    assert!(scene.round().iter().all(|line| line.starts_with("delivered ")));
    assert_eq!(common::names(scene.dir.path()), ["mail"]);
    assert_eq!(common::names(&scene.dir.path().join("mail")), ["example.org"]);
    let boxes = common::names(&scene.dir.path().join("mail/example.org"));
    let long = "%c3%a9".repeat(32);
    assert_eq!(
        boxes,
        ["%2e", "%2e.", "%2e.%2f..%2fetc", "%2essh", "%2fetc%2fpasswd", &long, "a%20b", "a%2fb"]
    );
}

#[test]
fn leftovers_of_two_days_ago_are_swept() {
    let scene = Scene::new();
    let tmp = scene.maildir("a@example.org").join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    for (name, hours) in [("old", 48), ("young", 1)] {
        let file = fs::File::create(tmp.join(name)).unwrap();
        let at = UNIX_EPOCH + Duration::from_millis(scene.now().0) - Duration::from_hours(hours);
        file.set_modified(at).unwrap();
    }
    scene.store(&["a@example.org"], b"x");
    scene.round();
    assert_eq!(scene.names("a@example.org", "tmp"), ["young"]);
    scene.clock.forward(Duration::from_hours(40));
    scene.store(&["a@example.org"], b"x");
    scene.round();
    assert_eq!(scene.names("a@example.org", "tmp"), [""; 0]);
}

#[test]
fn a_mailbox_may_have_a_place_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("elsewhere/Maildir");
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    let bob = Mailbox::parse("bob@example.org").unwrap();
    let overrides = vec![Override { mailbox: bob, maildir: Some(own.clone()), quota: None }];
    let settings = settings(dir.path(), Quota::default(), overrides);
    let agent = MaildirAgent::open(settings).unwrap();
    let spool = postroad_spool::memory::MemorySpool::new();
    store(&spool, common::START, envelope(&["BOB@example.org", "eve@example.org"]), b"x");
    let leases = spool.lease(common::START, 1).unwrap();
    assert_eq!(agent.deliver(common::START, &leases, &spool), [[Report::delivered(), Report::delivered()]]);
    assert_eq!(common::names(&own.join("new")).len(), 1);
    assert_eq!(common::names(&dir.path().join("mail/example.org")), ["eve"]);
}

#[test]
fn a_message_with_more_recipients_than_a_round_takes_reaches_all() {
    let scene = Scene::new();
    let all: Vec<String> = (0..1100).map(|n| format!("user{}@example.org", n % 4)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    scene.store(&all, b"x");
    scene.store(&all[..600], b"y");
    scene.store(&all[..600], b"z");
    assert_eq!(scene.round().len(), 2300);
    for user in 0..4 {
        assert_eq!(scene.names(&format!("user{user}@example.org"), "new").len(), 575);
    }
    assert_eq!(scene.spool.status().messages, 0);
}

#[test]
fn python_reads_what_was_delivered() {
    const SCRIPT: &str = "\
import mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=False)
for key, message in box.iteritems():
    print(message.get_subdir(), message['Return-Path'], message['Delivered-To'], message['Subject'], repr(message.get_payload()))
";
    let Ok(version) = std::process::Command::new("python3").arg("--version").output() else {
        return; // a machine without Python has other readers
    };
    assert!(version.status.success());
    let scene = Scene::new();
    scene.store(&["a@example.org"], b"Subject: hello\r\n\r\nline\r\n");
    scene.round();
    let output = std::process::Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(scene.maildir("a@example.org"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().replace("\\r\\n", "\\n"),
        "new <alice@example.net> a@example.org hello 'line\\n'\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_place_of_all_maildirs_is_made_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("var/lib");
    MaildirAgent::open(settings(&deep, Quota::default(), vec![])).unwrap();
    assert!(deep.join("mail").is_dir());
    fs::write(dir.path().join("file"), "").unwrap();
    let below_a_file = settings(&dir.path().join("file"), Quota::default(), vec![]);
    assert!(MaildirAgent::open(below_a_file).is_err());
}
