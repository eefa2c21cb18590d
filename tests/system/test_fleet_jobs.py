"""Jobs that bring their own hosts: EC2 instances are rented for them and given back, whatever becomes of jobs and processes.

EC2 is a stand-in (moto); its instances are hosts of cluster.py, so that whole jobs run on them by ssh. This module runs as host h0.
"""
import json
import re
import shutil
import unittest

import cluster

cluster.enter()

from aws_testing import DEBIAN, AwsTest  # noqa: E402
from musher_testing import BUCKET, LIMIT, S3Server, free_port, make_images, make_job  # noqa: E402


@unittest.skipIf(cluster.why_not(), cluster.why_not())
class FleetJobs(AwsTest):
    def setUp(self):
        super().setUp()
        self.state, self.place = self.folder / "state", self.folder / "fleet"
        for folder in (self.state, self.place):
            folder.mkdir(mode=0o700)
        self.hosts = cluster.Cluster(self.folder / "cluster", 2, private=[self.state, self.place, self.temporary])
        self.enterContext(self.hosts)
        keys = {f"10.99.0.{number}": " ".join((self.folder / "cluster" / f"{name}-key.pub").read_text().split()[:2])
                for number, name in enumerate(self.hosts.names, 1)}
        (self.folder / "instances").write_text(json.dumps(keys))
        self.start_aws("--hosts", self.folder / "instances")
        self.iam.create_instance_profile(InstanceProfileName="worker")
        network = self.ec2.create_vpc(CidrBlock="10.99.0.0/24")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=network, CidrBlock="10.99.0.0/24")["Subnet"]["SubnetId"]
        self.s3 = S3Server(self.folder / "s3", host=cluster.ADDRESS)
        self.addCleanup(self.s3.stop)
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"
        self.daemon_prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # The key that this test's hosts let in. Otherwise it is made, and cloud-init puts it there.
        for name in ("key", "key.pub"):
            shutil.copy(self.folder / "cluster" / name, self.place / name)
        self.address = f"{cluster.ADDRESS}:{free_port()}"

    def follow(self):
        process = self.start_musher("fleet", "follow", "jobs", "--type", "c7i.large", "--instances", 2, "--max-hours", 2, "--spot",
                                    "--admit", f"{cluster.ADDRESS}/32", "--instance-profile", "worker", "--subnet", self.subnet,
                                    "--image", DEBIAN, "--folder", self.place, "--coordinator", self.address, "--tls", self.tls,
                                    *self.aws)
        self.wait_until((self.place / "hosts").exists, 60, "there is a hostfile")
        return process

    def serve(self):
        return self.start_daemon("--hosts", self.place / "hosts", "--tls", self.certificates, "--ssh-user", "root",
                                 "--ssh-key", self.place / "key", "--ssh-known-hosts", self.place / "known_hosts",
                                 "--advertise", cluster.ADDRESS, slots=None, address=self.address,
                                 listen=f"0.0.0.0:{self.address.partition(':')[2]}")

    def submit(self, name, train="train", **options):
        job = make_job(name, f"s3://{BUCKET}/{train}", f"s3://{BUCKET}/jobs", workers=2, **options)
        job["ResourceConfig"]["InstanceType"] = "ml.c7i.large"
        job["StoppingCondition"]["MaxRuntimeInSeconds"] = 2 * LIMIT
        job["RetryStrategy"] = {"MaximumRetryAttempts": 1}
        self.musher("submit", self.write_job(job), code=0)

    def status(self, name):
        return self.musher("status", name, code=0).stdout

    def wait_until_all_is_given_back(self):
        def given_back():
            left = self.left()
            left["profiles"].remove("worker")
            return not any(left.values())
        self.wait_until(given_back, 120, "all of the fleet is given back")

    def test_a_job_gets_its_hosts_and_returns_them_though_all_were_killed(self):
        follower = self.follow()
        daemon = self.serve()
        self.submit("rented", epochs=100_000, virtual_workers=4)
        self.wait_until(lambda: "each once" in self.status("rented"), 2 * LIMIT, "an epoch is over")
        hosts = re.compile(r"hosts 10\.99\.0\.\d, 10\.99\.0\.\d: MPI over 10\.99\.0\.0/24")
        self.assertRegex(self.musher("logs", "rented").stdout, hosts)
        for process in (follower, daemon):
            process.kill()
            process.wait()
        self.serve()
        self.follow()
        # mpirun went with the daemon's namespace: the next attempt is on the same hosts.
        self.wait_until(lambda: len(hosts.findall(self.musher("logs", "rented").stdout)) == 2, LIMIT, "the next attempt")
        self.musher("stop", "rented", code=0)
        self.musher("watch", "rented", code=3)
        self.assertEqual(self.changes().count("RunInstances"), 1, "the same fleet all the while")
        self.wait_until_all_is_given_back()
        self.assertEqual((self.place / "hosts").read_text(), "localhost slots=0\n")

    def test_a_job_that_fails_returns_its_hosts_too(self):
        self.follow()
        self.serve()
        self.submit("missing", train="nothing-here")
        self.musher("watch", "missing", code=1, timeout=2 * LIMIT)
        self.assertEqual(self.changes().count("RunInstances"), 1)
        self.wait_until_all_is_given_back()


if __name__ == "__main__":
    unittest.main()
