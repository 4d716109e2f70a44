//! The real resolver: questions to the name servers of the system, or to one that was named.
//!
//! RFC 1035 over UDP, TCP where an answer is too long (RFC 7766 §5). It asks a recursive server and caches
//! by the time to live. Names go out as they were given, fully qualified; neither search list nor hosts
//! file is consulted, because a check must see what everybody sees. DNSSEC is left to the server asked.

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as NetDnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use postroad_policy::dns::{Answer, DnsError, Mx, Resolver};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long one try of one question may take.
const TRY: Duration = Duration::from_secs(2);

/// Further tries with each name server.
const TRIES: usize = 1;

/// Records of one answer that are looked at.
const RECORDS: usize = 256;

/// Asks name servers. Needs a runtime of tokio.
pub struct Dns {
    inner: TokioResolver,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

/// The name servers of this system are not known.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoNameServers(NetError);

impl fmt::Display for NoNameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no name server is known: {}", self.0)
    }
}

impl std::error::Error for NoNameServers {}

impl Dns {
    /// Asks the name servers of `/etc/resolv.conf`.
    pub fn of_system() -> Result<Self, NoNameServers> {
        Self::build(TokioResolver::builder_tokio().map_err(NoNameServers)?)
    }

    /// Asks one server.
    pub fn at(server: SocketAddr) -> Result<Self, NoNameServers> {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        udp.port = server.port();
        tcp.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NoNameServers> {
        let options = builder.options_mut();
        options.timeout = TRY;
        options.attempts = TRIES;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { inner: builder.build().map_err(NoNameServers)? })
    }

    fn ask<'a, T: Send + 'a>(
        &'a self,
        name: Result<Name, DnsError>,
        kind: RecordType,
        pick: fn(&RData) -> Option<T>,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let found = self.inner.lookup(name?, kind).await.map_err(|error| translated(&error))?;
            let records: Vec<T> =
                found.answers().iter().take(RECORDS).filter_map(|record| pick(&record.data)).collect();
            if records.is_empty() { Err(DnsError::NoData) } else { Ok(records) }
        })
    }
}

/// A text as a name of the DNS, from the root.
fn absolute(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_str_relaxed(name).map_err(|_malformed| DnsError::NoSuchName)?;
    name.set_fqdn(true);
    Ok(name)
}

fn written(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn translated(error: &NetError) -> DnsError {
    if error.is_nx_domain() {
        return DnsError::NoSuchName;
    }
    if let NetError::Dns(NetDnsError::NoRecordsFound(none)) = error
        && none.response_code == ResponseCode::NoError
    {
        return DnsError::NoData;
    }
    if matches!(error, NetError::Timeout) { DnsError::Timeout } else { DnsError::Trouble }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an answer may hold any type; each question picks its own"
)]
impl Resolver for Dns {
    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, String> {
        self.ask(absolute(name), RecordType::TXT, |data| match data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        })
    }

    fn a<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv4Addr> {
        self.ask(absolute(name), RecordType::A, |data| match data {
            RData::A(ip) => Some(ip.0),
            _ => None,
        })
    }

    fn aaaa<'a>(&'a self, name: &'a str) -> Answer<'a, Ipv6Addr> {
        self.ask(absolute(name), RecordType::AAAA, |data| match data {
            RData::AAAA(ip) => Some(ip.0),
            _ => None,
        })
    }

    fn mx<'a>(&'a self, name: &'a str) -> Answer<'a, Mx> {
        let found = self.ask(absolute(name), RecordType::MX, |data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, host: written(&mx.exchange) }),
            _ => None,
        });
        Box::pin(async move {
            let mut all = found.await?;
            all.sort();
            Ok(all)
        })
    }

    fn ptr(&self, ip: IpAddr) -> Answer<'_, String> {
        self.ask(Ok(Name::from(ip)), RecordType::PTR, |data| match data {
            RData::PTR(name) => Some(written(&name.0)),
            _ => None,
        })
    }
}
