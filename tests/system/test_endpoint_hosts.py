"""`musher endpoint` over hosts: instances on two of them, started and ended by ssh, behind the coordinator's HAProxy on a third.

This module runs as the third host: see cluster.py.
"""
import http.client
import json
import os
import re
import signal
import ssl
import unittest

import cluster

cluster.enter()

from musher_testing import BUCKET, MusherTest, S3Server, free_port, make_images, make_job  # noqa: E402
from test_endpoints import START, Load  # noqa: E402


@unittest.skipIf(cluster.why_not(), cluster.why_not())
class EndpointHosts(MusherTest):
    def setUp(self):
        super().setUp()
        state = self.folder / "state"
        state.mkdir(mode=0o700)
        # What the hosts need comes to them by ssh: they see neither the coordinator's state nor its temporary files.
        self.hosts = cluster.Cluster(self.folder / "cluster", 2, private=[state, self.temporary])
        self.enterContext(self.hosts)
        self.s3 = S3Server(self.folder / "s3", host=cluster.ADDRESS)
        self.addCleanup(self.s3.stop)
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"
        self.hostfile = self.folder / "hosts"
        self.hostfile.write_text("h1 slots=2\nh2 slots=2\n")
        make_images(self.folder / "images")
        self.picture_path = sorted((self.folder / "images").rglob("*.jpg"))[0]
        self.picture = self.picture_path.read_bytes()

    def serve(self, address=None):
        address = address or f"{cluster.ADDRESS}:{free_port()}"
        return self.start_daemon(
            "--hosts", self.hostfile, "--tls", self.certificates, "--ssh-user", "root", "--ssh-key", self.hosts.key,
            "--ssh-known-hosts", self.hosts.known_hosts, slots=None, address=address)

    def model(self):
        self.train(make_job("model", f"file://{self.folder}/images", f"s3://{BUCKET}/models", epochs=1, workers=1, virtual_workers=1))
        return f"s3://{BUCKET}/models/model/output/model.tar.gz"

    def endpoint(self, *words, code=0):
        return self.musher("endpoint", *words, code=code)

    def describe_endpoint(self, name="dogs"):
        return json.loads(self.endpoint("status", name, "--json").stdout)

    def in_service(self, name="dogs"):
        """{id: host}"""
        return {one["InstanceId"]: one["Host"] for one in self.describe_endpoint(name)["Instances"] if one["State"] == "InService"}

    def what_runs(self, host):
        done = self.hosts.run(host, f"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls {self.temporary}")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def assert_nothing_left(self, host):
        self.wait_until(lambda: not re.search("musher-endpoint|hosts instance|musher-[0-9a-f]{16}", self.what_runs(host)), 30,
                        f"nothing is left on {host}")

    def ask_instance(self, url, path, token=None):
        """Status and body, of the instance itself."""
        context = ssl.create_default_context(cafile=self.tls / "ca.pem")
        context.check_hostname = False  # it is another's address; HAProxy asks for the name musher-server
        connection = http.client.HTTPSConnection(url.removeprefix("https://"), timeout=60, context=context)
        connection.request("GET", path, headers={"X-Musher-Token": token} if token else {})
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def answered(self, url, token):
        status, page = self.ask_instance(url, "/metrics", token)
        self.assertEqual(status, 200, page)
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
                   if line.startswith("musher_endpoint_invocations_total"))

    def test_instances_run_on_the_hosts_and_those_of_one_that_dies_come_back_on_another(self):
        daemon = self.serve()
        model = self.model()
        refused = self.endpoint("create", "dogs", "--model", f"file://{self.folder}/model.tar.gz", code=2)
        self.assertIn("is on one machine's disk, and instances run on h1, h2", refused.stderr)
        self.assertIn("not for 5", self.endpoint("create", "dogs", "--model", model, "--min", 5, code=2).stderr)
        self.endpoint("create", "dogs", "--model", model, "--min", 2, "--wait")
        before = self.in_service()
        self.assertEqual(sorted(before.values()), ["h1", "h2"])
        self.assertRegex(self.endpoint("status", "dogs").stdout, r"i-\d +InService +revision 1  on h1  since")

        # Nothing secret is in what others can see, and nobody else may ask an instance.
        token = (self.folder / "state" / "endpoints" / "dogs" / "token").read_text().strip()
        secrets = (token, self.s3.secret_key, (self.certificates / "server" / "key.pem").read_text().splitlines()[1])
        for host in self.hosts.names:
            shown = self.what_runs(host)
            self.assertIn("musher-endpoint", shown)
            for secret in secrets:
                self.assertNotIn(secret, shown)
            modes = self.hosts.run(host, f"stat -c '%a %F' {self.temporary}/musher-*/{{.,token,key.pem,credentials}}").stdout
            self.assertEqual(sorted(set(modes.splitlines())), ["600 regular file", "700 directory"])
        for secret in secrets:
            self.assertNotIn(secret, "\n".join(self.children().values()))
        urls = [one["Url"] for one in self.describe_endpoint()["Instances"]]
        self.assertEqual(sorted(url.rsplit(":", 1)[0] for url in urls), ["https://10.99.0.1", "https://10.99.0.2"])
        self.assertEqual([self.ask_instance(url, "/ping")[0] for url in urls], [403, 403])

        with Load(self.describe_endpoint()["Url"], self.picture, pause=0.05) as load:
            self.wait_until(lambda: all(self.answered(url, token) > 5 for url in urls), START, "both answer")

            # The coordinator: the next one takes the instances up as they are.
            self.stop_daemon(daemon, signal.SIGKILL)
            daemon = self.serve(self.address)
            self.assertEqual(self.in_service(), before)
            self.assertEqual(load.failures(), [])

            self.hosts.kill("h2")
            after = self.wait_until(lambda: found if len(found := self.in_service()) == 2 and "h2" not in found.values() else None,
                                    START, "two instances on h1")
            self.assertEqual(len(set(after) & set(before)), 1, "that on h1 stayed")
            answered = len(load.answers)
            self.wait_until(lambda: len(load.answers) > answered + 20, START, "answers")
        self.assertEqual([answer for answer in load.failures() if answer[2] != "1"], [], "every failure says when to come again")
        activities = json.loads(self.endpoint("activities", "dogs", "--json").stdout)["ScalingActivities"]
        self.assertRegex(activities[0]["Cause"], "i-[12] on h2 ")

        self.endpoint("delete", "dogs", "--wait")
        self.assert_nothing_left("h1")
        self.stop_daemon(daemon)
        self.wait_until(lambda: not [one for one in self.children().values() if re.search("musher |haproxy", one)], 15,
                        "nothing is left here")

    def test_a_key_that_is_taken_away_opens_no_instance_and_what_loses_its_connection_ends(self):
        daemon = self.serve()
        policy = self.write_job({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": "*"}]}, "policy.json")
        made = self.musher("access", "create", "caller", "--policy", policy, "--keys", self.folder / "keys", code=0)
        key = json.loads(made.stdout)["AccessKey"]
        model = self.model()
        self.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        self.endpoint("create", "dogs", "--model", model, "--keys", self.folder / "keys", "--wait")
        self.assertEqual(len(json.loads(self.endpoint("invoke", "dogs", self.picture_path).stdout)[0]), 3)
        self.musher("access", "delete", key["AccessKeyId"], "--keys", self.folder / "keys", code=0)
        self.wait_until(lambda: "403" in self.endpoint("invoke", "dogs", self.picture_path, code=None).stderr, START, "it is refused")

        # A coordinator that is killed with all that it started here leaves nothing there.
        host, = self.in_service().values()
        self.stop_daemon(daemon, signal.SIGKILL)
        ssh = [pid for pid, command in self.children().items() if re.match(r"/usr/bin/ssh .* hosts instance$", command)]
        self.assertEqual(len(ssh), 1)
        os.kill(ssh[0], signal.SIGKILL)
        self.assert_nothing_left(host)


if __name__ == "__main__":
    unittest.main()
