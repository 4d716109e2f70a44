"""Sends one file by Python's smtplib: HOST PORT TRANSPORT FROM TO FILE (transport: plain, starttls, implicit)."""
import smtplib
import ssl
import sys

host, port, transport, sender, recipient, path = sys.argv[1:]
with open(path, 'rb') as file:
    message = file.read()
context = ssl.create_default_context()
# The server made its certificate itself.
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if transport == 'implicit':
    client = smtplib.SMTP_SSL(host, int(port), timeout=60, context=context)
else:
    client = smtplib.SMTP(host, int(port), timeout=60)
with client:
    client.ehlo()
    if transport == 'starttls':
        client.starttls(context=context)
        client.ehlo()
    utf8 = not (sender + recipient).isascii()
    client.sendmail(sender, [recipient], message, mail_options=['SMTPUTF8', 'BODY=8BITMIME'] if utf8 else [])
