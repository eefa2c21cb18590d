"""`musher-endpoint` among clients that mean ill: what it may reach, what it bears, and that its memory stays bounded."""
import http.client
import io
import json
import re
import resource
import socket
import threading
import unittest
import zlib

import numpy as np
from PIL import Image

from musher_testing import BUCKET, BUILD, MusherTest, free_port
from serving_artifact import write_artifact

IDLE = 10_000
KEPT = 200  # descriptors for all else
MIB = 1 << 20


class EndpointAbuse(MusherTest):
    def serve(self, *arguments):
        import torch

        class Mean(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(1))

            def forward(self, inputs: torch.Tensor):
                return inputs.mean(dim=[2, 3]) * self.scale

        torch.jit.script(Mean()).save(str(self.folder / "mean.pt"))
        write_artifact(self.folder / "mean.tar.gz", self.folder / "mean.pt", [3, 16, 16], 3)
        self.port = free_port()
        log = self.folder / "endpoint.log"
        self.server = self.processes.start(
            [BUILD / "bin" / "musher-endpoint", "--model", f"file://{self.folder}/mean.tar.gz", "--port", self.port, *arguments],
            env=self.environment, log=log)

        def ready():
            self.assertIsNone(self.server.poll(), log.read_text() if log.exists() else "")
            try:
                return self.request("GET", "/ping")[0] == 200
            except ConnectionError:
                return False

        self.wait_until(ready, 60, "/ping says 200")

    def request(self, method, path, body=None, content_type="image/jpeg"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def metric(self, name):
        page = self.request("GET", "/metrics")[1].decode()
        return float(re.search(rf"^{name} (\S+)$", page, re.MULTILINE)[1])

    def picture(self, size=64):
        file = io.BytesIO()
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(file, "JPEG")
        return file.getvalue()

    def test_a_url_reaches_nothing_but_what_is_below_an_allowed_prefix(self):
        self.start_s3()
        client = self.s3.client()
        for key in ("open/picture.jpg", "secret.jpg", "opened/secret.jpg"):
            client.put_object(Bucket=BUCKET, Key=key, Body=self.picture())
        (self.folder / "secret.jpg").write_bytes(self.picture())
        (self.folder / "open").mkdir()
        (self.folder / "open" / "picture.jpg").write_bytes(self.picture())
        canary = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(canary.close)
        canary.settimeout(0.2)
        stranger = "127.0.0.1:{}".format(canary.getsockname()[1])
        self.serve("--allow-url", f"s3://{BUCKET}/open", "--allow-url", f"file://{self.folder}/open")
        for good in (f"s3://{BUCKET}/open/picture.jpg", f"file://{self.folder}/open/picture.jpg"):
            self.assertEqual(self.request("POST", "/invocations", json.dumps({"url": good}), "application/json")[0], 200)
        for bad in (f"http://{stranger}/picture.jpg", f"https://{stranger}/", f"s3://{stranger}/picture.jpg", f"//{stranger}/",
                    f"s3://{BUCKET}@{stranger}/open/picture.jpg", f"file://{stranger}/{self.folder}/open/picture.jpg",
                    "http://169.254.169.254/latest/meta-data/iam/security-credentials/", "gopher://localhost/", "file:///etc/passwd",
                    f"file://{self.folder}/secret.jpg", f"file://{self.folder}/open/../secret.jpg",
                    f"file://{self.folder}/open/%2e%2e/secret.jpg", f"file://{self.folder}/open/./../secret.jpg",
                    f"file://{self.folder}/open//../secret.jpg", f"FILE://{self.folder}/secret.jpg",
                    f"s3://{BUCKET}/secret.jpg", f"s3://{BUCKET}/opened/secret.jpg", f"s3://{BUCKET}/open/../secret.jpg",
                    f"s3://{BUCKET}/open/..%2fsecret.jpg", f"s3://{BUCKET}/open", f"s3://{BUCKET}/open/", f"s3://{BUCKET}",
                    f"s3://{BUCKET}/open/picture.jpg\u0000", f"s3://{BUCKET}/open/../../{BUCKET}/secret.jpg", "", "s3://", "x" * 100_000):
            status, body = self.request("POST", "/invocations", json.dumps({"url": bad}), "application/json")
            self.assertIn(status, (403, 404), (bad, body))
            self.assertLess(len(body), 4096)
        with self.assertRaises(TimeoutError, msg="somebody called"):
            canary.accept()

    def test_ten_thousand_idle_connections_cost_little_and_hold_nobody_up(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        count = min(IDLE, hard - KEPT)
        self.serve()
        memory = self.metric("process_resident_memory_bytes")
        idle = []
        self.addCleanup(lambda: [one.close() for one in idle])
        while len(idle) < count:
            idle.append(socket.create_connection(("127.0.0.1", self.port), timeout=60))
        self.wait_until(lambda: self.metric("musher_endpoint_connections") >= count, 60, "all are accepted")
        self.assertEqual(self.request("POST", "/invocations", self.picture())[0], 200)
        self.assertLess(self.metric("process_resident_memory_bytes") - memory, count * 16_384)
        idle[0].sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(idle[0].recv(1000).startswith(b"HTTP/1.1 200"))

    def test_bombs_and_slow_and_broken_clients_do_not_add_up_in_memory(self):
        self.serve("--body-timeout", 0.5, "--body-limit-mib", 1, "--buffer-limit-mib", 16, "--max-megapixels", 4)
        memory = self.metric("process_resident_memory_bytes")
        # One of 12 kB that is allowed and unpacks to 12 MB, the same cut off, one that is above the limit, and no picture.
        bomb = io.BytesIO()
        Image.new("RGB", (2000, 2000)).save(bomb, "PNG", compress_level=9)
        too_large = io.BytesIO()
        Image.new("L", (8000, 8000)).save(too_large, "PNG", compress_level=9)

        def shower(body, expected):
            for _ in range(20):
                status, answer = self.request("POST", "/invocations", body, "image/png")
                self.assertIn(status, expected, answer)

        threads = [threading.Thread(target=shower, args=arguments) for arguments in (
            (bomb.getvalue(), (200, 503)), (bomb.getvalue()[:-500], (400, 503)), (too_large.getvalue(), (400, 503)),
            (zlib.compress(bytes(MIB)), (400, 503)))]
        for thread in threads:
            thread.start()
        # 100 that promise a body and send a part of it: together they may hold no more than the limit.
        slow = [socket.create_connection(("127.0.0.1", self.port), timeout=60) for _ in range(100)]
        for one in slow:
            one.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\nabc")
        answers = sorted(one.recv(100)[9:12] for one in slow)
        for one in slow:
            one.close()
        self.assertEqual(set(answers), {b"408", b"503"}, "the first ones were too slow, the others too many")
        self.assertLessEqual(answers.count(b"408"), 16)
        for thread in threads:
            thread.join()
        self.wait_until(lambda: self.metric("musher_endpoint_connections") <= 2, 60, "all are let go of")
        self.assertLess(self.metric("process_resident_memory_bytes") - memory, 256 * MIB)
        self.assertEqual(self.request("POST", "/invocations", self.picture())[0], 200)
        self.assertIsNone(self.server.poll())


if __name__ == "__main__":
    unittest.main()
