#!/usr/bin/env python3
"""Receives the events of a shop.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_… python3 webhook_receiver.py [PORT]

Prints each event once, as a line of JSON. A real receiver stores it before it answers.
"""

import json
import os
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

# An event is one purchase, or one fact about a sale: far smaller than this.
MAX_BODY = 1 << 20
# Ids that are remembered. A database with a unique key needs no such bound.
MAX_IDS = 100_000

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
received, lock = OrderedDict(), Lock()


def is_new(event_id):
    """Deliveries are repeated until one is accepted, so an event may come twice: its id is the same."""
    with lock:
        if event_id in received:
            return False
        received[event_id] = None
        if len(received) > MAX_IDS:
            received.popitem(last=False)
        return True


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            # Before anything else, on the bytes as they came. It also refuses what is older than five minutes.
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return self.answer(401)
        if is_new(event["id"]):
            print(json.dumps(event), flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
    server.serve_forever()
