"""Tests of what calls AWS: a stand-in for it, and a look at what is left in it."""
import json
import urllib.request

import boto3
from musher_testing import ROOT, MusherTest

STAND_IN = ROOT / "tests" / "support" / "aws_stand_in.py"
QUICK = ROOT / "tests" / "support" / "aws_quick"
PYTHON = ROOT / ".venv-tests" / "bin" / "python"
READ_ONLY = ("Describe", "Get", "List")
# As aws_stand_in.py has them.
DEBIAN, WITH_DRIVER = "ami-0deb1a00000000012", "ami-0d1e0000000000012"


class AwsTest(MusherTest):
    region = "us-east-1"

    def start_aws(self, *arguments):
        """From now on `self.ec2` and `self.iam` speak to it, and so does `musher` with `*self.aws`: through aws_quick, or through
        AWS's own command line with `*self.real_aws`, which is slow."""
        self.wait_for_aws(self.begin_aws(*arguments))

    def begin_aws(self, *arguments):
        """The first half of start_aws(): it takes seconds to start."""
        return self.processes.start([PYTHON, STAND_IN, *arguments], log=self.folder / "aws.log", env=self.environment)

    def wait_for_aws(self, server):
        log = self.folder / "aws.log"

        def port():
            self.assertIsNone(server.poll(), log.read_text())
            first = log.read_text().splitlines()[:1]
            return int(first[0]) if first and first[0].isdigit() else None

        self.endpoint = f"http://127.0.0.1:{self.wait_until(port, 60, 'the stand-in for AWS answers')}"
        self.environment |= {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
        self.real_aws = ["--endpoint", self.endpoint, "--region", self.region]
        self.aws = [*self.real_aws, "--aws", QUICK]
        self.ec2, self.iam = self.client("ec2"), self.client("iam")

    def client(self, service, **credentials):
        return boto3.client(service, endpoint_url=self.endpoint, region_name=self.region,
                            **({"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "not-a-secret"} | credentials))

    def control(self, what, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/{what}", data=data, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if what.startswith("stand-in") else text

    def let_fail(self, action, code, times=1):
        """The next calls of `action` fail."""
        self.control("stand-in/fail", {"action": action, "code": code, "times": times})

    def changes(self):
        """What was asked of AWS so far that changes anything."""
        return [one for one in self.control("stand-in/calls") if one and not one.startswith(READ_ONLY)]

    def instances(self, fleet=None):
        """Those that are not over."""
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        if fleet:
            filters.append({"Name": "tag:musher:fleet", "Values": [fleet]})
        pages = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [one for page in pages for one in page["Instances"]]

    def left(self):
        """All that a fleet could have left."""
        groups = [one["GroupName"] for one in self.ec2.describe_security_groups()["SecurityGroups"]]
        return {"instances": [one["InstanceId"] for one in self.instances()],
                "security groups": [one for one in groups if one != "default"],
                "launch templates": [one["LaunchTemplateName"] for one in self.ec2.describe_launch_templates()["LaunchTemplates"]],
                "placement groups": [one["GroupName"] for one in self.ec2.describe_placement_groups()["PlacementGroups"]],
                "roles": [one["RoleName"] for one in self.iam.list_roles()["Roles"]],
                "profiles": [one["InstanceProfileName"] for one in self.iam.list_instance_profiles()["InstanceProfiles"]]}

    def assert_nothing_left(self):
        self.assertEqual({what: names for what, names in self.left().items() if names}, {})
