"""The servers of peers.py: each in a folder of its own, on loopback ports, ended with the `Site`."""
import contextlib
import imaplib
import os
import re
import shutil
import signal
import socket
import subprocess
import time

# Postroad and Dovecot share the Maildirs, so both use them as this user of every Debian.
OWNER = 'mail'
# Of every mailbox of the Postroad that stores LF.
QUOTA = 10 << 20
# Each has the mailboxes of `Postroad`; any other local part is refused.
DOMAINS = ('relay.test', 'unix.test', 'tcp.test', 'sender.test')


class Missing(Exception):
    """A package that is not installed."""


def wait(what, found, seconds=30):
    """The first true value of `found`, which is asked until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f'waited {seconds} s in vain for {what}')


def find(program, package, *folders):
    path = shutil.which(program, path=os.pathsep.join([*folders, os.environ['PATH'], '/usr/sbin']))
    if path is None:
        raise Missing(package)
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
        return True
    return False


def run(*arguments, code=0, stdin=None, **more):
    done = subprocess.run([str(argument) for argument in arguments], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, **more)
    text = done.stdout.decode(errors='replace')
    failed = code is not None and done.returncode != code
    assert not failed, f'{arguments[0]} exited with {done.returncode}:\n{text[-3000:]}'
    return text


class Postroad:
    """A Postroad server: STARTTLS, implicit TLS, LMTP by TCP and by socket file."""

    def __init__(self, program, folder, line_ends, quota):
        self.program, self.folder, self.process = program, folder, None
        self.folder.mkdir()
        shutil.chown(self.folder, OWNER, OWNER)
        self.port, self.implicit, self.lmtp = free_port(), free_port(), free_port()
        self.socket, self.log = self.folder / 'lmtp.sock', self.folder / 'log'
        self.file = self.folder / 'postroad.toml'
        domains = ''.join(f'[domain."{name}"]\nmailboxes = ["alice", "bob", "a", "full", "π", "postmaster"]\n'
                          'quota = { full = 2500 }\n' for name in DOMAINS)
        self.file.write_text(f'''hostname = "mx.relay.test"
data = "{self.folder}/data"
{domains}
[[listener]]
address = "127.0.0.1:{self.port}"
[[listener]]
address = "127.0.0.1:{self.implicit}"
tls = "implicit"
[[listener]]
address = "127.0.0.1:{self.lmtp}"
kind = "lmtp"
[[listener]]
address = "unix:{self.socket}"
kind = "lmtp"
[tls]
self_signed = true
[limits]
message_size = "1MiB"
[delivery]
line_ends = "{line_ends}"
quota_bytes = {quota}
[spool]
reserve = "1MiB"
ring = "16MiB"
''')
        self.start()

    def start(self, *settings):
        with self.log.open('ab') as log:
            self.process = subprocess.Popen(
                [self.program, 'serve', '--config', self.file, *settings], stdout=log, stderr=log, user=OWNER, group=OWNER,
                extra_groups=[], umask=0o077)
        wait('Postroad', lambda: self.process.poll() is not None or listens(self.port))
        assert self.process.poll() is None, self.log.read_text()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)

    def maildir(self, address):
        local, domain = address.split('@')
        return self.folder / 'data/mail' / domain / local.replace('π', '%cf%80')

    def queue(self):
        return run(self.program, 'queue', 'list', '--config', self.file)

    def files(self, address, subject):
        """The messages with that text in them."""
        folder = self.maildir(address)
        paths = [path for sub in ('new', 'cur') for path in (folder / sub).glob('*')]
        return [octets for octets in (path.read_bytes() for path in paths) if subject.encode() in octets]

    def only(self, address, subject):
        wait(f'{subject} at {address}', lambda: self.files(address, subject))
        found = self.files(address, subject)
        assert len(found) == 1, f'{len(found)} copies'
        return found[0]


class Site:
    """The folder and the servers in it; each is started when a check first asks for it."""

    def __init__(self, postroad, exim, folder):
        self.postroad, self.given_exim, self.folder = postroad, exim, folder
        self.ends, self.servers = contextlib.ExitStack(), {}

    def once(self, name, start):
        if name not in self.servers:
            self.servers[name] = start()
        return self.servers[name]

    def server(self, line_ends):
        def start():
            made = Postroad(self.postroad, self.folder / line_ends, line_ends, QUOTA)
            self.ends.callback(made.stop)
            return made
        return self.once(line_ends, start)

    @property
    def crlf(self):
        return self.server('crlf')

    @property
    def lf(self):
        return self.server('lf')

    def certificate(self, owner):
        """Postroad's own certificate and key, copied for another server."""
        made = [self.folder / f'{owner}.{kind}' for kind in ('pem', 'key')]
        for path in made:
            shutil.copy(next((self.crlf.folder / 'data').rglob(f'self-signed{path.suffix}')), path)
            shutil.chown(path, owner)
            path.chmod(0o600)
        return made

    @property
    def postfix(self):
        return self.once('postfix', lambda: Postfix(self))

    @property
    def exim(self):
        return self.once('exim', lambda: Exim(self))

    @property
    def dovecot(self):
        return self.once('dovecot', lambda: Dovecot(self))


class Postfix:
    """Relays what it gets: *.test by SMTP, unix.test and tcp.test by LMTP."""

    def __init__(self, site):
        program = find('postfix', 'postfix')
        self.port, self.folder = free_port(), site.folder / 'postfix'
        self.log = self.folder / 'maillog'
        for name in ('etc', 'queue', 'data'):
            (self.folder / name).mkdir(parents=True)
        shutil.chown(self.folder / 'data', 'postfix')
        certificate, key = site.certificate('root')
        smtp = f'smtp:[127.0.0.1]:{site.crlf.port}'
        (self.folder / 'etc/main.cf').write_text(f'''compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
maillog_file = {self.log}
maillog_file_prefixes = {self.folder}
myhostname = postfix.test
mydestination =
relay_domains = {' '.join(DOMAINS)}
relay_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
smtputf8_enable = yes
transport_maps = inline:{{
  {{unix.test = lmtp:unix:{site.crlf.socket}}}, {{tcp.test = lmtp:inet:127.0.0.1:{site.crlf.lmtp}}},
  {{relay.test = {smtp}}}, {{sender.test = {smtp}}} }}
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
debug_peer_list = 127.0.0.1
debug_peer_level = 1
''')
        services = ['pickup unix n - n 60 1 pickup', 'cleanup unix n - n - 0 cleanup', 'qmgr unix n - n 300 1 qmgr',
                    'tlsmgr unix - - n 1000? 1 tlsmgr', 'rewrite unix - - n - - trivial-rewrite',
                    'bounce unix - - n - 0 bounce', 'defer unix - - n - 0 bounce', 'trace unix - - n - 0 bounce',
                    'smtp unix - - n - - smtp', 'lmtp unix - - n - - lmtp', 'error unix - - n - - error',
                    'retry unix - - n - - error', 'proxymap unix - - n - - proxymap', 'anvil unix - - n - 1 anvil',
                    'scache unix - - n - 1 scache', 'flush unix n - n 1000? 0 flush',
                    'showq unix n - n - - showq', 'postlog unix-dgram n - n - 1 postlogd',
                    f'127.0.0.1:{self.port} inet n - n - - smtpd']
        (self.folder / 'etc/master.cf').write_text('\n'.join(services) + '\n')
        run(program, '-c', self.folder / 'etc', 'start')
        site.ends.callback(run, program, '-c', self.folder / 'etc', 'stop', code=None)
        wait('Postfix', lambda: listens(self.port))

    def status(self, recipient, mark):
        """What became of a recipient that is written only in this check (`mark` is part of the line)."""
        found = re.compile(rf'to=<{re.escape(recipient)}>.*status=(\w+) \((.*)\)')
        lines = wait(f'{recipient} in the log of Postfix', lambda: [
            match for match in map(found.search, self.log.read_text().splitlines()) if match and mark in match[0]])
        return lines[-1].groups()


class Exim:
    """Relays everything to Postroad."""

    def __init__(self, site):
        self.program = site.given_exim or find('exim4', 'exim4-daemon-light')
        self.port, self.folder = free_port(), site.folder / 'exim'
        self.folder.mkdir()
        shutil.chown(self.folder, 'Debian-exim', 'Debian-exim')
        certificate, key = site.certificate('Debian-exim')
        file, self.log = self.folder / 'exim.conf', self.folder / 'mainlog'
        file.write_text(f'''exim_path = {self.program}
primary_hostname = exim.test
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/%slog
log_selector = +smtp_protocol_error +smtp_syntax_error +tls_certificate_verified
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
acl_smtp_rcpt = accept
keep_environment =
begin acl
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::{site.crlf.port} byname
  self = send
  transport = relay
begin transports
relay:
  driver = smtp
  allow_localhost
  hosts_try_chunking = *
''')
        process = subprocess.Popen([self.program, '-C', file, '-bdf', '-q1h'], stderr=subprocess.DEVNULL)
        site.ends.callback(lambda: (process.terminate(), process.wait(30)))
        wait('Exim', lambda: process.poll() is not None or listens(self.port))
        assert process.poll() is None, (self.folder / 'paniclog').read_text()


class Dovecot:
    """Reads the Maildirs of both Postroads (`alice@relay.test/lf`), and has a mailbox of its own by LMTP."""

    def __init__(self, site):
        program = find('dovecot', 'dovecot-core')
        for part, package in (('imap', 'dovecot-imapd'), ('lmtp', 'dovecot-lmtpd')):
            find(part, package, '/usr/lib/dovecot')
        self.port, self.lmtp, self.folder = free_port(), free_port(), site.folder / 'dovecot'
        (self.folder / 'home').mkdir(parents=True)
        shutil.chown(self.folder / 'home', OWNER, OWNER)
        users = [f'alice@{name}:{{PLAIN}}secret:::::: userdb_mail=maildir:{server.maildir("alice@relay.test")}'
                 for name, server in (('crlf', site.crlf), ('lf', site.lf))]
        users.append(f'own@dovecot:{{PLAIN}}secret:::::: userdb_mail=maildir:{self.folder}/home/own')
        (self.folder / 'users').write_text('\n'.join(users) + '\n')
        (self.folder / 'dovecot.conf').write_text(f'''base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_plugins = quota
plugin {{
  quota = maildir:mailbox
}}
protocol imap {{
  mail_plugins = quota imap_quota
}}
passdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
userdb {{
  driver = passwd-file
  args = {self.folder}/users
  default_fields = uid={OWNER} gid={OWNER} home={self.folder}/home/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self.port}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {self.lmtp}
  }}
}}
''')
        process = subprocess.Popen([program, '-F', '-c', self.folder / 'dovecot.conf'], stderr=subprocess.PIPE)
        site.ends.callback(lambda: (process.terminate(), process.wait(30)))
        wait('Dovecot', lambda: process.poll() is not None or listens(self.port))
        assert process.poll() is None, process.stderr.read().decode()

    @contextlib.contextmanager
    def inbox(self, user):
        client = imaplib.IMAP4('127.0.0.1', self.port, timeout=30)
        try:
            client.login(user, 'secret')
            client.select('INBOX')
            yield client
        finally:
            client.logout()

    def search(self, client, subject):
        client.noop()
        return client.search(None, 'HEADER', 'Subject', f'"{subject}"')[1][0].split()

    def body(self, client, number):
        return client.fetch(number, '(BODY.PEEK[])')[1][0][1]
