//! The whole server: started, reloaded, stopped.

use crate::clock::Clock;
use crate::config::{Config, ListenAddress, Loaded};
use crate::control::{ControlSocket, Controls};
use crate::deliver::{self, Narrator, QuotaRoom};
use crate::listener::{self, Inherited, Running, Socketed, Stop};
use crate::record::Records;
use crate::shared::{Active, ListenerSettings, Shared};
use crate::shown::Addresses;
use crate::tls::{self, Tls, TlsError};
use crate::{http, metrics::Metrics};
use postroad_delivery::runner::{Deliveries, Runner, Stopped};
use postroad_ledger::{Ledger, Settings, State};
use postroad_spool::fs::RealDisk;
use postroad_spool::{DiskSpool, Options, Spool, SpoolError};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// How often certificates are looked at for changes.
const CERTIFICATE_WATCH: Duration = Duration::from_secs(10);
/// How often the ledger is asked how it fares.
const LEDGER_WATCH: Duration = Duration::from_secs(1);

/// Why the server did not start. A port that is taken, a certificate that does not do or a spool that is
/// not ours leave everything as it was, but for the data directory being made where there was none.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be used.
    Config(String),
    /// An address cannot be listened at.
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A directory or file in it cannot be used.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store cannot be opened.
    Spool {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: SpoolError,
    },
    /// Threads or signals: the system.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => f.write_str(why),
            Self::Listen { address, error } => {
                write!(f, "cannot listen at {address}: {error}")?;
                let is_file = address.starts_with("unix:");
                f.write_str(if is_file && error.kind() == io::ErrorKind::AddrInUse {
                    "; another program listens there, or it is a file of another kind: stop it, or name another path"
                } else if is_file && error.kind() == io::ErrorKind::NotFound {
                    "; its directory is not there: make it and give it to the user that runs postroad"
                } else if error.kind() == io::ErrorKind::AddrInUse {
                    "; another program has the port: stop it, or choose another with --listen or listener.address"
                } else if error.kind() == io::ErrorKind::PermissionDenied {
                    "; a port below 1024 needs CAP_NET_BIND_SERVICE or a socket from the service manager"
                } else if error.kind() == io::ErrorKind::AddrNotAvailable {
                    "; this machine does not have the address"
                } else {
                    ""
                })
            }
            Self::Directory { path, error } => {
                write!(
                    f,
                    "{} cannot be used: {error}; it must be writable for the user that runs postroad",
                    path.display()
                )
            }
            Self::Spool { path, error } => write!(f, "the spool {}: {error}", path.display()),
            Self::System(error) => write!(f, "the system said: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        Self::Config(error.to_string())
    }
}

/// Reads the configuration again, for a reload.
pub type Reload = Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// A server that runs.
pub struct Server {
    core: Arc<Core>,
    stop: watch::Sender<Stop>,
    sessions_end: mpsc::Receiver<Infallible>,
    background: Vec<JoinHandle<()>>,
    http_address: Option<SocketAddr>,
}

/// What reload works on.
struct Core {
    running: Running<DiskSpool>,
    runner: Mutex<Option<Runner>>,
    listeners: Mutex<BTreeMap<ListenAddress, Accepting>>,
    reload: Reload,
    /// Held while a reload runs: there is one at a time.
    reloading: Mutex<()>,
    runtime: tokio::runtime::Handle,
}

/// How long a reload waits for what it replaces: for a listener to be closed, so that the next reload can
/// open it again, and for deliveries under way.
const CLOSING: Duration = Duration::from_secs(1);
/// For sessions that are cut off, so that their peers read why: a little more than what a connection
/// lingers after its last reply.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// An accept loop; dropped, it closes.
struct Accepting {
    local: Option<SocketAddr>,
    close: oneshot::Sender<()>,
    /// Disconnected once the loop has ended and its socket is closed.
    closed: std::sync::mpsc::Receiver<Infallible>,
}

impl Server {
    /// Starts everything. Listening comes first, so that a port that is taken leaves nothing behind.
    pub async fn start(config: Config, clock: Clock, reload: Reload) -> Result<Self, StartError> {
        let directory = deliver::directory(&config).map_err(StartError::Config)?;
        let mut inherited = Inherited::from_env();
        let mut sockets = Vec::new();
        let in_data = |address: &ListenAddress| matches!(address, ListenAddress::Unix(path) if path.starts_with(&config.data));
        let (later, first): (Vec<_>, Vec<_>) =
            config.listeners.iter().map(|listener| &listener.address).partition(|address| in_data(address));
        for address in first {
            sockets.push((address.clone(), bind(address, &mut inherited)?));
        }
        let http = match config.http.listen {
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| StartError::Listen {
                address: format!("{address} (http.listen)"),
                error,
            })?),
            None => None,
        };
        let http_address = http.as_ref().and_then(|listener| listener.local_addr().ok());
        tls::check(&config)?;
        let data = config.data.clone();
        make_data(&data).map_err(|error| StartError::Directory { path: data.clone(), error })?;
        for address in later {
            sockets.push((address.clone(), bind(address, &mut inherited)?));
        }
        // The spool's lock comes first: what is in the directory of another server is not ours to touch.
        let spool = Arc::new(open_spool(&config)?);
        let tls = Tls::load(&config, &clock)?.map(Arc::new);
        let agent = Arc::new(deliver::agent(&config, &directory).map_err(StartError::Config)?);
        let room = Arc::new(QuotaRoom { agent: Arc::clone(&agent), clock });
        let metrics = Arc::new(Metrics::new());
        let records = start_ledger(&config, clock)?;
        let runner = start_runner(&config, &spool, agent, clock, &metrics, records.as_ref())?;
        let control_path = config.control_socket();
        let control = ControlSocket::bind(control_path.clone())
            .map_err(|error| StartError::Directory { path: control_path, error })?;
        let listeners = listener_settings(&config);
        let active = Active { config, directory, room, tls, listeners };
        let shared = Arc::new(Shared::new(clock, spool, metrics, records, active));

        let (stop, stopped) = watch::channel(Stop::No);
        let (alive, sessions_end) = mpsc::channel(1);
        let running = Running { shared: Arc::clone(&shared), stop: stopped, alive };
        let core = Arc::new(Core {
            running,
            runner: Mutex::new(Some(runner)),
            listeners: Mutex::default(),
            reload,
            reloading: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        for (address, socket) in sockets {
            core.accept(address, socket);
        }
        let mut background = vec![tokio::spawn(watch_certificates(Arc::clone(&shared)))];
        if let Some(records) = shared.records.clone() {
            background.push(tokio::spawn(watch_ledger(records)));
        }
        if let Some(listener) = http {
            background.push(tokio::spawn(http::serve(listener, Arc::clone(&shared))));
        }
        let for_control = Arc::clone(&core);
        let controls = Controls {
            spool: Arc::clone(&shared.spool),
            records: shared.records.clone(),
            reload: Box::new(move || for_control.reload()),
        };
        background.push(tokio::spawn(control.serve(controls)));
        Ok(Self { core, stop, sessions_end, background, http_address })
    }

    /// The addresses that are listened at, with the port the system chose where 0 was asked for.
    pub fn addresses(&self) -> Vec<String> {
        let listeners = self.core.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners
            .iter()
            .map(|(address, accepting)| {
                accepting.local.map_or_else(|| address.to_string(), |local| local.to_string())
            })
            .collect()
    }

    /// The address of metrics and health, with the port the system chose where 0 was asked for.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Reads the configuration again and puts it in force whole; on an error the one in force stays.
    pub fn reload(&self) -> Result<(), String> {
        self.core.reload()
    }

    /// Stops: no new connections, sessions end between commands, content that is arriving is finished
    /// within `limits.stop_timeout`, attempts under way are settled, everything is flushed.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stop.send_replace(Stop::Finish);
        let patience = self.core.running.shared.active().config.limits.stop_timeout;
        self.core.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for task in &self.background {
            task.abort();
        }
        for task in self.background.drain(..) {
            // Aborted, or it ended before: both are the end.
            drop(task.await);
        }
        let runner = self.core.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shared = Arc::clone(&self.core.running.shared);
        // The last senders must go for the channel to close.
        let Self { core, mut sessions_end, .. } = self;
        drop(core);
        if tokio::time::timeout(patience, sessions_end.recv()).await.is_err() {
            warn!("sessions were still open after {} s and are cut off", patience.as_secs());
            self.stop.send_replace(Stop::CutOff);
            // Over or not: the peers had their time.
            drop(tokio::time::timeout(LAST_WORDS, sessions_end.recv()).await);
        }
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(runner) = runner
                && runner.stop(patience) == Stopped::Late
            {
                warn!("deliveries were still under way; they are looked for at the next start");
            }
            shared.spool.close()
        });
        match ended.await {
            Ok(Ok(())) => info!("stopped"),
            Ok(Err(error)) => {
                error!(%error, "the spool could not be closed cleanly; nothing accepted is lost");
            }
            Err(error) => error!(%error, "a fault while stopping"),
        }
    }
}

impl Core {
    fn accept(&self, address: ListenAddress, socket: Socketed) {
        let (close, wanted) = oneshot::channel();
        let (open, closed) = std::sync::mpsc::channel();
        let local = socket.local();
        info!(address = %local.map_or_else(|| address.to_string(), |local| local.to_string()), "listening");
        let accepting = listener::accept(self.running.clone(), socket, address.clone(), wanted);
        self.runtime.spawn(async move {
            accepting.await;
            drop::<std::sync::mpsc::Sender<Infallible>>(open);
        });
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(address, Accepting { local, close, closed });
    }

    fn reload(&self) -> Result<(), String> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.try_reload();
        match &result {
            Ok(()) => info!("the configuration was read again and is in force"),
            Err(why) => {
                let why = why.replace('\n', "; ");
                error!(%why, "the configuration was not taken; the one in force stays");
            }
        }
        result
    }

    fn try_reload(&self) -> Result<(), String> {
        let shared = &self.running.shared;
        let config = (self.reload)()?.config;
        let old = shared.active();
        if config.data != old.config.data
            || config.spool != old.config.spool
            || config.ledger != old.config.ledger
            || config.http != old.config.http
        {
            return Err("data, [spool], [ledger] and [http] cannot change while the server runs; restart it"
                .to_owned());
        }
        if config.log.format != old.config.log.format || config.log.level != old.config.log.level {
            return Err("log.format and log.level cannot change while the server runs; restart it".to_owned());
        }
        let directory = deliver::directory(&config)?;
        let agent = Arc::new(deliver::agent(&config, &directory)?);
        let tls = Tls::load(&config, &shared.clock).map_err(|error| error.to_string())?.map(Arc::new);
        let known: Vec<ListenAddress> = old.config.listeners.iter().map(|l| l.address.clone()).collect();
        let mut inherited = Inherited::none();
        let mut fresh = Vec::new();
        for listener in config.listeners.iter().filter(|listener| !known.contains(&listener.address)) {
            let _runtime = self.runtime.enter();
            let socket = bind(&listener.address, &mut inherited).map_err(|error| error.to_string())?;
            fresh.push((listener.address.clone(), socket));
        }
        // From here on nothing can fail but the threads of the runner.
        let runner = start_runner(
            &config,
            &shared.spool,
            Arc::clone(&agent),
            shared.clock,
            &shared.metrics,
            shared.records.as_ref(),
        )
        .map_err(|error| error.to_string())?;
        let old_runner = match &mut *self.runner.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(current) => mem::replace(current, runner),
            None => return Err("the server is stopping".to_owned()),
        };
        let room = Arc::new(QuotaRoom { agent, clock: shared.clock });
        let wanted: Vec<ListenAddress> = config.listeners.iter().map(|l| l.address.clone()).collect();
        let listeners = listener_settings(&config);
        shared.activate(Active { config, directory, room, tls, listeners });
        self.close_all_but(&wanted);
        for (address, socket) in fresh {
            self.accept(address, socket);
        }
        // What it has leased nobody else gets, so that it may also take longer.
        if old_runner.stop(CLOSING) == Stopped::Late {
            info!("deliveries that began before the reload are still under way");
        }
        Ok(())
    }

    fn close_all_but(&self, wanted: &[ListenAddress]) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let unwanted: Vec<Accepting> = listeners
            .extract_if(.., |address, _| !wanted.contains(address))
            .map(|(_, accepting)| accepting)
            .collect();
        drop(listeners);
        for Accepting { close, closed, .. } in unwanted {
            drop(close);
            // It is closed, or will be: both are all we want.
            let Err(_closed_or_late) = closed.recv_timeout(CLOSING);
        }
    }
}

/// Makes the data directory where there is none: mail in it is for the server's user alone.
fn make_data(data: &Path) -> io::Result<()> {
    if let Some(above) = data.parent() {
        std::fs::create_dir_all(above)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(data) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && data.is_dir() => Ok(()),
        made => made,
    }
}

fn bind(address: &ListenAddress, inherited: &mut Inherited) -> Result<Socketed, StartError> {
    listener::bind(address, inherited)
        .map_err(|error| StartError::Listen { address: address.to_string(), error })
}

fn listener_settings(config: &Config) -> BTreeMap<ListenAddress, Arc<ListenerSettings>> {
    config
        .listeners
        .iter()
        .map(|listener| (listener.address.clone(), Arc::new(ListenerSettings::new(config, listener))))
        .collect()
}

/// Opens the spool of a configuration; also for a look into the queue where no server runs.
pub fn open_spool(config: &Config) -> Result<DiskSpool, StartError> {
    let path = config.data.join("spool");
    let options = Options {
        reserve_bytes: config.spool.reserve,
        ring_bytes_max: config.spool.ring,
        ..Options::default()
    };
    let disk = RealDisk::new(&path).with_flush_delay(Duration::from_millis(config.spool.flush_delay_ms));
    let (spool, report) =
        DiskSpool::open(Arc::new(disk), options).map_err(|error| StartError::Spool { path, error })?;
    info!(messages = report.messages, clean = report.clean, torn = report.torn, "the spool is open");
    for note in &report.quarantined {
        error!(note, "a record of the spool cannot be read and was set aside");
    }
    Ok(spool)
}

/// The ledger, unless it is switched off. What is wrong with its file never keeps the server from starting:
/// health, metrics and log tell of it.
fn start_ledger(config: &Config, clock: Clock) -> Result<Option<Arc<Records>>, StartError> {
    if !config.ledger.enabled {
        return Ok(None);
    }
    let mut settings = Settings::new(config.ledger_file());
    settings.keep_for = config.ledger.keep;
    settings.keep_octets = config.ledger.size;
    let ledger = Ledger::start(&settings).map_err(StartError::System)?;
    Ok(Some(Arc::new(Records::new(ledger, clock))))
}

/// Tells the log when the ledger breaks, when it works again, and when it had to be begun anew.
async fn watch_ledger(records: Arc<Records>) {
    let mut told = postroad_ledger::Health::default();
    loop {
        tokio::time::sleep(LEDGER_WATCH).await;
        let health = records.ledger.health();
        let dropped = health.dropped;
        if health.state == State::Broken {
            if told.state != State::Broken || told.message != health.message || told.dropped != dropped {
                error!(
                    why = %health.message, dropped,
                    "the ledger cannot be written; mail goes on, without a record of it"
                );
            }
        } else if told.state == State::Broken {
            info!(dropped, "the ledger works again");
        } else if told.dropped != dropped {
            warn!(dropped, "the ledger is too slow; records were dropped");
        }
        if health.state == State::Working && told.message != health.message {
            // It mends itself in one go; what was in it before is no longer found.
            warn!(why = %health.message, "the ledger was in trouble");
        }
        told = health;
    }
}

fn start_runner(
    config: &Config,
    spool: &Arc<DiskSpool>,
    agent: Arc<postroad_delivery::agent::maildir::MaildirAgent>,
    clock: Clock,
    metrics: &Arc<Metrics>,
    records: Option<&Arc<Records>>,
) -> Result<Runner, StartError> {
    let narrator = Arc::new(Narrator {
        metrics: Arc::clone(metrics),
        records: records.cloned(),
        addresses: Addresses::of(&config.log),
        spool: config.data.join("spool"),
    });
    let deliveries = Deliveries::new(
        Arc::clone(spool),
        agent,
        Arc::new(clock),
        narrator,
        deliver::runner_settings(config),
    );
    Runner::start(deliveries).map_err(StartError::System)
}

async fn watch_certificates<S: Spool>(shared: Arc<Shared<S>>) {
    loop {
        tokio::time::sleep(CERTIFICATE_WATCH).await;
        let Some(tls) = shared.active().tls.clone() else { continue };
        match tls.refresh() {
            Ok(true) => info!("the certificate changed and is in force"),
            Ok(false) => {}
            Err(error) => error!(%error, "the changed certificate was not taken; the one in force stays"),
        }
    }
}
