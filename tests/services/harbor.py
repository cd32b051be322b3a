#!/usr/bin/python3
"""harbor.py DIR PORT REGISTRY_PORT: what clients see of Harbor, before a real registry.

Answers at https://127.0.0.1:PORT: the token service, as much of the API v2.0 as scanning
a pushed image takes, and `/v2/`, which is passed on to the registry at
127.0.0.1:REGISTRY_PORT that trusts the tokens (registry.sh with
SHIPLINE_REGISTRY_TOKEN_REALM); harbor.sh starts both. Before a push reaches it, projects that do not exist,
immutable tags and quotas refuse it in Harbor's words.

The certificates in DIR are for TLS, and sign the tokens. DIR/world.json says what there
is, and is read again for each request, so that a test can change it:

  users        login -> password
  projects     name -> {"id": 2, "immutable": ["v*"], "quota": bytes}
  scanner      false: no project has one; "unsupported": it cannot scan this image
  automatic    true: a push starts a scan
  seconds      how long a scan takes
  status       how it ends: Success (default), Error
  found        [{"id": "CVE-…", "severity": "High", "package": …, "version": …, …}]
  token_field  "token" (default) or "access_token"
  expires_in   seconds that a token lives (default 1800)
  faults       [{"method": "HEAD", "path": regex, "status": 503, "times": 2,
                 "retry_after": 1, "code": "DENIED", "message": …}], without a message
               in the words of a proxy; `digest` in place of `status` lets the
               request through and lies about its digest

DIR/requests.log has one line `METHOD PATH STATUS` for each answer.
"""

import base64
import fnmatch
import http.client
import http.server
import json
import pathlib
import re
import secrets
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

folder = pathlib.Path(sys.argv[1])
port, registry_port = int(sys.argv[2]), int(sys.argv[3])
ISSUER, SERVICE = "harbor-token-issuer", "harbor-registry"
REPORTS = (
    "application/vnd.security.vulnerability.report; version=1.1",
    "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
)
# In the order of the server's own comparison; what it does not know is worst.
RANKS = {"None": 0, "Unknown": 0, "Negligible": 1, "Low": 2, "Medium": 3, "High": 4, "Critical": 5}
lock = threading.Lock()
pushed, scans, uploaded, used = {}, {}, {}, {}


def world():
    return json.loads((folder / "world.json").read_text())


def without_padding(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(subject, access, lifetime):
    """A token as the registry's own library checks it: ES256, with the certificate."""
    certificate = ssl.PEM_cert_to_DER_cert((folder / "server.pem").read_text())
    now = int(time.time())
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
    claims = {
        "iss": ISSUER, "sub": subject, "aud": SERVICE, "exp": now + lifetime,
        "nbf": now - 10, "iat": now, "jti": secrets.token_hex(8), "access": access,
    }
    parts = [without_padding(json.dumps(part).encode()) for part in (header, claims)]
    signed = ".".join(parts)
    command = ["openssl", "dgst", "-sha256", "-sign", str(folder / "server.key")]
    der = subprocess.run(command, input=signed.encode(), stdout=subprocess.PIPE, check=True).stdout
    # DER is two integers; the token wants them as 32 bytes each.
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + length], "big"))
        at += 2 + length
    raw = b"".join(number.to_bytes(32, "big") for number in numbers)
    return f"{signed}.{without_padding(raw)}"


def mebibytes(size):
    return f"{size / 1048576:.1f} MiB"


class Harbor(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle_any(self):
        self.world = world()
        self.sent = False
        path = urllib.parse.urlsplit(self.path).path
        fault = self.fault(path)
        if fault and "status" in fault:
            self.drain()
            extra = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
            if "message" not in fault:
                # As a proxy in front of it says that nothing is behind.
                page = b"<html><body>out of order</body></html>"
                return self.answer(fault["status"], page, "text/html", extra)
            return self.refuse(fault["status"], fault.get("code", "UNKNOWN"), fault["message"], extra)
        self.lie = (fault or {}).get("digest")
        if path == "/service/token":
            return self.token_service()
        if path.startswith("/api/v2.0/"):
            return self.api(path)
        if path.startswith("/v2/"):
            return self.registry(path)
        self.drain()
        return self.refuse(404, "NOT_FOUND", "no such page")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def fault(self, path):
        faults = self.world.get("faults", [])
        for number, fault in enumerate(faults):
            if fault.get("method", self.command) != self.command:
                continue
            if not re.search(fault["path"], path):
                continue
            with lock:
                key = ("fault", number, json.dumps(fault, sort_keys=True))
                uploaded[key] = uploaded.get(key, 0) + 1
                if uploaded[key] <= fault.get("times", 10**9):
                    return fault
        return None

    # Who asks

    def user(self):
        """The name of who asks, None for nobody, False for a wrong password."""
        header = self.headers.get("Authorization", "")
        if not header.startswith("Basic "):
            return None
        name, _, password = base64.b64decode(header[6:]).decode().partition(":")
        return name if self.world["users"].get(name) == password else False

    def token_service(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        form = urllib.parse.parse_qs(self.drain().decode())
        if self.command == "POST":
            # An identity token, as `docker login` keeps it for some registries.
            wanted = form.get("refresh_token", [""])[0]
            granted = [name for name, word in self.world["users"].items() if word == wanted]
            user = granted[0] if form.get("grant_type") == ["refresh_token"] and granted else False
            query = form
        else:
            user = self.user()
        if user is False or (user is None and "scope" not in query):
            return self.refuse(401, "UNAUTHORIZED", "unauthorized")
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, _ = (scope + "::").split(":", 2)
            known = kind == "repository" and name.split("/")[0] in self.world["projects"]
            actions = ["pull", "push"] if known and user else []
            access.append({"type": kind, "name": name, "actions": actions})
        lifetime = self.world.get("expires_in", 1800)
        field = "access_token" if self.command == "POST" else self.world.get("token_field", "token")
        self.answer(200, {field: token(user or "", access, lifetime), "expires_in": lifetime})

    # The API

    def api(self, path):
        self.drain()
        if path == "/api/v2.0/ping":
            return self.answer(200, b"Pong", "text/plain; charset=utf-8")
        if not self.user():
            return self.refuse(401, "UNAUTHORIZED", "unauthorized")
        match = re.fullmatch(
            r"/api/v2\.0/projects/([^/]+)/repositories/([^/]+)/artifacts/([^/]+)(/.*)?", path
        )
        if not match:
            return self.refuse(404, "NOT_FOUND", "no such route")
        project = urllib.parse.unquote(match[1])
        # Twice: the router takes one layer off, and the handler the other.
        repository = urllib.parse.unquote(urllib.parse.unquote(match[2]))
        digest, rest = urllib.parse.unquote(match[3]), match[4] or ""
        if project not in self.world["projects"]:
            return self.refuse(403, "FORBIDDEN", "forbidden")
        name = f"{project}/{repository}"
        if digest not in pushed.get(name, {}):
            return self.refuse(404, "NOT_FOUND", f"artifact {name}@{digest} not found")
        if (self.command, rest) == ("GET", ""):
            return self.artifact(project, name, digest)
        if (self.command, rest) == ("POST", "/scan"):
            return self.scan(project, name, digest)
        if (self.command, rest) == ("GET", "/additions/vulnerabilities"):
            report = {"severity": self.worst(), "vulnerabilities": self.world.get("found", [])}
            return self.answer(200, {self.wanted_report(): report})
        return self.refuse(404, "NOT_FOUND", "no such route")

    def wanted_report(self):
        header = self.headers.get("X-Accept-Vulnerabilities") or ", ".join(REPORTS)
        return next((kind for kind in header.split(", ") if kind in REPORTS), REPORTS[0])

    def worst(self):
        severities = [item["severity"] for item in self.world.get("found", [])] + ["None"]
        return max(severities, key=lambda word: RANKS.get(word, 99))

    def artifact(self, project, name, digest):
        project_id = self.world["projects"][project].get("id", 1)
        artifact = {
            "id": 7, "type": "IMAGE", "project_id": project_id, "repository_name": name,
            "digest": digest, "size": 1, "tags": None,
        }
        begun = scans.get((name, digest))
        if "with_scan_overview=true" in self.path and begun is not None:
            past, needed = time.monotonic() - begun, self.world.get("seconds", 0)
            overview = {"report_id": "r", "scan_status": "Running", "complete_percent": 0}
            if past >= needed:
                status = self.world.get("status", "Success")
                overview.update(scan_status=status, complete_percent=100)
                if status == "Success":
                    found = self.world.get("found", [])
                    counts = {}
                    for item in found:
                        counts[item["severity"]] = counts.get(item["severity"], 0) + 1
                    fixable = sum(1 for item in found if item.get("fix_version"))
                    overview["severity"] = self.worst()
                    overview["summary"] = {
                        "total": len(found), "fixable": fixable, "summary": counts,
                    }
            artifact["scan_overview"] = {self.wanted_report(): overview}
        self.answer(200, artifact)

    def scan(self, project, name, digest):
        scanner = self.world.get("scanner", True)
        if scanner is False:
            number = self.world["projects"][project].get("id", 1)
            message = f"no available scanner for project: {number}"
            return self.refuse(412, "PRECONDITION", message)
        if scanner == "unsupported":
            message = (
                "the configured scanner Trivy does not support scanning artifact with mime type "
                "application/vnd.docker.distribution.manifest.v2+json"
            )
            return self.refuse(400, "BAD_REQUEST", message)
        begun = scans.get((name, digest))
        if begun is not None and time.monotonic() - begun < self.world.get("seconds", 0):
            return self.refuse(409, "CONFLICT", "a previous scan process is running")
        scans[(name, digest)] = time.monotonic()
        return self.answer(202, b"", None)

    # The registry, and what is asked before it is

    def registry(self, path):
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.*)", path)
        if match and self.headers.get("Authorization"):
            name, kind, reference = match[1], match[2], match[3]
            project = name.split("/")[0]
            if project not in self.world["projects"]:
                self.drain()
                message = f"project {project} not found: project {project} not found"
                return self.refuse(401, "UNAUTHORIZED", message)
            rules = self.world["projects"][project]
            if self.command == "PUT" and kind == "manifests":
                there = reference in [tag for tags in pushed.get(name, {}).values() for tag in tags]
                rule = any(fnmatch.fnmatch(reference, tag) for tag in rules.get("immutable", []))
                if there and rule:
                    self.drain()
                    short = name.split("/", 1)[1]
                    message = (
                        f"Failed to process request due to '{short}:{reference}' "
                        "configured as immutable."
                    )
                    return self.refuse(412, "PRECONDITION", message)
                size, quota = used.get(name, 0), rules.get("quota")
                if quota is not None and size > quota:
                    self.drain()
                    message = (
                        f"adding {mebibytes(size)} of storage resource, which when updated to "
                        f"current usage of 0 B will exceed the configured upper limit of "
                        f"{mebibytes(quota)}."
                    )
                    return self.refuse(403, "DENIED", message)
        self.forward(match)

    def forward(self, match):
        hop = ("connection", "transfer-encoding", "content-length", "expect")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in hop}
        headers["X-Forwarded-Proto"] = "https"
        length = self.headers.get("Content-Length")
        upstream = http.client.HTTPConnection("127.0.0.1", registry_port, timeout=60)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        size = 0

        def pieces():
            nonlocal size
            for piece in self.pieces():
                size += len(piece)
                yield piece

        if length is not None:
            headers["Content-Length"] = length
        elif chunked:
            headers["Transfer-Encoding"] = "chunked"
        has_body = chunked or (length is not None and length != "0")
        upstream.request(
            self.command, self.path, pieces() if has_body else None, headers,
            encode_chunked=chunked,
        )
        response = upstream.getresponse()
        body = response.read()
        if match and response.status in (201, 202):
            name, kind, reference = match[1], match[2], match[3]
            with lock:
                if kind == "blobs":
                    used[name] = used.get(name, 0) + size
                if kind == "manifests" and self.command == "PUT":
                    digest = response.getheader("Docker-Content-Digest")
                    tags = pushed.setdefault(name, {})
                    for others in tags.values():
                        if reference in others:
                            others.remove(reference)
                    tags.setdefault(digest, []).append(reference)
                    if self.world.get("automatic"):
                        scans[(name, digest)] = time.monotonic()
        self.send_response(response.status)
        for key, value in response.getheaders():
            if key.lower() in hop:
                continue
            if key.lower() == "docker-content-digest" and self.lie:
                value = self.lie
            self.send_header(key, value)
        announced = response.getheader("Content-Length")
        self.send_header("Content-Length", announced if self.command == "HEAD" and announced else str(len(body)))
        self.note(response.status)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        upstream.close()

    # Plumbing

    def pieces(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def drain(self):
        return b"".join(self.pieces())

    def refuse(self, status, code, message, headers=None):
        self.answer(status, {"errors": [{"code": code, "message": message}]}, headers=headers)

    def answer(self, status, body, kind="application/json; charset=utf-8", headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        # Before the answer is out: who gets it may look here next.
        self.note(status)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def note(self, status):
        with lock, open(folder / "requests.log", "a") as log:
            log.write(f"{self.command} {self.path} {status}\n")


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Harbor)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "server.pem", folder / "server.key")
# The handshake belongs to the thread of the connection, not to the one that accepts.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening", flush=True)
server.serve_forever()
