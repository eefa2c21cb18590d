"""Jobs on instances of EC2 that are rented for them and given back, whatever becomes of jobs and processes: by `musher fleet follow` for all
jobs of a type together, by `musher serve --fleet` for each job its own.

EC2 is a stand-in (moto); its instances are hosts of cluster.py, so that whole jobs run on them by ssh. This module runs as host h0.
"""
import json
import re
import shutil
import unittest
import urllib.request

import cluster

cluster.enter()

from aws_testing import DEBIAN, QUICK, AwsTest  # noqa: E402
from musher_testing import BUCKET, LIMIT, ROOT, S3Server, free_port, make_images, make_job  # noqa: E402


class OnRentedHosts(AwsTest):
    """Whose instances are two hosts of a cluster, which get in turn."""

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
        aws = self.begin_aws("--hosts", self.folder / "instances")
        self.s3 = S3Server(self.folder / "s3", host=cluster.ADDRESS)
        self.addCleanup(self.s3.stop, at_once=True)
        self.wait_for_aws(aws)
        self.iam.create_instance_profile(InstanceProfileName="worker")
        network = self.ec2.create_vpc(CidrBlock="10.99.0.0/24")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=network, CidrBlock="10.99.0.0/24")["Subnet"]["SubnetId"]
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"
        self.daemon_prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.address = f"{cluster.ADDRESS}:{free_port()}"

    def let_in_by(self, folder):
        """The key that this test's hosts let in. Otherwise it is made, and cloud-init puts it there."""
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("key", "key.pub"):
            shutil.copy(self.folder / "cluster" / name, folder / name)

    def submit(self, name, train="train", keep_alive=None, disk=None, **options):
        job = make_job(name, f"s3://{BUCKET}/{train}", f"s3://{BUCKET}/jobs", workers=2, **options)
        job["ResourceConfig"]["InstanceType"] = "ml.c7i.large"
        if keep_alive:
            job["ResourceConfig"]["KeepAlivePeriodInSeconds"] = keep_alive
        if disk:
            job["ResourceConfig"]["VolumeSizeInGB"] = disk
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


@unittest.skipIf(cluster.why_not(), cluster.why_not())
class FleetJobs(OnRentedHosts):
    def setUp(self):
        super().setUp()
        self.let_in_by(self.place)

    def follow(self):
        process = self.start_musher("fleet", "follow", "jobs", "--type", "c7i.large", "--instances", 2, "--max-hours", 2, "--spot", "--look-every", 1,
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

    def test_a_job_gets_its_hosts_and_returns_them_though_all_were_killed_or_it_fails(self):
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
        # One that fails returns them too.
        self.submit("missing", train="nothing-here")
        self.musher("watch", "missing", code=1, timeout=2 * LIMIT)
        self.assertEqual(self.changes().count("RunInstances"), 2)
        self.wait_until_all_is_given_back()


@unittest.skipIf(cluster.why_not(), cluster.why_not())
class JobsOwnFleets(OnRentedHosts):
    def setUp(self):
        super().setUp()
        self.let_in_by(self.state / "fleets")

    def serve(self, *arguments, **changed):
        options = {"max-instances": 2, "max-hours": 2, "admit": f"{cluster.ADDRESS}/32", "instance-profile": "worker",
                   "subnet": self.subnet, "image": DEBIAN, "ssh-user": "root", "region": self.region, "endpoint": self.endpoint,
                   "look-every": 1, "aws": QUICK} | changed
        file = self.folder / "fleet.conf"
        file.write_text("".join(f"{name} = {value}\n" for name, value in options.items()))
        return self.start_daemon("--fleet", file, "--tls", self.certificates, "--advertise", cluster.ADDRESS, *arguments, slots=1,
                                 address=self.address, listen=f"0.0.0.0:{self.address.partition(':')[2]}")

    def metrics(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def secondary(self, name):
        return [one["Status"] for one in self.describe(name)["SecondaryStatusTransitions"]]

    def test_a_jobs_instances_are_its_own_and_go_though_the_coordinator_was_killed(self):
        daemon = self.serve()
        self.submit("rented", epochs=100_000, virtual_workers=4)
        self.wait_until(lambda: "each once" in self.status("rented"), 2 * LIMIT, "an epoch is over")
        hosts = re.compile(r"hosts 10\.99\.0\.\d, 10\.99\.0\.\d: MPI over 10\.99\.0\.0/24")
        self.assertRegex(self.musher("logs", "rented").stdout, hosts)
        one = self.instances()[0]
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        mark = (self.state / "fleet-id").read_text().strip()
        self.assertIn("job rented can't have 3 ranks: its 2 own instances have room for 2, and a job's instances stay as many as "
                      "ResourceConfig.InstanceCount; submit it anew", self.musher("resize", "rented", "--workers", 3, code=2).stderr)
        self.assertEqual((tags["musher:job"], tags["musher:coordinator"], one["InstanceType"]), ("rented", mark, "c7i.large"))
        daemon.kill()
        daemon.wait()
        # What a coordinator of this state has left somewhere, and what is another's.
        for name, owner in (("stray", mark), ("foreign", "another")):
            self.ec2.create_security_group(GroupName=f"musher-{name}", Description="left", TagSpecifications=[
                {"ResourceType": "security-group", "Tags": [{"Key": "musher:fleet", "Value": name},
                                                            {"Key": "musher:until", "Value": "2099-01-01T00:00:00Z"},
                                                            {"Key": "musher:coordinator", "Value": owner}]}])
        self.serve()
        # mpirun went with the daemon's namespace: the next attempt is on the same hosts.
        self.wait_until(lambda: len(hosts.findall(self.musher("logs", "rented").stdout)) == 2, LIMIT, "the next attempt")
        self.wait_until(lambda: "musher-stray" not in self.left()["security groups"], 60, "the stray fleet is gone")
        self.assertEqual(len(self.instances()), 2)
        self.musher("stop", "rented", code=0)
        self.musher("watch", "rented", code=3)
        self.assertEqual(self.changes().count("RunInstances"), 1, "the same instances all the while")
        self.ec2.delete_security_group(GroupName="musher-foreign")
        self.wait_until_all_is_given_back()

    def test_a_kept_fleet_is_taken_again_and_a_job_that_fails_keeps_none(self):
        self.serve()
        self.submit("first", keep_alive=600)
        self.musher("watch", "first", code=0)
        self.assertEqual(self.secondary("first")[:2], ["Pending", "Starting"])
        self.assertEqual(len(self.instances()), 2, "they wait for a job alike")
        self.submit("second", train="nothing-here")
        self.musher("watch", "second", code=1)
        self.assertEqual(self.changes().count("RunInstances"), 1, "it had the first one's")
        self.wait_until_all_is_given_back()
        called = set(self.control("stand-in/calls")) - {""}
        policy = json.loads(self.processes.run([ROOT / "launch" / "iam" / "render", "fleet", "--account", "123456789012", "--region",
                                                self.region], timeout=60).stdout)
        allowed = {action.partition(":")[2] for one in policy["Statement"]
                   for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}
        # Those of this test itself.
        own = {"CreateInstanceProfile", "CreateVpc", "CreateSubnet", "ListRoles", "ListInstanceProfiles"}
        self.assertEqual(called - own - allowed, set(), "no more rights than launch/iam's fleet has")

    def test_instances_that_are_no_good_are_replaced_and_in_the_end_no_more(self):
        metrics = free_port()
        self.serve("--metrics-listen", f"127.0.0.1:{metrics}", **{"replace-after": 2})
        # EC2 calls all of them running. Nobody answers at 10.99.0.8.
        self.control("stand-in/addresses", ["10.99.0.1", "10.99.0.8", "10.99.0.9", "10.99.0.2"])
        self.control("stand-in/impaired", ["10.99.0.9"])
        self.submit("healed", disk=64)
        self.wait_until(lambda: len(self.instances()) == 2, 60, "it has instances")
        first = {one["PrivateIpAddress"]: one["InstanceId"] for one in self.instances()}
        name = self.left()["launch templates"][0]
        template = self.ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"][0]
        volume, = template["LaunchTemplateData"]["BlockDeviceMappings"]
        self.assertEqual((volume["Ebs"]["VolumeSize"], volume["Ebs"]["Encrypted"]), (64, True))
        self.musher("watch", "healed", code=0)
        page = self.metrics(metrics)
        self.assertIn("\nmusher_fleet_instances_started_total 4\n", page)
        self.assertIn("\nmusher_fleet_instances_replaced_total 2\n", page)
        self.assertRegex(page, r'\nmusher_fleet_instance_seconds_total\{type="c7i.large",bought="demand"\} [1-9]')
        history = self.musher("logs", "healed", code=0).stdout
        self.assertRegex(history, rf"instance {first['10.99.0.8']} \(10\.99\.0\.8\) is replaced: it can't be used for \d+ s: .*10\.99\.0\.8")
        self.assertRegex(history, r"instance i-\w+ \(10\.99\.0\.9\) is replaced: EC2's instance status check says impaired")
        self.assertRegex(history, "hosts (10.99.0.1, 10.99.0.2|10.99.0.2, 10.99.0.1): MPI over")
        self.wait_until_all_is_given_back()
        self.assertEqual([action for action in self.changes() if "Instances" in action],
                         ["RunInstances", *["TerminateInstances", "RunInstances"] * 2, "TerminateInstances"])
        # None is well: at last the job fails, and nothing is left of it.
        self.control("stand-in/impaired", ["10.99.0.1", "10.99.0.2", "10.99.0.8", "10.99.0.9"])
        self.submit("hopeless")
        self.musher("watch", "hopeless", code=1)
        self.assertRegex(self.describe("hopeless")["FailureReason"],
                         r"^InternalServerError: instance i-\w+ \(10\.99\.0\.\d\) is unhealthy: EC2's instance status check says impaired; 4 "
                         "before it were replaced in a row")
        self.wait_until_all_is_given_back()

    def test_instances_that_do_not_come_are_waited_for_and_then_the_job_fails(self):
        self.let_fail("RunInstances", "InsufficientInstanceCapacity", times=1000)
        metrics = free_port()
        daemon = self.serve("--metrics-listen", f"127.0.0.1:{metrics}", **{"capacity-wait": 5})
        self.submit("unlucky")
        self.wait_until(lambda: "Insufficient capacity error from EC2 while launching instances, retrying!" in self.status("unlucky"),
                        60, "the status says why it waits")
        self.assertEqual(self.describe("unlucky")["SecondaryStatus"], "Starting")
        self.musher("watch", "unlucky", code=1)
        self.assertRegex(self.describe("unlucky")["FailureReason"],
                         r"^CapacityError: Unable to provision .*\(InsufficientInstanceCapacity\)")
        self.assertRegex(self.metrics(metrics),
                         r'\nmusher_fleet_call_failures_total\{call="run-instances",code="InsufficientInstanceCapacity"\} [1-9]')
        self.wait_until_all_is_given_back()
        # Too many for this coordinator; and a budget that is up before anything can come of it.
        self.let_fail("RunInstances", "", times=0)
        job = make_job("many", f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", workers=3)
        job["ResourceConfig"]["InstanceType"] = "ml.c7i.large"
        self.assertIn("3 instances are more than this coordinator may rent, 2", self.musher("submit", self.write_job(job)).stderr)
        job["ResourceConfig"] |= {"InstanceCount": 2, "VolumeSizeInGB": 20_000}
        self.assertIn("VolumeSizeInGB: 20000 GiB are more than this coordinator may give an instance, 16384 (max-disk)",
                      self.musher("submit", self.write_job(job)).stderr)
        daemon.kill()
        daemon.wait()
        self.serve(**{"max-hours": 0.05})
        self.submit("late", epochs=100_000)
        self.musher("watch", "late", code=3)
        self.assertEqual(self.describe("late")["SecondaryStatus"], "MaxRuntimeExceeded")
        self.assertIn("The time of its instances (max-hours) is up", json.dumps(self.describe("late")))
        self.wait_until_all_is_given_back()


if __name__ == "__main__":
    unittest.main()
