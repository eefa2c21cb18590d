"""`musher-endpoint`: the model of a real job, served by SageMaker's container contract, over real sockets."""
import http.client
import io
import json
import os
import shutil
import signal
import struct
import threading
import unittest
import urllib.request
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from musher_testing import BUCKET, BUILD, MusherTest, free_port, make_images, make_job

ENDPOINT = BUILD / "bin" / "musher-endpoint"


def png_that_claims(width, height):
    """A PNG of a few bytes, with a header of any size."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def same(left, right):
    """But for rounding, which depends on the size of the batch that a picture was in."""
    return np.allclose(left, right, atol=1e-4)


class Endpoint(MusherTest):
    def setUp(self):
        super().setUp()
        make_images(self.folder / "data")
        self.samples = sorted((self.folder / "data").rglob("*.jpg"))

    def train_model(self, name="tiny", **options):
        """Its artifact's path."""
        description, _ = self.train(make_job(name, f"file://{self.folder}/data", f"file://{self.folder}/jobs",
                                             **({"epochs": 6} | options)))
        return Path(description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://"))

    def start_endpoint(self, model, *arguments):
        self.port = free_port()
        self.log = self.folder / f"endpoint-{self.port}.log"
        server = self.processes.start([ENDPOINT, "--model", model, "--port", self.port, *arguments], env=self.environment,
                                      log=self.log)

        def ready():
            self.assertIsNone(server.poll(), f"the endpoint ended: {self.log.read_text()}")
            try:
                return self.request("GET", "/ping")[0] == 200
            except ConnectionError:
                return False

        self.wait_until(ready, 60, "/ping says 200")
        return server

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def invoke(self, body, content_type="image/jpeg", **headers):
        return self.request("POST", "/invocations", body, Content_Type=content_type, **headers)

    def logits(self, picture):
        status, body, _ = self.invoke(picture)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def test_answers_what_the_job_learned_in_every_type(self):
        model = self.train_model()
        self.start_endpoint(f"file://{model}", "--allow-url", f"file://{self.folder}/data/class1", "--access-log")
        for path in self.samples:
            logits = self.logits(path.read_bytes())
            self.assertEqual(np.shape(logits), (1, 3))
            self.assertEqual(int(np.argmax(logits)), int(path.parent.name[-1]), path)

        path = next(path for path in self.samples if path.parent.name == "class1")
        expected = self.logits(path.read_bytes())
        status, body, headers = self.invoke(path.read_bytes(), Accept="text/csv", X_Amzn_RequestId="abc-123")
        self.assertEqual((status, headers["Content-Type"], headers["x-amzn-RequestId"]), (200, "text/csv", "abc-123"))
        self.assertEqual([float(value) for value in body.split(b",")], expected[0])
        status, body, _ = self.invoke(path.read_bytes(), Accept="application/x-npy")
        np.testing.assert_array_equal(np.load(io.BytesIO(body)), np.array(expected, "f4"))
        status, body, _ = self.invoke(json.dumps({"url": f"file://{path}"}), "application/json")
        self.assertEqual((status, json.loads(body)), (200, expected))
        elsewhere = f"file://{self.folder}/data/class0/000.jpg"
        self.assertEqual(self.invoke(json.dumps({"url": elsewhere}), "application/json")[0], 403)

        # What the model is given, made by hand: a picture of its own size is only normalised.
        pixels = np.asarray(Image.open(next(path.parent.glob("*.png"))), "f4") / 255
        inputs = ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1).astype("f4")
        png = self.logits(next(path.parent.glob("*.png")).read_bytes())
        file = io.BytesIO()
        np.save(file, inputs)
        by_array = json.loads(self.invoke(file.getvalue(), "application/x-npy")[1])
        by_lists = json.loads(self.invoke(json.dumps(inputs.tolist()), "application/json")[1])
        np.testing.assert_allclose(by_array, png, atol=1e-4)
        np.testing.assert_allclose(by_lists, png, atol=1e-4)
        self.assertIn('access abc-123 "POST /invocations" 200', self.log.read_text())
        status, page, headers = self.request("GET", "/metrics")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn("\nmusher_endpoint_invocation_4xx_errors_total 1\n", page.decode(), "the URL elsewhere")
        self.assertIn("\nmusher_endpoint_model_ready 1\n", page.decode())

    def test_serves_a_torchscript_model_from_s3(self):
        import torch
        self.start_s3()
        self.upload(self.folder / "data", "data")
        # What serving folds together: convolution, batch-norm with statistics of its own, ReLU.
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(),
                                  torch.nn.Linear(8 * 7 * 7, 3))
        torch.jit.script(net).save(str(self.folder / "net.pt"))
        self.s3.client().upload_file(str(self.folder / "net.pt"), BUCKET, "net.pt")
        job = make_job("script", f"s3://{BUCKET}/data", f"s3://{BUCKET}/jobs", model=f"s3://{BUCKET}/net.pt", epochs=1)
        description, _ = self.train(job)
        self.start_endpoint(description["ModelArtifacts"]["S3ModelArtifacts"], "--allow-url", f"s3://{BUCKET}/data")
        trained = torch.jit.load(str(self.artifact(description) / "model.pt")).eval()
        path = next((self.folder / "data" / "class2").glob("*.png"))
        pixels = np.asarray(Image.open(path), "f4") / 255
        inputs = ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1).astype("f4")
        with torch.no_grad():
            expected = trained(torch.from_numpy(inputs)[None]).numpy()
        np.testing.assert_allclose(self.logits(path.read_bytes()), expected, atol=1e-4)
        url = json.dumps({"url": f"s3://{BUCKET}/data/class2/{path.name}"})
        status, body, _ = self.invoke(url, "application/json")
        self.assertEqual(status, 200, body)
        np.testing.assert_allclose(json.loads(body), expected, atol=1e-4)
        missing = json.dumps({"url": f"s3://{BUCKET}/data/none.jpg"})
        self.assertEqual(self.invoke(missing, "application/json")[0], 404)

    def test_bad_input_is_a_clear_4xx_and_the_server_stays_up(self):
        model = self.train_model(epochs=1)
        server = self.start_endpoint(f"file://{model}", "--body-limit-mib", 1)
        picture = self.samples[0].read_bytes()
        for status, part, answer in (
                (400, "", self.invoke(picture[:-100])),
                (400, "", self.invoke(b"no picture")),
                (400, "empty", self.invoke(b"")),
                (400, "pixels", self.invoke(png_that_claims(60_000, 60_000), "image/png")),
                (400, "", self.invoke(png_that_claims(6_000, 6_000), "image/png")),
                (400, "JSON", self.invoke(b"{", "application/json")),
                (400, "deeply", self.invoke(b"[" * 100_000, "application/json")),
                (413, "1048576", self.invoke(b"x" * 3_000_000)),
                (415, "Content-Type", self.invoke(picture, "text/html")),
                (406, "Accept", self.invoke(picture, Accept="image/gif")),
                (405, "POST", self.request("GET", "/invocations")),
                (404, "", self.request("GET", "/metrics/../etc/passwd"))):
            self.assertEqual(answer[0], status, answer[1])
            self.assertIn(part, json.loads(answer[1])["message"])
        self.assertEqual(np.shape(self.logits(picture)), (1, 3))
        self.assertIsNone(server.poll())

    def load(self, seconds_stop):
        """Threads that invoke until told; what went wrong."""
        failures = []
        done = [0]
        picture = self.samples[0].read_bytes()

        def go_on():
            while not seconds_stop.is_set():
                try:
                    status, body, _ = self.invoke(picture)
                    done[0] += 1
                    if status != 200:
                        failures.append((status, body))
                except (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected) as error:
                    failures.append(error)

        threads = [threading.Thread(target=go_on) for _ in range(8)]
        for thread in threads:
            thread.start()
        return threads, failures, done

    def test_a_new_artifact_is_taken_up_without_a_request_that_fails(self):
        first = self.train_model("first", epochs=1)
        second = self.train_model("second", epochs=2, seed=5)
        served = self.folder / "model.tar.gz"
        shutil.copy(first, served)
        server = self.start_endpoint(f"file://{served}")
        picture = self.samples[0].read_bytes()
        before = self.logits(picture)
        stop = threading.Event()
        threads, failures, done = self.load(stop)
        try:
            self.wait_until(lambda: done[0] > 20, 60, "requests are answered")
            served.with_suffix(".new").write_bytes(second.read_bytes()[:-20])
            os.replace(served.with_suffix(".new"), served)
            server.send_signal(signal.SIGHUP)
            self.wait_until(lambda: "not reloaded" in self.log.read_text(), 60, "the damaged one is refused")
            self.assertTrue(same(self.logits(picture), before))
            shutil.copy(second, served.with_suffix(".new"))
            os.replace(served.with_suffix(".new"), served)
            server.send_signal(signal.SIGHUP)
            self.wait_until(lambda: not same(self.logits(picture), before), 60, "the new one answers")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])

    def test_sigterm_answers_what_is_under_way_and_ends(self):
        model = self.train_model(epochs=1)
        server = self.start_endpoint(f"file://{model}")
        stop = threading.Event()
        threads, failures, done = self.load(stop)
        try:
            self.wait_until(lambda: done[0] > 20, 60, "requests are answered")
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(timeout=60), 0, self.log.read_text())
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        # New connections are refused or, where they waited in the kernel, reset; a request that was read has its answer.
        answered = [failure for failure in failures if isinstance(failure, tuple)]
        self.assertEqual(answered, [])
        self.assertIn("ended", self.log.read_text())

    def test_boto3_invokes_what_its_key_may_and_nothing_else(self):
        import boto3
        from botocore.config import Config
        from botocore.exceptions import ClientError
        model = self.train_model(epochs=1)
        keys = self.folder / "keys"

        def access(*words, code=0):
            return self.musher("access", *words, "--keys", keys, code=code)

        def policy(name, resource):
            path = self.folder / f"{name}.json"
            path.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": resource}]}))
            return path

        def make(name, endpoint):
            arn = f"arn:aws:sagemaker:eu-west-1:000000000000:endpoint/{endpoint}"
            return json.loads(access("create", name, "--policy", policy(name, arn)).stdout)["AccessKey"]

        def client(key, secret=None):
            return boto3.client("sagemaker-runtime", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="eu-west-1",
                                aws_access_key_id=key["AccessKeyId"],
                                aws_secret_access_key=secret or key["SecretAccessKey"],
                                config=Config(retries={"max_attempts": 0}))

        def refused(call, **arguments):
            with self.assertRaises(ClientError) as caught:
                call(**arguments)
            error = caught.exception.response
            return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]

        function, other = make("function", "dogs"), make("other", "cats")
        metrics_port = free_port()
        self.start_endpoint(f"file://{model}", "--endpoint", "dogs", "--keys", keys, "--region", "eu-west-1", "--access-log",
                            "--metrics-listen", f"127.0.0.1:{metrics_port}")
        picture = {"ContentType": "image/jpeg", "Body": self.samples[0].read_bytes()}
        answer = client(function).invoke_endpoint(EndpointName="dogs", Accept="application/json", **picture)
        self.assertEqual(np.shape(json.load(answer["Body"])), (1, 3))
        self.assertEqual(answer["InvokedProductionVariant"], "AllTraffic")

        status, code, message = refused(client(function).invoke_endpoint, EndpointName="cats", **picture)
        self.assertEqual((status, code), (403, "AccessDeniedException"))
        self.assertEqual(message, "User: arn:aws:iam::000000000000:user/function is not authorized to perform: "
                                  "sagemaker:InvokeEndpoint on resource: "
                                  "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/cats because no identity-based policy "
                                  "allows the sagemaker:InvokeEndpoint action")
        self.assertEqual(refused(client(other).invoke_endpoint, EndpointName="dogs", **picture)[1], "AccessDeniedException")
        self.assertEqual(refused(client(function, "wrong").invoke_endpoint, EndpointName="dogs", **picture)[:2],
                         (403, "InvalidSignatureException"))
        self.assertEqual(refused(client(function).invoke_endpoint, EndpointName="dogs", ContentType="text/html", Body=b"x")[:2],
                         (424, "ModelError"))
        self.assertEqual(self.invoke(self.samples[0].read_bytes())[0], 403, "the container's own path is closed")

        self.assertEqual(self.request("GET", "/metrics")[0], 403, "and so are its metrics")
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=60) as page:
            metrics = page.read().decode()
        # Two reached the model: one was answered, one of another content type was refused.
        self.assertIn("\nmusher_endpoint_invocations_total 2\n", metrics)
        self.assertIn("\nmusher_endpoint_invocation_model_errors_total 1\n", metrics)

        listed = access("list").stdout
        access("delete", function["AccessKeyId"])
        self.assertEqual(refused(client(function).invoke_endpoint, EndpointName="dogs", **picture)[:2],
                         (403, "UnrecognizedClientException"))
        for text in (listed, self.log.read_text(), *(path.read_text(errors="replace") for path in keys.iterdir())):
            self.assertNotIn(function["SecretAccessKey"], text)
        for path in (keys, *keys.iterdir()):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        access("create", "bad", "--policy", self.write_job("{}", "empty.json"), code=2)

    def test_says_what_is_wrong_with_its_options_and_its_model(self):
        def fails(code, part, *arguments):
            done = self.processes.run([ENDPOINT, *arguments], env=self.environment, timeout=60)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(part, done.stderr)

        fails(2, "--model")
        fails(2, "--address", "--model", "file:///m/model.tar.gz", "--address", "0.0.0.0")
        missing = f"file://{self.folder}/none/model.tar.gz"
        fails(1, missing, "--model", missing, "--port", 0)
        help_text = self.processes.run([ENDPOINT, "--help"], env=self.environment, timeout=60)
        self.assertEqual(help_text.returncode, 0)
        self.assertIn("SIGHUP", help_text.stdout)


if __name__ == "__main__":
    unittest.main()
