//! What peers said, as people may see it: escaped, and in the log with or without the local parts of
//! addresses (`log.hide_addresses`).

use postroad_proto::addr::Mailbox;
use postroad_proto::reply::Reply;
use std::borrow::Cow;
use std::fmt;

/// What stands for a local part that is left out.
const HIDDEN: &str = "...";

/// The text with every character escaped that is not simply there to be read: control characters, and
/// those that reorder or hide what stands beside them.
pub fn printable(text: &str) -> Cow<'_, str> {
    let plain = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().nth(1).is_none();
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for c in text.chars() {
        if plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

/// How addresses are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// As they are.
    Whole,
    /// Without their local parts.
    Hidden,
}

impl Addresses {
    /// As `log.hide_addresses` wants it.
    pub(crate) fn of(log: &crate::config::Log) -> Self {
        if log.hide_addresses { Self::Hidden } else { Self::Whole }
    }

    /// An address.
    pub(crate) fn mailbox(self, mailbox: &Mailbox) -> impl fmt::Display {
        match self {
            Self::Whole => printable(&mailbox.to_string()).into_owned(),
            Self::Hidden => format!("{HIDDEN}@{}", mailbox.domain()),
        }
    }

    /// A reply, whose text may name addresses.
    pub(crate) fn reply(self, reply: &Reply) -> impl fmt::Display {
        let text = reply.to_string();
        match self {
            Self::Whole => printable(&text).into_owned(),
            Self::Hidden => printable(&hide(&text)).into_owned(),
        }
    }

    /// Why something failed. Paths name mailboxes, so they go as well; their components have no blanks.
    pub(crate) fn cause(self, cause: &str) -> Cow<'_, str> {
        match self {
            Self::Whole => printable(cause),
            Self::Hidden => {
                let shown = |word| match str::contains(word, '/') {
                    true if word.ends_with(':') => "...:",
                    true => HIDDEN,
                    false => word,
                };
                let words: Vec<&str> = cause.split(' ').map(shown).collect();
                Cow::Owned(printable(&hide(&words.join(" "))).into_owned())
            }
        }
    }
}

/// Leaves out what stands in front of each `@`, back to the `<` or the blank before it.
fn hide(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        // A local part in quotes may hold blanks, but then our texts have it between < and >.
        let start = before.rfind('<').filter(|at| before.get(*at..).is_some_and(|part| !part.contains('>')));
        let start = start.or_else(|| before.rfind([' ', '"', '(', ',', '\n'])).map_or(0, |at| at + 1);
        shown.push_str(before.get(..start).unwrap_or_default());
        if start < before.len() {
            shown.push_str(HIDDEN);
        }
        shown.push('@');
        rest = after;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_proto::reply::ReplyId;

    #[test]
    fn local_parts_are_left_out_wherever_they_stand() {
        for (text, shown) in [
            ("No mailbox <bob@example.org> here", "No mailbox <...@example.org> here"),
            ("<\"a b@c\"@example.org> and <x@example.net>", "<...@c\"@example.org> and <...@example.net>"),
            ("bob@example.org, eve@example.org", "...@example.org, ...@example.org"),
            ("as in RCPT TO:<postmaster>", "as in RCPT TO:<postmaster>"),
            ("a lone @ stays", "a lone @ stays"),
        ] {
            let reply = Reply::saying(ReplyId::NoSuchMailbox, text.to_owned());
            let hidden = Addresses::Hidden.reply(&reply).to_string();
            assert!(hidden.ends_with(shown), "{hidden}");
            assert!(Addresses::Whole.reply(&reply).to_string().ends_with(text));
        }
    }

    #[test]
    fn only_what_can_be_read_is_shown_as_it_is() {
        for text in ["", "Grüße, 例子! \"quoted\" it's \\ <a@b>", "e\u{301}"] {
            let shown = printable(text);
            assert!(shown == text || shown.is_ascii(), "{shown}");
        }
        for (text, shown) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("two\r\nlines", "two\\u{d}\\u{a}lines"),
            ("\u{9b}31m \u{202e}evil\u{200b}", "\\u{9b}31m \\u{202e}evil\\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn paths_of_maildirs_are_left_out() {
        let bob = Mailbox::parse("Bob@example.org").unwrap();
        let cause = "cannot make /data/mail/example.org/%42ob/new: File exists; bob@example.org";
        assert_eq!(Addresses::Hidden.cause(cause), "cannot make ...: File exists; ...@example.org");
        assert_eq!(Addresses::Whole.cause(cause), cause);
        assert_eq!(Addresses::Hidden.mailbox(&bob).to_string(), "...@example.org");
        assert_eq!(Addresses::Whole.mailbox(&bob).to_string(), "Bob@example.org");
    }
}
