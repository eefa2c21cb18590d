"""A stand-in for EC2's instance metadata service, version 2: tokens are checked, and what is not there is 404."""
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class MetadataServer:
    def __init__(self):
        self.documents = {}  # path → what JSON it is
        self.asked = []      # paths of the GETs that had a valid token
        self.refused = 0     # GETs without one
        self.tokens_made = 0
        self._token = None
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def env(self):
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}/",
                "AWS_EC2_METADATA_DISABLED": "false"}

    def put(self, path, document):
        with self._changed:
            self.documents[path] = document

    def remove(self, path):
        with self._changed:
            del self.documents[path]

    def revoke_token(self):
        """From now on the token that was given is 401."""
        with self._changed:
            self._token = None

    def wait_asked(self, count, seconds):
        """Until there were so many more GETs with a valid token; False when there were not in time."""
        with self._changed:
            target = len(self.asked) + count
            return self._changed.wait_for(lambda: len(self.asked) >= target, seconds)

    def _handler(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, text=""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_PUT(self):
                if self.path != "/latest/api/token":
                    return self.answer(403)
                seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
                    return self.answer(400)
                with outer._changed:
                    outer.tokens_made += 1
                    outer._token = outer._token or f"token-{next(outer._numbers)}"
                    token = outer._token
                self.answer(200, token)

            def do_GET(self):
                with outer._changed:
                    valid = outer._token and self.headers.get("X-aws-ec2-metadata-token") == outer._token
                    if valid:
                        outer.asked.append(self.path)
                        outer._changed.notify_all()
                    else:
                        outer.refused += 1
                    document = outer.documents.get(self.path)
                if not valid:
                    self.answer(401)
                elif document is None:
                    self.answer(404, "<?xml version=\"1.0\"?><html>Not Found</html>")
                else:
                    self.answer(200, json.dumps(document))

        return Handler
