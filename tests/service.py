"""A language model that a local server stands in for."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service:
    """An OpenAI-compatible service that answers as it is told, and notes what it was asked."""

    def __init__(self):
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append((self.path, self.headers.get("Authorization"), body))
                time.sleep(service.delay)
                self.send_response(service.status)
                self.end_headers()
                self.wfile.write(service.body.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.asked, self.delay, self.status, self.body = [], 0.0, 200, ""
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, text):
        self.body = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})

    def dies(self):
        self.server.shutdown()
        self.server.server_close()
