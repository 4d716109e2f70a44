//! The trace header that a server puts in front (RFC 5321 §4.4).

use crate::time::UnixTime;
use alloc::string::String;
use core::fmt::Write as _;
use core::net::IpAddr;

/// What a `Received` field tells. Names that a peer gave are escaped when written.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the peer said at EHLO, HELO or LHLO.
    pub hello: &'a str,
    /// The peer's address, if it came over IP.
    pub peer: Option<IpAddr>,
    /// Our host name.
    pub by: &'a str,
    /// The protocol keyword (RFC 3848, RFC 6531 §3.7.3), as in `ESMTPS`.
    pub with: &'a str,
    /// TLS version and cipher, if TLS is on.
    pub tls: Option<(&'a str, &'a str)>,
    /// The queue id.
    pub id: &'a str,
    /// The recipient, only where there is a single one.
    pub recipient: Option<&'a str>,
    /// When the content began to arrive.
    pub at: UnixTime,
}

impl Received<'_> {
    /// The field with its line ends. Without a break inside, a line stays below 998 octets for any
    /// input that the session's limits let through.
    pub fn to_field(&self) -> String {
        let mut field = String::with_capacity(256);
        field.push_str("Received: from ");
        for c in self.hello.chars().take(255) {
            // A blank or a control here would change what the line says.
            field.push(if c.is_control() || c.is_whitespace() { '?' } else { c });
        }
        // Writing to a String cannot fail.
        let written = (|| {
            match self.peer {
                Some(IpAddr::V4(ip)) => write!(field, " ([{ip}])")?,
                Some(IpAddr::V6(ip)) => write!(field, " ([IPv6:{ip}])")?,
                None => {}
            }
            write!(field, "\r\n\tby {} (Postroad) with {}", self.by, self.with)?;
            if let Some((version, cipher)) = self.tls {
                write!(field, "\r\n\t({version} {cipher})")?;
            }
            write!(field, "\r\n\tid {}", self.id)?;
            if let Some(recipient) = self.recipient {
                write!(field, "\r\n\tfor <{recipient}>")?;
            }
            write!(field, "; {}\r\n", self.at.rfc5322())
        })();
        debug_assert!(written.is_ok());
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn the_field_says_where_from_how_and_when() {
        let mut received = Received {
            hello: "client.example",
            peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            by: "mx.example.org",
            with: "ESMTPS",
            tls: Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
            id: "01ABC",
            recipient: Some("bob@example.org"),
            at: UnixTime(0),
        };
        assert_eq!(
            received.to_field(),
            "Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org (Postroad) with ESMTPS\r\n\t\
             (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\tid 01ABC\r\n\tfor <bob@example.org>; \
             Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        received.hello = "a b\r\nX: y";
        assert!(received.to_field().starts_with("Received: from a?b??X:?y ("));
    }
}
