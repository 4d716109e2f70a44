#!/usr/bin/env python3
"""Postroad among the mail programs of Debian: Postfix, Exim, Dovecot, mutt, swaks and curl.

    cargo build --release && sudo python3 crates/postroad/tests/interop/peers.py

Every program runs with a private configuration and queue in a temporary folder, on loopback ports, and is
ended afterwards; the machine's own configuration is neither read nor changed. Needs root, because Postfix,
Exim and Dovecot change users. Prints a line for each check and a summary. Exit code: 0 all passed, 1 a
check failed, 2 a package is missing (the other checks are made all the same).

    apt-get install --no-install-recommends postfix dovecot-imapd dovecot-lmtpd mutt swaks libnet-ssleay-perl curl

Debian installs only one mail transport agent, so Exim is unpacked beside Postfix and named with --exim:

    apt-get download exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb DIR   # DIR/usr/sbin/exim4
    useradd --system --no-create-home --shell /usr/sbin/nologin Debian-exim
"""
import argparse
import contextlib
import email
import mailbox
import os
import pathlib
import pty
import re
import shutil
import signal
import smtplib
import sys
import tempfile
import time

from peers_servers import QUOTA, Missing, Site, find, run, wait

TRACE = re.compile(rb'(?:(?:Return-Path|Delivered-To|X-Original-To|Received|DKIM-Signature|Message-Id|Date):'
                   rb'[^\n]*\n(?:[ \t][^\n]*\n)*)*', re.IGNORECASE)
CHECKS = []


def check(title):
    def keep(function):
        CHECKS.append((title, function))
        return function
    return keep


def message(subject, size=0):
    """Octets beyond ASCII, lines that begin with dots, a long line, empty lines at the end; then filling."""
    lines = [b'From: <a@sender.test>', b'To: <alice@relay.test>', b'Subject: ' + subject.encode(),
             b'Message-ID: <' + subject.encode() + b'@sender.test>', b'Date: Sun, 22 Nov 2026 07:00:00 +0000',
             b'MIME-Version: 1.0', b'Content-Type: text/plain; charset=utf-8', b'Content-Transfer-Encoding: 8bit',
             b'', b'.', b'..', b'.leading', 'Grüße, 世界'.encode(), b'x' * 990, b' trailing ', b'\ttab', b'']
    lines += [b'%07d ' % number + b'f' * 70 for number in range(size // 80)]
    return b'\r\n'.join(lines + [b'', b'', b''])


def lf(octets):
    return octets.replace(b'\r\n', b'\n')


def same(stored, sent):
    """Whether what was stored is what was sent behind trace fields; line ends may differ."""
    stored, sent = lf(stored), lf(sent)
    if not stored.endswith(sent):
        raise AssertionError(f'the content differs: {stored[-300:]!r} should end with {sent[-300:]!r}')
    rest = stored[:len(stored) - len(sent)]
    assert TRACE.fullmatch(rest), f'before the content stands more than trace fields: {rest!r}'


def submit(port, recipients, content, sender='a@sender.test', options=('BODY=8BITMIME',)):
    with smtplib.SMTP('127.0.0.1', port, timeout=30) as client:
        return client.sendmail(sender, recipients, content, mail_options=list(options))


def received(octets, by):
    """The newest Received field, which must name this protocol (RFC 3848, RFC 6531 §4.3)."""
    first = str(email.message_from_bytes(octets)['Received'])
    assert f' with {by} ' in ' '.join(first.split()), f'no "with {by}" in: {first}'


@check('Postfix relays by SMTP: STARTTLS, 8BITMIME, PIPELINING; refused recipients come back')
def postfix_smtp(site):
    sent = message('postfix-smtp')
    submit(site.postfix.port, ['alice@relay.test', 'bob@relay.test', 'ghost@relay.test'], sent)
    for name in ('alice', 'bob'):
        stored = site.crlf.only(f'{name}@relay.test', 'Subject: postfix-smtp')
        same(stored, sent)
        received(stored, 'ESMTPS')
    status, reply = site.postfix.status('ghost@relay.test', '550')
    assert status == 'bounced' and '550 5.1.1' in reply, (status, reply)
    bounce = site.crlf.only('a@sender.test', 'ghost@relay.test')
    assert b'Status: 5.1.1' in bounce and b'Subject: postfix-smtp' in bounce, bounce
    log = site.postfix.log.read_text()
    assert 'TLS connection established to 127.0.0.1' in log, 'no TLS'
    assert 'Using ESMTP PIPELINING' in log, 'no pipelining'


@check('Postfix relays SMTPUTF8, and 8BITMIME is not downgraded')
def postfix_utf8(site):
    sent = message('postfix-π')
    submit(site.postfix.port, ['π@relay.test'], sent, options=['SMTPUTF8', 'BODY=8BITMIME'])
    stored = site.crlf.only('π@relay.test', 'postfix-π')
    same(stored, sent)
    received(stored, 'UTF8SMTPS')


@check('Postfix heeds SIZE: a message over the limit bounces without being sent')
def postfix_size(site):
    submit(site.postfix.port, ['bob@relay.test'], message('postfix-size', 2 << 20))
    bounce = site.crlf.only('a@sender.test', 'postfix-size')
    assert b'exceeds size limit' in bounce and b'Status: 5.3.4' in bounce, bounce[:3000]
    assert not site.crlf.files('bob@relay.test', 'postfix-size')


def postfix_lmtp(site, domain):
    sent = message(f'lmtp-{domain}')
    names = [f'{name}@{domain}' for name in ('alice', 'ghost', 'bob', 'full')]
    # The first fills the mailbox. RCPT takes the second, because two seconds later Postroad would have to count
    # what is there; the delivery counts, and from then on RCPT knows.
    submit(site.crlf.port, names[3:], message(f'first-{domain}'))
    site.crlf.only(names[3], f'first-{domain}')
    time.sleep(2.5)
    submit(site.crlf.port, names[3:], message(f'second-{domain}'))
    wait('the full mailbox', lambda: f'to <{names[3]}>: 452 4.2.2' in site.crlf.queue())
    submit(site.postfix.port, names, sent)
    for name in (names[0], names[2]):
        stored = site.crlf.only(name, f'Subject: lmtp-{domain}')
        same(stored, sent)
        received(stored, 'LMTP')
        assert site.postfix.status(name, '250')[0] == 'sent'
    status, reply = site.postfix.status(names[1], 'status=')
    assert status == 'bounced' and '550 5.1.1' in reply, (status, reply)
    status, reply = site.postfix.status(names[3], 'deferred')
    assert '452 4.2.2' in reply, (status, reply)


@check('Postfix hands over by LMTP on TCP: delivered, refused and deferred, each recipient by itself')
def postfix_lmtp_tcp(site):
    postfix_lmtp(site, 'tcp.test')


@check('Postfix hands over by LMTP on a socket file that belongs to another user')
def postfix_lmtp_unix(site):
    postfix_lmtp(site, 'unix.test')


@check('Exim relays by SMTP: STARTTLS, CHUNKING (BDAT), SMTPUTF8; refused recipients come back')
def exim_smtp(site):
    sent = message('exim-smtp', 300_000)
    submit(site.exim.port, ['alice@relay.test', 'bob@relay.test', 'ghost@relay.test'], sent)
    for name in ('alice', 'bob'):
        stored = site.crlf.only(f'{name}@relay.test', 'Subject: exim-smtp')
        same(stored, sent)
        received(stored, 'ESMTPS')
    site.crlf.only('a@sender.test', 'exim-smtp')
    log = site.exim.log.read_text()
    assert re.search(r'=> alice@relay.test .* X=TLS.* K C="250', log), f'no TLS or no BDAT:\n{log}'
    assert re.search(r'\*\* ghost@relay.test .*550 5\.1\.1', log), log
    submit(site.exim.port, ['π@relay.test'], message('exim-π'), options=['SMTPUTF8', 'BODY=8BITMIME'])
    received(site.crlf.only('π@relay.test', 'exim-π'), 'UTF8SMTPS')


def send(site, port, to, content, *options, code=0):
    return run(site.postroad, 'send', '--server', f'127.0.0.1:{port}', '--from', 'a@sender.test', '--to', to,
               '--helo', 'client.test', '-v', *options, '-', stdin=content, code=code)


@check('postroad send to Postfix: STARTTLS, pipelined')
def send_postfix(site):
    sent = message('send-postfix')
    text = send(site, site.postfix.port, 'alice@relay.test', sent)
    assert 'TLS is on' in text, text
    same(site.crlf.only('alice@relay.test', 'Subject: send-postfix'), sent)


@check('postroad send to Exim: STARTTLS with a verified certificate refused, then BDAT in unverified TLS')
def send_exim(site):
    sent = message('send-exim', 200_000)
    send(site, site.exim.port, 'alice@relay.test', sent, '--tls', 'require', code=77)
    text = send(site, site.exim.port, 'alice@relay.test', sent, '--chunking')
    assert 'TLS is on' in text and 'byte chunk' in text, text
    same(site.crlf.only('alice@relay.test', 'Subject: send-exim'), sent)


@check('postroad send --lmtp to Dovecot: one answer a recipient')
def send_dovecot(site):
    sent = message('send-dovecot')
    text = send(site, site.dovecot.lmtp, 'own@dovecot', sent, '--lmtp', '--to', 'ghost@dovecot', code=69)
    assert 'own@dovecot' in text and 'ghost@dovecot' in text and '550 5.1.1' in text, text
    with site.dovecot.inbox('own@dovecot') as client:
        number, = site.dovecot.search(client, 'send-dovecot')
        same(site.dovecot.body(client, number), sent)


def dovecot_reads(site, server, user):
    subject = f'imap-{user}'
    sent = message(subject)
    submit(server.port, ['alice@relay.test'], sent)
    server.only('alice@relay.test', f'Subject: {subject}')
    with site.dovecot.inbox(user) as client:
        number, = wait('the message by IMAP', lambda: site.dovecot.search(client, subject))
        body = site.dovecot.body(client, number)
        assert body.count(b'\n') == body.count(b'\r\n'), 'bare LF'
        same(body, sent)
        size = client.fetch(number, '(RFC822.SIZE)')[1][0]
        assert f'RFC822.SIZE {len(body)})'.encode() in size, (size, len(body))
        client.store(number, '+FLAGS', '(\\Seen \\Flagged)')
    moved = [path for path in server.maildir('alice@relay.test').glob('cur/*:2,FS')
             if f'Subject: {subject}'.encode() in path.read_bytes()]
    assert len(moved) == 1, list(server.maildir('alice@relay.test').glob('*/*'))


@check('Dovecot shows by IMAP what was sent, CRLF in the Maildir; flags move it to cur')
def dovecot_crlf(site):
    dovecot_reads(site, site.crlf, 'alice@crlf')


@check('Dovecot shows by IMAP what was sent, LF in the Maildir; flags move it to cur')
def dovecot_lf(site):
    dovecot_reads(site, site.lf, 'alice@lf')


@check('Dovecot flags a message, a power cut takes back that it was delivered: Postroad makes no second copy')
def dovecot_redelivery(site):
    server, subject = site.lf, 'uncertain'
    spool, before = server.folder / 'data/spool', server.folder / 'before'
    server.stop()
    server.start('--set', 'delivery.paused=true')
    submit(server.port, ['alice@relay.test'], message(subject))
    server.stop(signal.SIGKILL)
    run('cp', '-a', spool, before)
    server.start()
    server.only('alice@relay.test', f'Subject: {subject}')
    with site.dovecot.inbox('alice@lf') as client:
        number, = site.dovecot.search(client, subject)
        client.store(number, '+FLAGS', '(\\Seen)')
    server.stop(signal.SIGKILL)
    # The disk as it would be had the power failed before the delivery was on record.
    shutil.rmtree(spool)
    before.rename(spool)
    begin = len(server.log.read_text())
    server.start()
    wait('the second attempt', lambda: 'delivered' in server.log.read_text()[begin:])
    log = server.log.read_text()[begin:]
    assert 'messages=1 clean=false' in log, log
    wait('an empty queue', lambda: 'waiting.' not in server.queue())
    server.only('alice@relay.test', f'Subject: {subject}')
    with site.dovecot.inbox('alice@lf') as client:
        assert len(site.dovecot.search(client, subject)) == 1


@check('Dovecot and Postroad keep one Maildir++ quota: limit and use agree, and a deletion counts')
def dovecot_quota(site):
    server = site.lf
    submit(server.port, ['alice@relay.test'], message('quota'))
    server.only('alice@relay.test', 'Subject: quota')

    def use():
        """Octets and messages by Postroad's maildirsize: a line of limits, then lines of changes."""
        limits, *changes = (server.maildir('alice@relay.test') / 'maildirsize').read_text().splitlines()
        assert limits.startswith(f'{QUOTA}S'), limits
        return [sum(int(line.split()[part]) for line in changes) for part in (0, 1)]

    def told(client):
        return b' '.join(client.getquotaroot('INBOX')[1][1]).decode()

    with site.dovecot.inbox('alice@lf') as client:
        octets, messages = use()
        assert f'STORAGE {octets // 1024} {QUOTA // 1024}' in told(client) or \
            f'STORAGE {-(-octets // 1024)} {QUOTA // 1024}' in told(client), (told(client), octets)
        number, = site.dovecot.search(client, 'quota')
        client.store(number, '+FLAGS', '(\\Deleted)')
        client.expunge()
    assert use()[1] == messages - 1, (use(), messages)
    submit(server.port, ['alice@relay.test'], message('after-quota'))
    server.only('alice@relay.test', 'Subject: after-quota')
    wait('its line', lambda: use()[1] == messages)


def terminal(*arguments):
    """Runs a program in a terminal, and gives what it drew there."""
    child, screen = pty.fork()
    if child == 0:
        os.environ.update(TERM='xterm', LINES='40', COLUMNS='120', LC_ALL='C.UTF-8')
        os.execv(arguments[0], arguments)
    drawn, end = b'', time.monotonic() + 30
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            drawn += os.read(screen, 65536)
    os.close(screen)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return drawn.decode(errors='replace')


def mutt_reads(site, server):
    program, subject = find('mutt', 'mutt'), 'for-mutt'
    sent = message(subject)
    submit(server.port, ['bob@relay.test'], sent)
    server.only('bob@relay.test', f'Subject: {subject}')
    out = server.folder / 'mutt.out'
    drawn = terminal(program, '-n', '-F', '/dev/null', '-R', '-f', str(server.maildir('bob@relay.test')), '-e',
                     'set pipe_decode=no wait_key=no check_new=no',
                     '-e', f'push "<limit>~s {subject}<enter><first-entry><pipe-message>cat > {out}<enter><exit>"')
    assert subject in drawn, f'not in the list: {drawn[-2000:]!r}'
    same(out.read_bytes(), sent)


@check('mutt lists and shows a message, CRLF and LF in the Maildir')
def mutt(site):
    mutt_reads(site, site.crlf)
    mutt_reads(site, site.lf)


@check("Python's mailbox.Maildir reads a message, with the flags Dovecot or it gave")
def python_maildir(site):
    sent = message('for-python')
    submit(site.lf.port, ['bob@relay.test'], sent)
    site.lf.only('bob@relay.test', 'Subject: for-python')
    box = mailbox.Maildir(site.lf.maildir('bob@relay.test'), create=False)
    key, = [key for key, found in box.items() if found['Subject'] == 'for-python']
    same(box.get_bytes(key), sent)
    read = box[key]
    read.add_flag('S')
    read.set_subdir('cur')
    box[key] = read
    box.flush()
    assert 'S' in mailbox.Maildir(site.lf.maildir('bob@relay.test')).get_message(key).get_flags()


@check('swaks: pipelined, in implicit TLS, LMTP on a socket file; XCLIENT is not offered')
def swaks(site):
    program, server = find('swaks', 'swaks'), site.crlf
    if 'not available' in run(program, '--support').partition('TLS')[2].splitlines()[0]:
        raise Missing('libnet-ssleay-perl')
    base = [program, '--from', 'a@sender.test', '--to', 'bob@relay.test', '--helo', 'client.test', '--header']
    for name, options, by in (
            ('pipeline', ['--server', '127.0.0.1', '--port', server.port, '--pipeline'], 'ESMTP'),
            ('esmtps', ['--server', '127.0.0.1', '--port', server.port, '--protocol', 'ESMTPS'], 'ESMTPS'),
            ('implicit', ['--server', '127.0.0.1', '--port', server.implicit, '--tls-on-connect'], 'ESMTPS'),
            ('lmtp', ['--socket', server.socket, '--protocol', 'LMTP'], 'LMTP')):
        run(*base, f'Subject: swaks-{name}', *options)
        received(server.only('bob@relay.test', f'Subject: swaks-{name}'), by)
    refused = run(*base, 'Subject: swaks-xclient', '--server', '127.0.0.1', '--port', server.port,
                  '--xclient-addr', '192.0.2.1', code=None)
    assert 'XCLIENT' in refused and not server.files('bob@relay.test', 'swaks-xclient'), refused


@check('curl: smtps, and STARTTLS by smtp')
def curl(site):
    program, server = find('curl', 'curl'), site.crlf
    for name, url, more in (('smtps', f'smtps://127.0.0.1:{server.implicit}/client.test', []),
                            ('starttls', f'smtp://127.0.0.1:{server.port}/client.test', ['--ssl-reqd'])):
        sent = message(f'curl-{name}')
        run(program, '-sS', '--insecure', *more, url, '--mail-from', 'a@sender.test', '--mail-rcpt',
            'bob@relay.test', '--upload-file', '-', stdin=sent)
        stored = server.only('bob@relay.test', f'Subject: curl-{name}')
        same(stored, sent)
        received(stored, 'ESMTPS')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--postroad', default='target/release/postroad', help='the binary (%(default)s)')
    parser.add_argument('--exim', help='the binary, where it is not in the PATH')
    parser.add_argument('--only', default='', help='make only the checks whose title has this text')
    parser.add_argument('--keep', action='store_true', help='keep the folder with all logs')
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error('only root can run the servers as their users')
    if not os.access(given.postroad, os.X_OK):
        parser.error(f'{given.postroad} is not there: cargo build --release')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='peers-'))
    folder.chmod(0o755)
    program = shutil.copy(given.postroad, folder / 'postroad')
    site = Site(program, given.exim and os.path.abspath(given.exim), folder)
    counts = {'ok': 0, 'FAILED': 0, 'missing': 0}
    with site.ends:
        for title, function in CHECKS:
            if given.only not in title:
                continue
            began, why = time.monotonic(), ''
            try:
                function(site)
                result = 'ok'
            except Missing as package:
                result, why = 'missing', f'\n    install the package {package}'
            except Exception as error:
                result, why = 'FAILED', f'\n    {type(error).__name__}: {error}'
            counts[result] += 1
            print(f'{result:8}{title} ({time.monotonic() - began:.1f} s){why}', flush=True)
    print(', '.join(f'{count} {result}' for result, count in counts.items()))
    if given.keep:
        print(f'kept: {folder}')
    else:
        shutil.rmtree(folder)
    return 1 if counts['FAILED'] else 2 if counts['missing'] else 0


if __name__ == '__main__':
    sys.exit(main())
