"""`musher function serve`: boto3's `lambda` client, a model server behind InvokeEndpoint, and a key that may do just that."""
import base64
import contextlib
import http.client
import http.server
import json
import os
import signal
import sqlite3
import ssl
import threading
import unittest
import urllib.error
import urllib.request

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from musher_testing import BUCKET, BUILD, MusherTest, free_port, make_images, make_job

ENDPOINT = BUILD / "bin" / "musher-endpoint"
ACCOUNT = "000000000000"
REGION = "eu-west-1"
DOGS = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/dogs"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:lab"


class HeldEndpoint:
    """Stands for a model server: counts requests and answers them when told, or as told. `tls`: a TLS folder."""

    def __init__(self, tls=None):
        held = self
        self.changed = threading.Condition()
        self.waiting = 0
        self.released = threading.Event()
        self.statuses = []  # of the next answers; then 200

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with held.changed:
                    held.waiting += 1
                    held.changed.notify_all()
                    status = held.statuses.pop(0) if held.statuses else 200
                held.released.wait()
                body = b"[[1.0, 2.0]]" if status == 200 else b'{"Message": "no picture"}'
                with contextlib.suppress(ConnectionError):  # who asked may be gone
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("x-amzn-ErrorType", "ModelError")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def wait_for(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.waiting >= count, 60):
                raise AssertionError(f"{self.waiting} requests came, not {count}")

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Function(MusherTest):
    def setUp(self):
        super().setUp()
        self.keys = self.folder / "keys"
        make_images(self.folder / "data")
        self.picture = next((self.folder / "data" / "class1").glob("*.jpg"))

    def make_key(self, user, action, resource):
        """The key, and the file that it was printed to."""
        policy = self.folder / f"{user}-policy.json"
        policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": resource}]}))
        printed = self.musher("access", "create", user, "--policy", policy, "--keys", self.keys, code=0).stdout
        path = self.folder / f"{user}.key"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(printed)
        return json.loads(printed)["AccessKey"], path

    def client(self, service, port, key, authority=None):
        scheme = "https" if authority else "http"
        return boto3.client(service, endpoint_url=f"{scheme}://127.0.0.1:{port}", region_name=REGION, verify=authority,
                            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
                            config=Config(retries={"max_attempts": 0}, max_pool_connections=32))

    def ping(self, port, authority=None):
        with contextlib.suppress(ConnectionError):
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=30, context=ssl.create_default_context(cafile=authority)
            ) if authority else http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/ping")
            status = connection.getresponse().status
            connection.close()
            return status == 200
        return False

    def start(self, words, port, log, authority=None):
        process = self.processes.start([*map(str, words)], env=self.environment, log=log)

        def ready():
            self.assertIsNone(process.poll(), f"it ended: {log.read_text()}")
            return self.ping(port, authority)

        self.wait_until(ready, 60, "/ping says 200")
        return process

    def function_words(self, url, *arguments):
        """`musher function serve`, with a key for the endpoint `dogs`."""
        if not hasattr(self, "own_key"):
            _, self.own_key = self.make_key("function", "sagemaker:InvokeEndpoint", DOGS)
        return ["function", "serve", "lab", "--keys", self.keys, "--region", REGION, "--endpoint", "dogs", "--endpoint-url", url,
                "--endpoint-key", self.own_key, *arguments]

    def start_function(self, url, *arguments, address="127.0.0.1", authority=None):
        self.port = free_port()
        self.log = self.folder / "function.log"
        words = self.function_words(url, "--listen", f"{address}:{self.port}", *arguments)
        return self.start(self.command(words), self.port, self.log, authority)

    def metrics(self):
        """The lines of /metrics; the server was started with --metrics-listen."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as page:
            self.assertTrue(page.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            return page.read().decode().splitlines()

    def metrics_arguments(self):
        self.metrics_port = free_port()
        return ["--metrics-listen", f"127.0.0.1:{self.metrics_port}"]

    def refused(self, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        return caught.exception.response

    def test_boto3_invokes_the_model_through_the_function(self):
        self.start_s3()
        self.upload(self.folder / "data", "data")
        description, _ = self.train(make_job("tiny", f"file://{self.folder}/data", f"file://{self.folder}/jobs", epochs=6))
        endpoint_port = free_port()
        caller, _ = self.make_key("caller", "lambda:InvokeFunction", FUNCTION)
        direct, _ = self.make_key("direct", "sagemaker:InvokeEndpoint", DOGS)
        # Endpoint and function are reached over HTTPS, as from other machines.
        certificates = self.folder / "certificates"
        self.musher("certs", certificates, "--name", "127.0.0.1", code=0)
        authority = certificates / "server" / "ca.pem"
        self.environment = {**self.environment, "AWS_CA_BUNDLE": str(authority)}
        tls = ["--tls", certificates / "server"]
        self.start([ENDPOINT, "--model", description["ModelArtifacts"]["S3ModelArtifacts"], "--port", endpoint_port, "--endpoint",
                    "dogs", "--keys", self.keys, "--region", REGION, "--access-log", "--address", "0.0.0.0", *tls], endpoint_port,
                   self.folder / "endpoint.log", authority)
        server = self.start_function(f"https://127.0.0.1:{endpoint_port}", "--allow-url", f"s3://{BUCKET}/data/class1",
                                     "--retry-after", "0.05", "--access-log", *tls, address="0.0.0.0", authority=authority)
        key = f"data/class1/{self.picture.name}"
        client = self.client("lambda", self.port, caller, authority)

        answer = client.invoke(FunctionName="lab", LogType="Tail", Payload=json.dumps({"url": f"s3://{BUCKET}/{key}"}))
        self.assertEqual((answer["StatusCode"], answer["ExecutedVersion"]), (200, "$LATEST"))
        self.assertNotIn("FunctionError", answer)
        payload = json.load(answer["Payload"])
        request_id = answer["ResponseMetadata"]["RequestId"]
        self.assertEqual(list(payload), ["statusCode", "headers", "type-result", "COntent-Type-In", "body"])
        self.assertEqual((payload["statusCode"], payload["type-result"]), (200, "<class 'str'>"))
        self.assertEqual(payload["headers"], {"Content-Type": "text/plain", "Access-Control-Allow-Origin": "*"})
        self.assertIn(f"aws_request_id={request_id}", payload["COntent-Type-In"])
        logits = json.loads(payload["body"])
        self.assertEqual((np.shape(logits), int(np.argmax(logits))), ((1, 3), 1))
        by_endpoint = self.client("sagemaker-runtime", endpoint_port, direct, authority).invoke_endpoint(
            EndpointName="dogs", ContentType="image/jpeg", Body=self.picture.read_bytes())
        np.testing.assert_allclose(logits, json.load(by_endpoint["Body"]), atol=1e-4)
        log = base64.b64decode(answer["LogResult"]).decode()
        self.assertIn(f"START RequestId: {request_id} Version: $LATEST\n", log)
        self.assertIn(f"REPORT RequestId: {request_id}\t", log)
        self.assertIn(f'access {request_id} "POST /endpoints/dogs/invocations" 200', (self.folder / "endpoint.log").read_text())
        line = f'access {request_id} "POST /2015-03-31/functions/lab/invocations" 200'
        self.wait_until(lambda: line in self.log.read_text(), 30, "the access log has the request")
        # S3's own URLs mean the same object.
        s3_url = f"https://s3.amazonaws.com/{BUCKET}/{key}"
        answer = client.invoke(FunctionName=FUNCTION, Payload=json.dumps({"url": s3_url}))
        np.testing.assert_allclose(json.loads(json.load(answer["Payload"])["body"]), logits, atol=1e-4)

        # What goes wrong within the function: HTTP stays 200.
        self.s3.client().put_object(Bucket=BUCKET, Key="data/class1/notes.txt", Body=b"no picture")
        for event, kind, part in (
                ({}, "ValueError", "the event must be"),
                ({"url": f"s3://{BUCKET}/data/class1/none.jpg"}, "NoSuchKey", "none.jpg"),
                ({"url": f"s3://{BUCKET}/data/class0/000.jpg"}, "AccessDenied", "prefixes"),
                ({"url": "http://169.254.169.254/latest/meta-data/"}, "AccessDenied", "prefixes"),
                ({"url": f"s3://{BUCKET}/data/class1/notes.txt"}, "ModelError", "calling the InvokeEndpoint operation")):
            answer = client.invoke(FunctionName="lab", Payload=json.dumps(event))
            failed = json.load(answer["Payload"])
            self.assertEqual((answer["StatusCode"], answer["FunctionError"], failed["errorType"]), (200, "Unhandled", kind))
            self.assertIn(part, failed["errorMessage"])

        # What the callers may not.
        for key_pair, function, code in ((direct, "lab", "AccessDeniedException"), (caller, "other", "AccessDeniedException"),
                                         (caller | {"SecretAccessKey": "wrong"}, "lab", "InvalidSignatureException")):
            error = self.refused(self.client("lambda", self.port, key_pair, authority).invoke, FunctionName=function, Payload=b"{}")
            self.assertEqual((error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]), (403, code))
        error = self.refused(self.client("sagemaker-runtime", endpoint_port, caller, authority).invoke_endpoint, EndpointName="dogs",
                             Body=b"")
        self.assertEqual(error["Error"]["Code"], "AccessDeniedException")

        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0, self.log.read_text())
        for secret in (caller["SecretAccessKey"], json.loads(self.own_key.read_text())["AccessKey"]["SecretAccessKey"]):
            self.assertNotIn(secret, self.log.read_text())

    def test_an_endpoint_whose_certificate_is_another_authoritys_is_not_asked(self):
        for name in ("own", "other"):
            self.musher("certs", self.folder / name, "--name", "127.0.0.1", code=0)
        own, other = (self.folder / name / "server" / "ca.pem" for name in ("own", "other"))
        endpoint = HeldEndpoint(self.folder / "other" / "server")
        self.addCleanup(endpoint.close)
        endpoint.released.set()
        caller, _ = self.make_key("caller", "lambda:*", "*")
        self.environment = {**self.environment, "AWS_CA_BUNDLE": str(own)}
        self.start_function(endpoint.url, "--allow-url", f"file://{self.folder}/data", "--tls", self.folder / "own" / "server",
                            authority=own)
        answer = self.client("lambda", self.port, caller, own).invoke(FunctionName="lab",
                                                                      Payload=json.dumps({"url": f"file://{self.picture}"}))
        self.assertEqual(answer["FunctionError"], "Unhandled")
        self.assertEqual(json.load(answer["Payload"])["errorType"], "ServiceUnavailable")
        self.assertEqual(endpoint.waiting, 0)
        with self.assertRaises(SSLError):
            self.client("lambda", self.port, caller, other).invoke(FunctionName="lab", Payload=b"{}")

    def test_the_eleventh_simultaneous_call_is_throttled_and_events_wait(self):
        endpoint = HeldEndpoint()
        self.addCleanup(endpoint.close)
        caller, _ = self.make_key("caller", "lambda:*", "*")
        server = self.start_function(endpoint.url, "--allow-url", f"file://{self.folder}/data", "--retry-after", "0.05",
                                     *self.metrics_arguments())
        client = self.client("lambda", self.port, caller)
        event = json.dumps({"url": f"file://{self.picture}"})
        answers = []

        def invoke():
            answers.append(client.invoke(FunctionName="lab", Payload=event))

        threads = [threading.Thread(target=invoke) for _ in range(10)]
        for thread in threads:
            thread.start()
        endpoint.wait_for(10)
        with self.assertRaises(client.exceptions.TooManyRequestsException) as caught:
            client.invoke(FunctionName="lab", Payload=event)
        error = caught.exception.response
        self.assertEqual(error["ResponseMetadata"]["HTTPStatusCode"], 429)
        self.assertEqual(error["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded")
        self.assertEqual(error["retryAfterSeconds"], "1")
        self.assertEqual(client.invoke(FunctionName="lab", InvocationType="DryRun", Payload=event)["StatusCode"], 204)
        queued = client.invoke(FunctionName="lab", InvocationType="Event", Payload=event)
        self.assertEqual(queued["StatusCode"], 202)
        for line in ("musher_function_concurrent_executions 10", "musher_function_invocations_total 0",
                     "musher_function_throttles_total 1", "musher_function_async_events_received_total 1",
                     "musher_function_waiting_events 1"):
            self.assertIn(line, self.metrics())
        self.wait_until(lambda: 'musher_function_http_responses_total{code="202"} 1' in self.metrics(), 30, "the 202 is counted")
        with self.assertRaises(urllib.error.HTTPError) as caught:  # the port of the callers shows none
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60)
        self.assertEqual(caught.exception.code, 403)
        with endpoint.changed:
            endpoint.statuses = [424]  # the event's first execution fails, its second does not
        endpoint.released.set()
        for thread in threads:
            thread.join()
        self.assertEqual([answer["StatusCode"] for answer in answers], [200] * 10)
        self.assertEqual({json.load(answer["Payload"])["body"] for answer in answers}, {"[[1.0, 2.0]]"})
        endpoint.wait_for(12)
        event_id = queued["ResponseMetadata"]["RequestId"]
        self.wait_until(lambda: self.log.read_text().count(f"END RequestId: {event_id}") == 2, 30, "it has run again")
        self.assertIn(f"event {event_id} failed, execution 1 of 3", self.log.read_text())
        self.wait_until(lambda: "musher_function_concurrent_executions 0" in self.metrics(), 30, "nothing runs")
        for line in ("musher_function_invocations_total 12", "musher_function_errors_total 1",
                     "musher_function_duration_seconds_count 12", "musher_function_async_event_age_seconds_count 2",
                     "musher_function_waiting_events 0"):
            self.assertIn(line, self.metrics())
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0, self.log.read_text())
        self.assertNotIn("given up", self.log.read_text())

    def test_events_that_were_accepted_are_executed_though_the_server_is_killed(self):
        endpoint = HeldEndpoint()
        self.addCleanup(endpoint.close)
        caller, _ = self.make_key("caller", "lambda:*", "*")
        state = self.folder / "state"
        arguments = ["--allow-url", f"file://{self.folder}/data", "--reserved-concurrency", "1", "--state", state]
        server = self.start_function(endpoint.url, *arguments)
        client = self.client("lambda", self.port, caller)
        event = json.dumps({"url": f"file://{self.picture}"})
        answers = [client.invoke(FunctionName="lab", InvocationType="Event", Payload=event) for _ in range(2)]
        self.assertEqual([answer["StatusCode"] for answer in answers], [202, 202])
        endpoint.wait_for(1)  # one is being executed, one waits
        server.kill()
        server.wait(timeout=60)
        self.assertNotIn("END RequestId", self.log.read_text())
        endpoint.released.set()

        server = self.start_function(endpoint.url, *arguments, *self.metrics_arguments())
        self.wait_until(lambda: "musher_function_invocations_total 2" in self.metrics(), 60, "both are executed")
        for line in ("musher_function_errors_total 0", "musher_function_waiting_events 0",
                     "musher_function_async_events_received_total 0"):  # counts are of one process
            self.assertIn(line, self.metrics())
        for answer in answers:
            self.assertIn(f"END RequestId: {answer['ResponseMetadata']['RequestId']}", self.log.read_text())
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0, self.log.read_text())
        self.assertEqual((state / "lab").stat().st_mode & 0o777, 0o700)
        with contextlib.closing(sqlite3.connect(state / "lab" / "events.sqlite")) as database:
            self.assertEqual(database.execute("SELECT count(*) FROM events").fetchone(), (0,), "what is over is gone")

    def test_says_what_is_wrong_with_its_options(self):
        url = "http://127.0.0.1:1"
        allowed = ["--allow-url", "s3://bucket/images"]

        def fails(part, *words):
            self.assertIn(part, self.musher(*words, code=2).stderr)

        good = self.function_words(url, *allowed)
        fails("--metrics-listen must be a loopback address", *good, "--listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:9179")
        fails("needs --tls", *good, "--listen", "0.0.0.0:7078")
        fails("without TLS", *self.function_words("http://10.0.0.1:8080", *allowed))
        fails("--allow-url", *self.function_words(url))
        fails("--reserved-concurrency", *good, "--reserved-concurrency", "-1")
        fails("--endpoint-key is missing", *good[:-4], *allowed)
        fails("a function's name", "function", "serve", "a b", *good[3:])
        fails("serve", "function", "list", "lab")
        self.own_key.chmod(0o644)
        fails("chmod 600", *good)


if __name__ == "__main__":
    unittest.main()
