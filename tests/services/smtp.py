#!/usr/bin/python3
"""A real mail server for tests: STARTTLS and a login, or no mail.

Each accepted mail is a file DIR/mail/NNNN.eml, complete when it is there; its
first lines, `Return-Path` and one `Delivered-To` for each recipient, are the
envelope. Prints `ready 127.0.0.1:PORT` when it listens (port 0: any free one),
and ends on TERM. Any number at a time.

Without --cert and --key, certificate.sh makes them in DIR; clients trust
DIR/ca.pem. It needs Debian's python3-aiosmtpd, hence the system's Python.
"""

import argparse
import asyncio
import pathlib
import signal
import ssl
import subprocess

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

HERE = pathlib.Path(__file__).resolve().parent


class Mailbox:
    """The folder of accepted mails."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.last = max((int(mail.stem) for mail in folder.glob("[0-9]*.eml")), default=0)

    async def handle_DATA(self, server, session, envelope):
        lines = [f"Return-Path: <{envelope.mail_from}>"]
        lines += [f"Delivered-To: {recipient}" for recipient in envelope.rcpt_tos]
        head = "".join(line + "\r\n" for line in lines).encode()

        self.last += 1
        mail = self.folder / f"{self.last:04}.eml"
        part = mail.with_suffix(".part")
        part.write_bytes(head + envelope.original_content)
        part.rename(mail)
        print(f"{mail.name} from {envelope.mail_from} to {', '.join(envelope.rcpt_tos)}", flush=True)
        return f"250 2.0.0 {mail.name}"


def login(user, password):
    expected = LoginPassword(user.encode(), password.encode())

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=data == expected, handled=data == expected)

    return authenticate


async def serve(options):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(options.cert, options.key)
    mailbox = Mailbox(options.dir / "mail")

    def protocol():
        return SMTP(
            mailbox,
            hostname="localhost",
            ident="shipline-tests",
            enable_SMTPUTF8=True,
            tls_context=tls,
            require_starttls=True,
            auth_required=True,
            authenticator=login(options.user, options.password),
        )

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    server = await loop.create_server(protocol, "127.0.0.1", options.port)
    print(f"ready 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="where mails go, to DIR/mail")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--cert", type=pathlib.Path, help="certificate, PEM")
    parser.add_argument("--key", type=pathlib.Path, help="its key, PEM")
    options = parser.parse_args()
    if not options.cert and not options.key:
        subprocess.run([HERE / "certificate.sh", options.dir], check=True, stdout=subprocess.DEVNULL)
        options.cert = options.dir / "server.pem"
        options.key = options.dir / "server.key"
    elif not (options.cert and options.key):
        parser.error("--cert and --key belong together")
    return options


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
