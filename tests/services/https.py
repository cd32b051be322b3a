#!/usr/bin/env python3
"""https.py FOLDER CERTIFICATES PORT: serves the files of a folder over TLS, to read.

CERTIFICATES is what certificate.sh made. A bare repository below FOLDER can be fetched
with Git after `git update-server-info`.
"""

import functools
import http.server
import ssl
import sys

folder, certificates, port = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{certificates}/server.pem", f"{certificates}/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
