"""A server that takes readings, in Python's standard library alone: what checks the gateway must not share its mistakes.

    server.py PORT [--old] [--tls CERTIFICATE KEY]

It prints a line for each reading that it accepts, before it answers, and one for each request. A POST to /control sets a rule
(JSON) that holds from then on:

    status       answered in place of 200
    times        only so often; then 200 again
    bad          a text: a request with it anywhere in its body, or in its path, is answered with `bad_status`
    bad_status   400 where it is not set
    bad_raw      these bytes in place of that answer, and the connection ends
    bad_mute     true: such a request has no answer
    crash        a text: a request with it ends the connection without an answer
    words        the body of an answer that is none of 2xx
    headers      more headers of such an answer
"""

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
rule = {}


def say(*words):
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def readings(body, kind):
    if kind == "application/x-ndjson":
        return [json.loads(line) for line in body.splitlines() if line.strip()]
    found = json.loads(body)
    return found if isinstance(found, list) else [found]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        global rule
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with lock:
            if self.path == "/control":
                rule = json.loads(body)
                return self.reply(200, "")
            status = self.verdict(body)
            is_bad = self.is_bad(body)
            raw, is_mute = rule.get("bad_raw"), rule.get("bad_mute")
        if is_bad and (raw is not None or is_mute):
            say("request", self.command, self.path, "odd", "0")
            if is_mute:
                threading.Event().wait()
            self.wfile.write(raw.encode())
            status = None
        with lock:
            if status is None:
                say("crash")
                self.close_connection = True
                return
            count = 0
            if status < 300:
                for reading in readings(body, self.headers.get("Content-Type")):
                    count += 1
                    payload = reading.get("payload", reading)
                    say("seen", payload["device"], str(payload["seq"]), reading.get("id", "-"))
            words = [self.command, self.path, str(status), str(count)]
            for name in ("Idempotency-Key", "Authorization", "X-Site", "Content-Type"):
                words.append(f"{name}={self.headers.get(name)}")
            say("request", *words)
            if status < 300:
                self.reply(status, "thanks")
            else:
                self.reply(status, rule.get("words", "no"), rule.get("headers", {}))

    do_PUT = do_POST

    def is_bad(self, body):
        return rule.get("bad", "\0").encode() in body + self.path.encode()

    def verdict(self, body):
        if rule.get("crash", "\0").encode() in body:
            return None
        if self.is_bad(body):
            return rule.get("bad_status", 400)
        if rule.get("times", 1) > 0 and "status" in rule:
            rule["times"] = rule.get("times", 1 << 30) - 1
            return rule["status"]
        return 200

    def reply(self, status, words, headers={}):
        body = words.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


arguments = sys.argv[1:]
if "--old" in arguments:
    # Closes after each answer.
    Handler.protocol_version = "HTTP/1.0"
ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", int(arguments[0])), Handler)
if "--tls" in arguments:
    at = arguments.index("--tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments[at + 1], arguments[at + 2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
say("listening")
server.serve_forever()
