"""Jobs over several hosts by ssh: four of them, the coordinator and the S3 server on a fifth; hosts that die, or are not to be trusted.

This module runs as the fifth host: see cluster.py.
"""
import json
import re
import subprocess
import unittest

import cluster

cluster.enter()

from musher_testing import BUCKET, LIMIT, MPIRUN, TRAINER, MusherTest, S3Server, free_port, make_images, make_job  # noqa: E402


@unittest.skipIf(cluster.why_not(), cluster.why_not())
class Hosts(MusherTest):
    def setUp(self):
        super().setUp()
        state = self.folder / "state"
        state.mkdir(mode=0o700)
        # What the hosts need comes to them by ssh: they see neither the coordinator's state nor its temporary files.
        self.hosts = cluster.Cluster(self.folder / "cluster", 4, private=[state, self.temporary])
        self.enterContext(self.hosts)
        self.s3 = S3Server(self.folder / "s3", host=cluster.ADDRESS)
        self.addCleanup(self.s3.stop, at_once=True)
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        self.samples = make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"
        self.hostfile = self.folder / "hosts"
        # Its own processes: the hosts' are not its business.
        self.daemon_prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

    def serve(self, hosts, known_hosts=None):
        self.write_hosts(hosts)
        port = free_port()
        return self.start_daemon(
            "--hosts", self.hostfile, "--tls", self.certificates, "--ssh-user", "root", "--ssh-key", self.hosts.key,
            "--ssh-known-hosts", known_hosts or self.hosts.known_hosts, "--advertise", cluster.ADDRESS, slots=None,
            address=f"{cluster.ADDRESS}:{port}", listen=f"0.0.0.0:{port}")

    def write_hosts(self, hosts):
        self.hostfile.write_text("".join(f"{host} slots={slots}\n" for host, slots in hosts.items()))

    def wait_for(self, name, said, limit=LIMIT):
        """In the job's history."""
        self.wait_until(lambda: re.search(said, self.status(name)), limit, f"{said} in {self.status(name)}")

    def ranks_on(self, host):
        return len(self.hosts.run(host, "pidof musher-trainer").stdout.split())

    def submit(self, name, workers, retries=0, **options):
        job = make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", workers=workers, **options)
        job["StoppingCondition"]["MaxRuntimeInSeconds"] = 2 * LIMIT  # four ranks on what may be two cores
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        self.musher("submit", self.write_job(job), code=0)

    def status(self, name):
        return self.musher("status", name, code=0).stdout

    def what_runs(self, host):
        done = self.hosts.run(host, f"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls {self.temporary}")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def assert_nothing_left(self, *hosts):
        for host in hosts:
            self.wait_until(lambda: not re.search("musher-trainer|prted|musher-[0-9a-f]{16}", self.what_runs(host)), 30, f"nothing is left on {host}")

    def test_a_job_runs_over_four_hosts(self):
        self.serve({"h1": 1, "h2": 1, "h3": 1, "h4": 1})
        self.submit("four", workers=4, epochs=100_000, virtual_workers=8, heartbeat_timeout_seconds=8)
        self.wait_until(lambda: "each once" in self.status("four"), LIMIT, "an epoch is over")
        logs = self.musher("logs", "four", code=0).stdout
        self.assertIn("hosts h1, h2, h3, h4: MPI over 10.99.0.0/24, NCCL over eth0", logs)
        token = (self.folder / "state" / "jobs" / "four" / "attempt-1" / "hosts").read_text()
        self.assertEqual(token, "h1 slots=1\nh2 slots=1\nh3 slots=1\nh4 slots=1\n")
        for host in self.hosts.names:
            shown = self.what_runs(host)
            self.assertIn("musher-trainer", shown)
            for secret in (self.s3.secret_key, (self.tls / "key.pem").read_text().splitlines()[1]):
                self.assertNotIn(secret, shown)
            modes = self.hosts.run(host, f"stat -c '%a %F' {self.temporary}/musher-*/{{.,token,key.pem,credentials}}").stdout
            self.assertEqual(sorted(set(modes.splitlines())), ["600 regular file", "700 directory"])
        self.hosts.run("h2", "kill -9 $(pidof musher-trainer)")
        self.wait_for("four", "on host h2 was killed by signal 9 .*3 ranks went on")
        # Of one that hangs the host is asked to end it.
        self.hosts.run("h3", "kill -STOP $(pidof musher-trainer)")
        self.wait_for("four", r"on host h3 hung: no heartbeat for \d+ s; .*2 ranks went on")
        self.assertEqual(self.ranks_on("h3"), 0)
        self.musher("resize", "four", "--workers", 4, code=0)
        self.assertIn("several hosts", self.musher("resize", "four", "--workers", 5, code=2).stderr)
        self.musher("resize", "four", "--workers", 1, code=0)
        self.wait_for("four", r"rank \d left: 1 rank from step")
        self.musher("stop", "four", code=0)
        self.musher("watch", "four", code=3)
        self.assertIn("jobs/four/output/model.tar.gz", self.keys("jobs/"))
        status = self.status("four")
        self.assertIn(f"epoch 1: {self.samples} of {self.samples} samples, each once", status)
        self.assertNotIn("attempt 2", status)
        self.assert_nothing_left(*self.hosts.names)

    def test_a_host_dies_and_the_job_goes_on_without_it(self):
        self.serve({"h1": 1, "h2": 1, "h3": 1, "h4": 1})
        self.submit("struck", workers=4, retries=1, epochs=20, checkpoints=f"s3://{BUCKET}/checkpoints", checkpoint_every_steps=2)
        self.wait_until(lambda: "checkpoint" in self.status("struck"), LIMIT, "a checkpoint")
        self.hosts.kill("h3")
        self.musher("watch", "struck", code=0, timeout=2 * LIMIT)
        status = self.status("struck")
        self.assertIn("host h3 can't be used: ssh: connect to host h3 port 22: ", status)
        self.assertIn("goes on with 3 of 4 ranks, as many as there is room for without h3", status)
        self.assertIn(f"epoch 20: {self.samples} of {self.samples} samples, each once", status)
        message = [step.get("StatusMessage", "") for step in self.describe("struck")["SecondaryStatusTransitions"]
                   if step["Status"] == "Interrupted"]
        self.assertEqual(len(message), 1)
        self.assertIn("host h3 can't be used", message[0])
        self.assert_nothing_left("h1", "h2", "h4")

    def test_a_host_that_is_not_known_gets_nothing_and_the_hostfile_is_read_again(self):
        known = self.folder / "known"
        known.write_text("".join(line + "\n" for line in self.hosts.known_hosts.read_text().splitlines()
                                 if not line.startswith("h2 ")))
        self.serve({"h1": 1, "h2": 1}, known_hosts=known)
        self.submit("careful", workers=2)
        self.wait_until(lambda: "waits" in self.status("careful"), 60, "it waits")
        self.assertRegex(self.status("careful"), "host h2 is left out: .*[Hh]ost key")
        self.assertEqual(self.describe("careful")["TrainingJobStatus"], "InProgress")
        self.assert_nothing_left("h1", "h2")
        self.write_hosts({"h1": 1, "h3": 1})
        self.musher("watch", "careful", code=0)
        self.assertIn("hosts h1, h3: MPI over", self.musher("logs", "careful").stdout)

    def test_a_run_by_hand_over_hosts(self):
        self.write_hosts({"h1": 1, "h2": 2})
        job = make_job("by-hand", f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", workers=3)
        exported = [word for name in self.s3.env() for word in ("-x", name)]
        command = [MPIRUN, "--allow-run-as-root", "--with-ft", "ulfm", "--prefix", MPIRUN.parents[1], "--hostfile", self.hostfile,
                   "--prtemca", "plm_ssh_agent", " ".join(map(str, self.hosts.ssh("h1")[:-1])),
                   # Of each host: their session folders are named by pids, which hosts have alike.
                   "--prtemca", "prte_tmpdir_base", self.temporary,
                   "--prtemca", "prte_if_include", "10.99.0.0/24", "--mca", "btl_tcp_if_include", "10.99.0.0/24", "--bind-to", "none",
                   *exported, "-n", 3, TRAINER, "--job", self.write_job(job), "--threads", 1]

        def run(*arguments):
            return subprocess.run(list(map(str, [*self.daemon_prefix, *command, *arguments])), capture_output=True, text=True,
                                  env=self.environment, timeout=LIMIT)

        self.assertIn("needs TLS", run().stderr)
        done = run("--tls", self.certificates)
        self.assertIn(f"epoch 2: {self.samples} of {self.samples} samples, each once", done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("jobs/by-hand/output/model.tar.gz", self.keys("jobs/"))
        self.wait_until(lambda: self.ranks_on("h1") + self.ranks_on("h2") == 0, 30, "nothing is left")

    def check(self, *arguments, code):
        done = self.musher("hosts", "check", "--hosts", self.hostfile, "--ssh-user", "root", "--ssh-key", self.hosts.key,
                           "--ssh-known-hosts", self.hosts.known_hosts, "--min-memory", 0.01, "--min-disk", 0.01,
                           "--reach", f"{cluster.ADDRESS}:{self.s3.port}", *arguments, code=code)
        return done.stdout

    def test_hosts_are_checked_and_what_is_wrong_is_named(self):
        self.write_hosts({name: 1 for name in self.hosts.names})
        found = json.loads(self.check("--json", code=0))
        self.assertEqual([(one["name"], one["host"], one["problems"]) for one in found],
                         [(name, name, []) for name in self.hosts.names])
        # h1 can't reach h2; h3 has another build; h4 is gone.
        self.assertEqual(self.hosts.run("h1", "ip", "route", "add", "unreachable", "10.99.0.2/32").returncode, 0)
        self.assertEqual(self.hosts.run("h3", "mount", "--bind", "/bin/true", TRAINER).returncode, 0)
        self.hosts.kill("h4")
        lines = {line.split()[0]: line for line in self.check(code=1).splitlines()}
        self.assertRegex(lines["h1"], "NO .* it does not reach h2: ")
        self.assertRegex(lines["h2"], "NO .* it does not reach h1: ", "its answers do not come back")
        self.assertRegex(lines["h3"], "NO .* its build of Musher .* is another than here")
        self.assertRegex(lines["h4"], "NO .*ssh: connect to host h4 port 22: ")

    def test_other_machines_need_tls(self):
        self.write_hosts({"h1": 1})
        done = self.musher("serve", "--state", self.folder / "state", "--hosts", self.hostfile, code=2)
        self.assertIn("need --tls", done.stderr)


if __name__ == "__main__":
    unittest.main()
