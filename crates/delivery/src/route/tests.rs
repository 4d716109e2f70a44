use super::*;
use crate::directory::{DirectorySettings, DomainSettings};
use postroad_proto::addr::Domain;
use proptest::prelude::*;

fn anybody() -> Directory {
    Directory::build(&DirectorySettings { domains: vec![], unlisted: Unlisted::Take }).unwrap()
}

fn listed(domains: &[(&str, &[&str])]) -> Directory {
    let domains = domains
        .iter()
        .map(|(name, mailboxes)| DomainSettings {
            name: Domain::parse(name).unwrap(),
            mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
            aliases: vec![],
            catch_all: vec![],
            separator: None,
        })
        .collect();
    Directory::build(&DirectorySettings { domains, unlisted: Unlisted::Refuse }).unwrap()
}

fn route() -> Route {
    let template = Template::parse("/var/mail/{domain}/{local}").unwrap();
    Route::new(template, Quota::default(), vec![], &anybody()).unwrap()
}

fn place(address: &str) -> String {
    let mailbox = Mailbox::parse(address).unwrap();
    route().destination(&mailbox).maildir.to_str().unwrap().to_owned()
}

#[test]
fn paths_cannot_climb_out() {
    for (address, expected) in [
        ("Bob.Jones+x@Example.ORG", "/var/mail/example.org/bob.jones+x"),
        ("\"../../etc\"@example.org", "/var/mail/example.org/%2e.%2f..%2fetc"),
        ("\"..\"@example.org", "/var/mail/example.org/%2e."),
        ("\".\"@example.org", "/var/mail/example.org/%2e"),
        ("a/b@example.org", "/var/mail/example.org/a%2fb"),
        ("a%2fb@example.org", "/var/mail/example.org/a%252fb"),
        ("\".hidden\"@example.org", "/var/mail/example.org/%2ehidden"),
        ("\"a b\"@[192.0.2.1]", "/var/mail/%5b192.0.2.1%5d/a%20b"),
        ("x@Bücher.example", "/var/mail/xn--bcher-kva.example/x"),
        ("x@xn--bcher-kva.example", "/var/mail/xn--bcher-kva.example/x"),
        ("用@example.org", "/var/mail/example.org/%e7%94%a8"),
    ] {
        assert_eq!(place(address), expected, "{address}");
    }
}

#[test]
fn long_names_are_split_and_stay_apart() {
    let long = "é".repeat(32);
    let path = place(&format!("{long}@example.org"));
    assert_eq!(path, format!("/var/mail/example.org/{}", "%c3%a9".repeat(32)));
    // no international name, so that it has no shorter form
    let label = "\u{fffd}".repeat(20);
    let domain = [label.as_str(); 4].join(".");
    let path = place(&format!("x@{domain}"));
    assert!(path.split('/').all(|part| part.len() <= MAX_COMPONENT + 1 && !part.starts_with('.')), "{path}");
    assert_eq!(path.split('/').filter(|part| part.ends_with('%')).count(), 3, "{path}");
}

#[test]
fn templates_are_checked() {
    for (text, fault) in [
        ("mail/{local}", RouteError::NotAbsolute("mail/{local}".into())),
        ("/var/../{local}", RouteError::BadPart("..".into())),
        ("/var/{domain}-{local}", RouteError::BadPart("{domain}-{local}".into())),
        ("/var/{user}/{local}", RouteError::BadPart("{user}".into())),
    ] {
        assert_eq!(Template::parse(text), Err(fault), "{text}");
    }
    let template = Template::parse("/home//./{local}/Maildir").unwrap();
    assert_eq!(
        (template.to_string().as_str(), template.base()),
        ("/home/{local}/Maildir", Path::new("/home"))
    );
}

#[test]
fn two_mailboxes_never_share_a_place() {
    let template = Template::parse("/home/{local}").unwrap();
    let make = |overrides, directory: &Directory| {
        Route::new(template.clone(), Quota::default(), overrides, directory)
            .map_err(|error| error.to_string())
    };
    let two = listed(&[("a.example", &["bob"]), ("b.example", &["bob"])]);
    assert_eq!(make(vec![], &two).unwrap_err(), "bob@a.example and bob@b.example would share one Maildir");
    assert_eq!(
        make(vec![], &anybody()).unwrap_err(),
        "\"/home/{local}\" needs both {local} and {domain}, or neither, where any recipient is taken"
    );
    let bob = Mailbox::parse("BOB@b.example").unwrap();
    let own = |maildir: &str| Override {
        mailbox: bob.clone(),
        maildir: Some(maildir.into()),
        quota: Some(Quota { bytes: Some(5), messages: None }),
    };
    let route = make(vec![own("/srv/bob/Maildir")], &two).unwrap();
    assert_eq!(
        route.destination(&bob),
        Destination {
            maildir: "/srv/bob/Maildir".into(),
            base: "/srv/bob".into(),
            quota: Quota { bytes: Some(5), messages: None }
        }
    );
    assert!(make(vec![own("/srv/../bob")], &two).unwrap_err().contains("without .."));
    assert!(make(vec![own("bob")], &two).unwrap_err().contains("absolute"));
}

proptest! {
    #[test]
    fn different_names_make_different_components(a in "\\PC{1,200}", b in "\\PC{1,200}") {
        let encode = |name: &str| {
            let mut path = PathBuf::from("/x");
            push_encoded(&mut path, name);
            path
        };
        let (one, other) = (encode(&a), encode(&b));
        prop_assert_eq!(one == other, a == b);
        let parts: Vec<_> = one.components().skip(2).collect();
        prop_assert!(!parts.is_empty());
        for part in parts {
            let Component::Normal(name) = part else { return Err(TestCaseError::fail("not a plain component")) };
            prop_assert!(name.len() <= MAX_COMPONENT + 1 && name.as_encoded_bytes()[0] != b'.');
        }
    }
}

#[test]
fn a_template_without_placeholders_is_one_maildir_for_all() {
    let template = Template::parse("/Maildir").unwrap().below(Path::new("/srv/{odd}"));
    assert_eq!(template.base(), Path::new("/srv/{odd}"));
    assert_eq!(template.to_string(), "/srv/{odd}/Maildir");
    let any = Directory::build(&DirectorySettings { domains: Vec::new(), unlisted: Unlisted::Take }).unwrap();
    let route = Route::new(template, Quota::default(), Vec::new(), &any).unwrap();
    for mailbox in ["bob@example.org", "../x@example.net"] {
        let mailbox =
            Mailbox::new(mailbox.split('@').next().unwrap(), Domain::parse("example.org").unwrap()).unwrap();
        assert_eq!(route.destination(&mailbox).maildir, Path::new("/srv/{odd}/Maildir"));
    }
}
