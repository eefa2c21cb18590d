"""`musher endpoint`: real instances behind a real HAProxy, kept, replaced, updated and scaled by a real coordinator."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import tempfile
import unittest
from pathlib import Path

import numpy as np

from background import UntilTold
from musher_testing import MusherTest, make_images, make_job

START = 90  # seconds for instances to load LibTorch and a model, on a machine that has other things to do


class Load(UntilTold):
    """Threads that invoke until told; each has one connection, and every answer is noted. `pause`: seconds between two requests
    of a thread."""

    def __init__(self, url, picture, threads=4, pause=0.0):
        super().__init__(threads)
        self.answers = []
        self.host, self.picture, self.pause = url.removeprefix("http://"), picture, pause

    def go_on(self, _):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        while not self.stop.wait(self.pause):
            try:
                connection.request("POST", "/invocations", self.picture, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                self.answers.append((answer.status, answer.read(), answer.headers["Retry-After"]))
            except OSError as error:
                self.answers.append((error, b"", None))
                connection.close()
        connection.close()

    def failures(self):
        return [answer for answer in self.answers if answer[0] != 200]


class Endpoints(MusherTest):
    @classmethod
    def setUpClass(cls):
        cls.models = Path(tempfile.mkdtemp(prefix="musher-models-"))
        cls.addClassCleanup(shutil.rmtree, cls.models, ignore_errors=True)
        make_images(cls.models / "data")
        cls.picture_path = sorted((cls.models / "data").rglob("*.jpg"))[0]
        cls.picture = cls.picture_path.read_bytes()

    def model(self, seed):
        """A trained model's URI; trained once for all tests."""
        path = self.models / f"model-{seed}" / "output" / "model.tar.gz"
        if not path.exists():
            self.train(make_job(f"model-{seed}", f"file://{self.models}/data", f"file://{self.models}", epochs=1, seed=seed,
                                workers=1, virtual_workers=1))
        return f"file://{path}"

    def endpoint(self, *words, code=0):
        return self.musher("endpoint", *words, code=code)

    def describe_endpoint(self, name="dogs"):
        return json.loads(self.endpoint("status", name, "--json").stdout)

    def activities(self, name="dogs"):
        return json.loads(self.endpoint("activities", name, "--json").stdout)["ScalingActivities"]

    def in_service(self, name="dogs"):
        """{id: pid}"""
        return {one["InstanceId"]: one["ProcessId"] for one in self.describe_endpoint(name)["Instances"]
                if one["State"] == "InService"}

    def wait_instances(self, count, name="dogs", but=()):
        def there():
            found = self.in_service(name)
            return found if len(found) == count and not set(but) & set(found.values()) else None
        return self.wait_until(there, START, f"{count} instances in service")

    def logits(self, name="dogs"):
        return json.loads(self.endpoint("invoke", name, self.picture_path).stdout)

    def proxies(self):
        return [pid for pid, command in self.children().items() if "haproxy" in command]

    def servers(self):
        return [pid for pid, command in self.children().items() if "musher-endpoint" in command]

    def test_instances_are_kept_through_kills_and_a_coordinator_that_dies(self):
        daemon = self.start_daemon()
        arn = self.endpoint("create", "dogs", "--model", self.model(1), "--min", 2, "--wait").stdout.strip()
        self.assertEqual(arn, "arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs")
        described = self.describe_endpoint()
        self.assertEqual(described["EndpointStatus"], "InService")
        self.assertEqual(described["ProductionVariants"],
                         [{"VariantName": "AllTraffic", "CurrentInstanceCount": 2, "DesiredInstanceCount": 2}])
        expected = self.logits()
        self.assertEqual((len(expected), len(expected[0])), (1, 3))
        self.endpoint("create", "Dogs", "--model", self.model(1), code=2)
        listed = json.loads(self.endpoint("list", "--json").stdout)["Endpoints"]
        self.assertEqual([(one["EndpointName"], one["EndpointStatus"]) for one in listed], [("dogs", "InService")])
        before = self.in_service()
        port = described["Url"].rsplit(":", 1)[1]

        with Load(described["Url"], self.picture) as load:
            # An instance: another takes its place. What it was answering is asked of another.
            victim = sorted(before.values())[0]
            os.kill(victim, signal.SIGKILL)
            after = self.wait_instances(2, but=[victim])
            self.assertEqual(len(set(after.values()) & set(before.values())), 1)
            self.assertEqual(load.failures(), [])
            self.assertIn("i-", self.activities()[0]["Cause"])

            # The coordinator: the endpoint does not notice, and the next one finds all of it.
            answered = len(load.answers)
            self.stop_daemon(daemon, signal.SIGKILL)
            self.wait_until(lambda: len(load.answers) > answered + 20, START, "answers without a coordinator")
            daemon = self.start_daemon(address=self.address)
            self.assertEqual(self.in_service(), after)
            self.wait_until(lambda: len(load.answers) > answered + 60, START, "answers with the next coordinator")
            self.assertEqual(load.failures(), [])
        self.assertEqual(sorted(self.servers()), sorted(after.values()), "none is there twice")

        # HAProxy: another is started at the same port, with the same instances.
        proxy, = self.proxies()
        os.kill(proxy, signal.SIGKILL)
        self.wait_until(lambda: self.proxies() not in ([], [proxy]), START, "another HAProxy")
        self.wait_until(lambda: self.musher("endpoint", "invoke", "dogs", self.picture_path).returncode == 0, START, "answers")
        self.assertEqual(self.in_service(), after)
        self.assertEqual(self.describe_endpoint()["Url"].rsplit(":", 1)[1], port)

        self.endpoint("delete", "dogs", "--wait")
        self.endpoint("status", "dogs", code=2)
        self.assertEqual(self.servers() + self.proxies(), [])
        self.stop_daemon(daemon)
        self.assert_nothing_runs()

    def test_what_can_not_be_served_says_why(self):
        self.start_daemon()
        done = self.endpoint("create", "none", "--model", f"file://{self.folder}/none.tar.gz", "--wait", code=1)
        self.assertIn("none.tar.gz", done.stderr)
        self.assertEqual(self.describe_endpoint("none")["EndpointStatus"], "Failed")
        self.endpoint("update", "none", "--min", 2, code=2)
        self.endpoint("delete", "none", "--wait")
        self.assertEqual(self.servers() + self.proxies(), [])
        for words in (["create", "x"], ["create", "a_b", "--model", "s3://b/m"], ["status", "none"], ["delete", "none"], ["bark"],
                      ["create", "x", "--model", "s3://b/m", "--min", 5, "--max", 4],
                      ["create", "x", "--model", "s3://b/m", "--server", "port=1"]):
            self.endpoint(*words, code=2)

    def test_signed_requests_alone_where_there_are_keys(self):
        daemon = self.start_daemon()
        key = self.access_key("eu-west-1")
        self.endpoint("create", "dogs", "--model", self.model(1), "--keys", self.folder / "keys", "--region", "eu-west-1", "--min", 2,
                      "--wait")
        refused = self.endpoint("invoke", "dogs", self.picture_path, code=2)
        self.assertIn("AWS_ACCESS_KEY_ID", refused.stderr)
        with Load(self.describe_endpoint()["Url"], self.picture, threads=1) as load:
            self.wait_until(lambda: load.answers, START, "an answer")
        self.assertEqual(load.answers[0][0], 403)
        self.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        self.assertEqual(len(self.logits()[0]), 3)
        import boto3
        client = boto3.client("sagemaker-runtime", endpoint_url=self.describe_endpoint()["Url"], region_name="eu-west-1",
                              aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
        answer = client.invoke_endpoint(EndpointName="dogs", ContentType="image/jpeg", Body=self.picture)
        self.assertEqual(len(json.load(answer["Body"])[0]), 3)

        # What HAProxy answers itself is in the form of the rest.
        host = self.describe_endpoint()["Url"].removeprefix("http://")
        self.assert_error(self.ask(host, "GET", "/metrics"), 404, "ResourceNotFound")
        self.assert_error(self.ask(host, "GET", "/metrics", {"X-Amzn-RequestId": "no id!"}), 404, "ResourceNotFound", given=None)
        self.assertEqual(self.ask(host, "GET", "/ping pong")[0], 400)
        instances = self.in_service().values()
        self.stop_daemon(daemon, signal.SIGKILL)  # so that nobody replaces them
        for pid in instances:
            os.kill(pid, signal.SIGKILL)

        def asked():
            found = self.ask(host, "POST", "/endpoints/dogs/invocations", {"X-Amzn-RequestId": "mine-1"})
            return found if found[0] == 503 else None
        self.assert_error(self.wait_until(asked, START, "nobody is there"), 503, "ServiceUnavailable", given="mine-1")

    def test_other_machines_reach_it_over_tls_with_signatures_alone(self):
        certificates = self.folder / "certificates"
        self.musher("certs", certificates, "--name", "127.0.0.1", code=0)
        daemon = self.start_daemon()
        create = ["create", "dogs", "--model", self.model(1), "--address", "0.0.0.0"]
        self.assertIn("must be signed", self.endpoint(*create, code=2).stderr)
        key = self.access_key()
        create += ["--keys", self.folder / "keys"]
        self.assertIn("start the coordinator with --tls", self.endpoint(*create, code=2).stderr)
        self.assertIn("IPv4", self.endpoint(*create[:-3], "localhost", code=2).stderr)

        self.stop_daemon(daemon)
        self.tls = certificates / "client"
        self.start_daemon("--tls", certificates, "--advertise", "127.0.0.1")
        self.endpoint(*create, "--wait")
        url = self.describe_endpoint()["Url"]
        self.assertRegex(url, r"^https://127\.0\.0\.1:\d+$")
        self.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        self.assertEqual(len(self.logits()[0]), 3)
        import boto3
        from botocore.exceptions import SSLError
        ca = certificates / "client" / "ca.pem"
        for verify, good in ((str(ca), True), (True, False)):
            client = boto3.client("sagemaker-runtime", endpoint_url=url, region_name="us-east-1", verify=verify,
                                  aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
            def invoke(client=client):
                return json.load(client.invoke_endpoint(EndpointName="dogs", ContentType="image/jpeg", Body=self.picture)["Body"])
            if good:
                self.assertEqual(len(invoke()[0]), 3)
            else:
                self.assertRaises(SSLError, invoke)
        context = ssl.create_default_context(cafile=ca)
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))

        def asked():
            with context.wrap_socket(socket.create_connection(address, timeout=60), server_hostname="127.0.0.1") as connection:
                connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                return connection.recv(12), connection.getpeercert()["serialNumber"]
        status, old = asked()
        self.assertEqual(status, b"HTTP/1.1 403")
        self.musher("certs", certificates, "--name", "127.0.0.1", code=0)
        self.wait_until(lambda: asked()[1] != old, START, "the new certificate")
        folder = self.folder / "state" / "endpoints" / "dogs"
        self.assertEqual((folder / "tls.pem").stat().st_mode & 0o077, 0)

    def access_key(self, region="us-east-1"):
        policy = self.write_job({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint",
             "Resource": f"arn:aws:sagemaker:{region}:000000000000:endpoint/dogs"}]}, "policy.json")
        made = self.musher("access", "create", "caller", "--policy", policy, "--keys", self.folder / "keys", code=0)
        return json.loads(made.stdout)["AccessKey"]

    def ask(self, host, method, target, headers=()):
        """Status, headers, body; as it is, whatever the target."""
        name, port = host.rsplit(":", 1)
        with socket.create_connection((name, int(port)), timeout=60) as connection:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Content-Length: 0", "Connection: close",
                     *(f"{key}: {value}" for key, value in dict(headers).items())]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.headers, answer.read()

    def assert_error(self, found, status, error_type, given=None):
        """`given`: the request's own id."""
        self.assertEqual((found[0], found[1]["x-amzn-ErrorType"]), (status, error_type), found[2])
        self.assertIsInstance(json.loads(found[2])["message"], str)
        self.assertEqual(found[1]["Retry-After"], "1" if status >= 500 else None)
        if given:
            self.assertEqual(found[1]["X-Amzn-RequestId"], given)
        else:
            self.assertRegex(found[1]["X-Amzn-RequestId"], "^[0-9a-f]{8}-[0-9a-f-]{27}$")

    def test_an_update_takes_over_without_a_request_that_fails_and_a_bad_one_is_taken_back(self):
        first, second = self.model(1), self.model(2)
        damaged = self.folder / "damaged.tar.gz"
        damaged.write_bytes(Path(second.removeprefix("file://")).read_bytes()[:-50])
        self.start_daemon()
        self.endpoint("create", "dogs", "--model", first, "--min", 2, "--wait")
        old = self.logits()
        before = self.in_service()
        with Load(self.describe_endpoint()["Url"], self.picture) as load:
            done = self.endpoint("update", "dogs", "--model", f"file://{damaged}", "--wait", code=1)
            self.assertIn("damaged.tar.gz", done.stderr)
            self.assertEqual(self.in_service(), before)
            described = self.describe_endpoint()
            self.assertEqual((described["EndpointStatus"], described["Settings"]["ModelDataUrl"]), ("InService", first))
            self.assertTrue(np.allclose(self.logits(), old, atol=1e-4))

            answered = len(load.answers)
            self.endpoint("update", "dogs", "--model", second, "--wait")
            new = self.logits()
            self.assertFalse(np.allclose(new, old, atol=1e-2))
            self.wait_until(lambda: len(self.servers()) == 2, START, "the old instances have ended")
            self.assertFalse(set(self.in_service()) & set(before))
            self.assertGreater(len(load.answers), answered)
        self.assertEqual(load.failures(), [])
        self.assertTrue(np.allclose(self.logits(), new, atol=1e-4))
        self.assertEqual([one["StatusCode"] for one in self.activities()], ["Successful", "Failed"])

    def test_load_brings_instances_and_rest_takes_them_away(self):
        self.start_daemon()
        # A target that few requests reach, so that the machine's speed does not matter.
        self.endpoint("create", "dogs", "--model", self.model(1), "--min", 1, "--max", 3, "--target", 4, "--period", 1,
                      "--scale-out-periods", 2, "--scale-in-periods", 4, "--scale-out-cooldown", 2, "--scale-in-cooldown", 2, "--wait")
        with Load(self.describe_endpoint()["Url"], self.picture, threads=8, pause=0.2) as load:
            self.wait_instances(3)
        out = [one for one in self.activities() if one.get("StatusCode") == "Successful"]
        self.assertIn("AlarmHigh: InvocationsPerInstance > 4 for 2 datapoints", out[-1]["Cause"])
        self.assertTrue(out[0]["Description"].startswith("Setting desired instance count to 3"), out)
        self.wait_instances(1)
        self.assertEqual(load.failures(), [])
        self.wait_until(lambda: len(self.servers()) == 1, START, "the others have ended")
        newest = self.activities()[0]
        self.assertEqual(newest["Description"], "Setting desired instance count to 1.")
        self.assertIn("AlarmLow: InvocationsPerInstance < 3.6 for 4 datapoints", newest["Cause"])
        self.assertIn("AlarmLow", self.endpoint("status", "dogs").stdout)


if __name__ == "__main__":
    unittest.main()
