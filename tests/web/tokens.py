"""A token endpoint (RFC 6749, client credentials), in Python's standard library alone.

    tokens.py CLIENT SECRET SECONDS STATUS...

It takes a port of its own, prints `listening PORT`, and then a line for each request: `given TOKEN` or `answered STATUS`. The first
requests are answered with STATUS, one after the other; then each gets a token that is good for SECONDS.
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus

client, secret, seconds, *statuses = sys.argv[1:]
count = 0


def say(*words):
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        global count
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        kind, _, shown = self.headers.get("Authorization", "").partition(" ")
        pair = [unquote_plus(part) for part in base64.b64decode(shown).decode().split(":")]
        is_known = kind == "Basic" and pair == [client, secret]
        if not is_known or form.get("grant_type") != ["client_credentials"]:
            return self.reply(401, {"error": "invalid_client"})
        if statuses:
            return self.reply(int(statuses.pop(0)), {"error": "not_now"})
        count += 1
        token = f"token-{count}-of-{form.get('scope', ['none'])[0]}"
        self.reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": int(seconds)})

    def reply(self, status, answer):
        say("given" if status == 200 else "answered", answer.get("access_token", str(status)))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
say("listening", str(server.server_port))
server.serve_forever()
