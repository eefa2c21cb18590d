"""Fleets of EC2 instances against a stand-in for EC2 and IAM (moto): what is made, kept, replaced and removed, and with which rights.

The instances are moto's: nothing runs on them. What cloud-init would run is run here, with stand-ins for what it calls.
"""
import base64
import datetime
import json
import os
import re
import stat
import subprocess
import unittest

from aws_testing import DEBIAN, WITH_DRIVER, AwsTest
from botocore.exceptions import ClientError
from musher_testing import ROOT

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJustForTests"


class Fleet(AwsTest):
    def setUp(self):
        super().setUp()
        self.start_aws()
        self.place = self.folder / "fleet"
        self.policy = self.folder / "worker.json"
        done = self.processes.run([ROOT / "launch" / "iam" / "render", "worker", "--bucket", "b-1"], timeout=60)
        self.policy.write_text(done.stdout)

    def up(self, *arguments, name="one", instances=2, type="c7i.large", profile=None, code=0):
        profile = ("--instance-profile", profile) if profile else ("--role-policy", self.policy)
        return self.musher("fleet", "up", name, "--instances", instances, "--type", type, "--max-hours", 2, "--admit", "10.0.1.7/32",
                           "--folder", self.place, *profile, *self.aws, *arguments, code=code)

    def down(self, name="one", code=0):
        return self.musher("fleet", "down", name, *self.aws, code=code)

    def template(self, name="one"):
        found = self.ec2.describe_launch_template_versions(LaunchTemplateName=f"musher-{name}")["LaunchTemplateVersions"]
        self.assertEqual(len(found), 1)
        return found[0]["LaunchTemplateData"]

    def hosts(self):
        return (self.place / "hosts").read_text().split("\n")[:-1]

    def test_with_awss_own_command_line(self):
        self.aws = self.real_aws
        self.up(instances=1)
        self.assertEqual(len(self.hosts()), 1)
        self.assertIn("other settings", self.up("--spot", instances=1, code=2).stderr)
        self.down()
        self.assert_nothing_left()

    def test_a_fleet_comes_is_mended_and_goes(self):
        done = self.up("--spot", "--slots", 2, "--tag", "team=dogs")
        self.assertEqual(done.stdout, f"{self.place}/hosts\n")
        first = {one["PrivateIpAddress"]: one["InstanceId"] for one in self.instances("one")}
        self.assertEqual(sorted(self.hosts()), sorted(f"{address} slots=2" for address in first))
        self.assertEqual(sorted((self.place / "known_hosts").read_text().splitlines()),
                         sorted(f"{address} {KEY} {identifier}" for address, identifier in first.items()))
        self.assertEqual(stat.S_IMODE(os.stat(self.place / "key").st_mode), 0o600)

        data = self.template()
        self.assertEqual(data["ImageId"], DEBIAN, "the newest")
        self.assertEqual(data["MetadataOptions"]["HttpTokens"], "required")
        self.assertEqual(data["InstanceInitiatedShutdownBehavior"], "terminate")
        self.assertEqual(data["IamInstanceProfile"]["Name"], "musher-one-us-east-1")
        self.assertEqual(data["InstanceMarketOptions"]["MarketType"], "spot")
        self.assertEqual(data["Placement"]["GroupName"], "musher-one")
        disk = data["BlockDeviceMappings"][0]
        self.assertEqual((disk["DeviceName"], disk["Ebs"]["Encrypted"], disk["Ebs"]["DeleteOnTermination"]), ("/dev/xvda", True, True))
        self.assertNotIn("KeyName", data)
        group, = (one for one in self.ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] == "musher-one")
        rules = {(one["IpProtocol"], one.get("FromPort"), one.get("ToPort"),
                  *(net["CidrIp"] for net in one["IpRanges"]), *(pair["GroupId"] for pair in one["UserIdGroupPairs"]))
                 for one in group["IpPermissions"]}
        self.assertEqual({rule[0::3] if rule[0] == "-1" else rule for rule in rules},
                         {("-1", group["GroupId"]), ("tcp", 22, 22, "10.0.1.7/32")})
        for tagged in (group, self.instances("one")[0]):
            tags = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}
            self.assertEqual((tags["musher:fleet"], tags["team"]), ("one", "dogs"))
            until = datetime.datetime.strptime(tags["musher:until"], "%Y-%m-%dT%H:%M:%S%z")
            left = until - datetime.datetime.now(datetime.timezone.utc)
            self.assertTrue(datetime.timedelta(hours=1.5) < left <= datetime.timedelta(hours=2), left)
        timer = next(one["content"] for one in self.cloud_config()["write_files"] if one["path"].endswith(".timer"))
        self.assertIn(f"OnCalendar={until:%Y-%m-%d %H:%M:%S} UTC\n", timer, "the same time on the host itself")
        role = self.iam.get_role_policy(RoleName="musher-one-us-east-1", PolicyName="musher")
        self.assertEqual(role["PolicyDocument"], json.loads(self.policy.read_text()))

        before = self.changes()
        self.up("--spot", "--slots", 2, "--tag", "team=dogs")
        self.assertEqual(self.changes(), before, "again it changes nothing")
        self.assertIn("other settings", self.up("--tag", "team=cats", code=2).stderr)

        lost, kept = first
        self.ec2.terminate_instances(InstanceIds=[first[lost]])
        self.up("--spot", "--slots", 2, "--tag", "team=dogs")
        self.assertEqual(self.changes()[len(before) + 1:][-1], "RunInstances")
        now = {one["PrivateIpAddress"]: one["InstanceId"] for one in self.instances("one")}
        self.assertEqual((len(now), now[kept]), (2, first[kept]))
        self.assertEqual(sorted(self.hosts()), sorted(f"{address} slots=2" for address in now))

        listed = json.loads(self.musher("fleet", "list", "--json", *self.aws, code=0).stdout)
        self.assertEqual({one["InstanceId"]: one["Fleet"] for one in listed}, {identifier: "one" for identifier in now.values()})
        self.down()
        self.assert_nothing_left()
        self.assertEqual(self.down().stderr, "", "again there is nothing to do")

    def cloud_config(self):
        text = base64.b64decode(self.template()["UserData"]).decode()
        self.assertTrue(text.startswith("#cloud-config\n"))
        self.assertNotIn("PRIVATE KEY", text)
        return json.loads(text.partition("\n")[2])

    def test_what_a_failed_up_has_made_goes_with_down(self):
        for action, code in (("CreateInstanceProfile", "ServiceFailure"), ("RunInstances", "InsufficientInstanceCapacity")):
            with self.subTest(action):
                self.let_fail(action, code)
                done = self.up(code=4 if action == "RunInstances" else 2)
                self.assertIn(f"({code})", done.stderr)
                self.assertIn("`musher fleet down one` removes it", done.stderr)
                self.assertIn("musher-one", self.left()["security groups"])
                self.down()
                self.assert_nothing_left()

    def test_down_goes_on_where_something_can_not_be_removed(self):
        self.up(instances=1)
        self.let_fail("DeletePlacementGroup", "InternalFailure")
        self.assertIn("(InternalFailure)", self.down(code=2).stderr)
        left = self.left()
        self.assertEqual((left["instances"], left["roles"], left["launch templates"]), ([], [], []))
        self.assertEqual(left["security groups"], ["musher-one"], "the fleet is still known")
        self.down()
        self.assert_nothing_left()

    def test_what_is_not_the_fleets_is_left_alone(self):
        group = self.ec2.create_security_group(GroupName="musher-one", Description="of somebody else")["GroupId"]
        for done in (self.up(code=2), self.down(code=2)):
            self.assertIn(f"the security group {group} is not the fleet's", done.stderr)
        self.ec2.describe_security_groups(GroupIds=[group])

    def test_with_efa_all_traffic_stays_in_the_group_and_the_image_may_be_a_parameter(self):
        self.client("ssm").put_parameter(Name="/images/musher", Value=WITH_DRIVER, Type="String")
        self.up("--efa", "always", "--image", "ssm:/images/musher", type="c7i.48xlarge")
        data = self.template()
        self.assertEqual(data["ImageId"], WITH_DRIVER)
        self.assertEqual(data["Placement"]["GroupName"], "musher-one")
        self.assertNotIn("SecurityGroupIds", data)
        group, = (one for one in self.ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] == "musher-one")
        one, = data["NetworkInterfaces"]
        self.assertEqual((one["InterfaceType"], one["DeviceIndex"], one["Groups"]), ("efa", 0, [group["GroupId"]]))
        self.assertIn([group["GroupId"]], [[pair["GroupId"] for pair in rule["UserIdGroupPairs"]] for rule in group["IpPermissionsEgress"]
                                           if rule["IpProtocol"] == "-1"])
        self.assertEqual({one["SubnetId"] for one in self.instances("one")}, {one["SubnetId"]})
        script = next(one["content"] for one in self.cloud_config()["write_files"] if one["path"].endswith("musher-host"))
        self.assertIn("./efa_installer.sh -y", script)
        self.down()
        self.assert_nothing_left()
        self.assertIn("c7i.large has no Elastic Fabric Adapter", self.up("--efa", "always", code=2).stderr)
        self.assertIn("no parameter /images/none", self.up("--image", "ssm:/images/none", code=2).stderr)
        self.up("--efa", "where-there-is", instances=1)
        self.assertNotIn("NetworkInterfaces", self.template())
        self.down()

    def test_a_dry_run_says_what_would_be_made_and_makes_nothing(self):
        plan = json.loads(self.up("--dry-run", "--image", WITH_DRIVER, type="g5.xlarge", instances=4).stdout)
        self.assertEqual((plan["Instances"], plan["Region"]), (4, "us-east-1"))
        self.assertEqual(plan["LaunchTemplate"]["LaunchTemplateData"]["ImageId"], WITH_DRIVER)
        self.assertTrue(plan["UserData"].startswith("#cloud-config\n"))
        self.assertEqual(plan["Role"]["PolicyDocument"], json.loads(self.policy.read_text()))
        self.assertEqual(self.changes(), [])
        self.assertFalse(self.place.exists())

    def test_what_is_wrong_is_named_before_anything_is_made(self):
        for arguments, message in (
                ({"type": "c7i"}, "--type must be an instance type such as g5.xlarge"),
                ({"type": "c7i.nonsense"}, "--type: there is no c7i.nonsense in us-east-1"),
                ({"type": "c7g.large"}, "--type c7g.large is no x86_64"),
                ({"type": "g5.xlarge"}, "--image is missing: g5.xlarge has GPUs"),
                ({"instances": 0}, "--instances must be"),
                ({"name": "One"}, "a fleet's name"),
                ({"extra": ("--admit", "0.0.0.0/0")}, "--admit must be a security group"),
                ({"extra": ("--image", "ami-0123456789abcdef0")}, "--image: there is no ami-0123456789abcdef0"),
                ({"extra": ("--instance-profile", "p")}, "give one of --role-policy"),
                ({"extra": ("--tag", "musher:fleet=x")}, "--tag must be KEY=VALUE")):
            with self.subTest(message):
                extra = arguments.pop("extra", ())
                self.assertIn(message, self.up(*extra, code=2, **arguments).stderr)
        self.assertEqual(self.changes(), [])

    def test_a_host_whose_set_up_fails_is_no_host(self):
        self.control("stand-in/console", {"text": "musher-fleet: failed: line 9: apt-get update -qq\r\n"})
        self.assertIn("failed: line 9: apt-get update -qq", self.up(instances=1, code=1).stderr)
        self.assertEqual(self.hosts(), ["localhost slots=0"])

    def test_a_host_that_does_not_pass_ec2s_checks_is_no_host(self):
        self.up()
        bad = self.instances("one")[0]
        self.control("stand-in/impaired", [bad["PrivateIpAddress"]])
        told = f"{bad['InstanceId']} {bad['PrivateIpAddress']} EC2's instance status check says impaired"
        self.assertIn(told, self.up("--wait", 0, code=None).stderr)
        self.assertEqual(len(self.hosts()), 1)
        self.control("stand-in/impaired", [])
        self.up()
        self.assertEqual(len(self.hosts()), 2, "its key was kept meanwhile")

    def run_script(self, **stubs):
        """What cloud-init would run, with stand-ins on the PATH; what it called, and what it told."""
        script = next(one["content"] for one in self.cloud_config()["write_files"] if one["path"].endswith("musher-host"))
        folder = self.folder / "host"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc" / "ssh_host_ed25519_key.pub").write_text(f"{KEY} root@host\n")
        calls = folder / "calls"
        calls.unlink(missing_ok=True)
        for name in ("systemctl", "aws", "chmod", "apt-get"):
            body = stubs.get(name.replace("-", "_"), "")
            (folder / "bin" / name).write_text(f"#!/bin/sh\necho {name} \"$@\" >>{calls}\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        script = script.replace(f"root='{ROOT}'", f"root='{folder}/musher'")
        self.assertIn(f"{folder}/musher", script)
        done = subprocess.run(["bash", "-s", folder / "console", folder / "etc"], input=script, text=True, capture_output=True,
                              cwd=folder, env={"PATH": f"{folder}/bin:/usr/bin:/bin"}, timeout=60)
        told = (folder / "console").read_text()
        (folder / "console").unlink()
        return done, calls.read_text().splitlines(), told

    def test_a_host_sets_itself_up_and_tells_its_key(self):
        self.up("--software", "s3://b-1/software/musher.tar.gz", instances=1)
        archive = self.folder / "bundle"
        for path, text in (("launch/setup", "#!/bin/sh\necho \"setup $1 $MUSHER_CACHE\" >&2\n"), ("build/bin/musher-trainer", "#!/bin/sh\n")):
            (archive / path).parent.mkdir(parents=True, exist_ok=True)
            (archive / path).write_text(text)
            (archive / path).chmod(0o755)
        done, calls, told = self.run_script(aws=f"exec tar -cz -C {archive} .")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(calls[:3], ["systemctl daemon-reload", "systemctl enable --now musher-budget.timer",
                                     "aws --region us-east-1 s3 cp --only-show-errors s3://b-1/software/musher.tar.gz -"])
        self.assertRegex(done.stderr, "setup --run-only /")
        self.assertTrue(told.endswith(f"\nmusher-fleet: key {KEY}\n\nmusher-fleet: ready\n"), told)
        done, _, told = self.run_script(aws="echo Forbidden >&2; exit 1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("musher-fleet: failed: line ", told)
        self.assertNotIn("ready", told)

    # -- rights

    def fleet_policy(self):
        done = self.processes.run([ROOT / "launch" / "iam" / "render", "fleet", "--account", "123456789012", "--region", self.region],
                                  timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_who_rents_fleets_may_do_what_it_must_and_nothing_else(self):
        policy = self.fleet_policy()
        self.iam.create_instance_profile(InstanceProfileName="musher-worker")
        self.client("ssm").put_parameter(Name="/musher/image", Value=DEBIAN, Type="String")
        # moto knows actions, but neither resources nor conditions of EC2's.
        flat = {"Version": "2012-10-17", "Statement": [{"Effect": one["Effect"], "Action": one["Action"], "Resource": "*"}
                                                       for one in policy["Statement"]]}
        self.iam.create_user(UserName="renter")
        self.iam.put_user_policy(UserName="renter", PolicyName="fleet", PolicyDocument=json.dumps(flat))
        key = self.iam.create_access_key(UserName="renter")["AccessKey"]
        self.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        credentials = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        ec2, iam = self.client("ec2", **credentials), self.client("iam", **credentials)
        before = len(self.control("stand-in/calls"))
        self.control("moto-api/reset-auth", 0)
        self.up("--efa", "always", "--image", "ssm:/musher/image", profile="musher-worker", instances=1, type="c7i.48xlarge")
        self.musher("fleet", "list", *self.aws, code=0)
        self.down()
        for denied in (lambda: iam.create_role(RoleName="mine", AssumeRolePolicyDocument="{}"),
                       lambda: iam.put_role_policy(RoleName="musher-worker", PolicyName="p", PolicyDocument="{}"),
                       lambda: ec2.create_vpc(CidrBlock="10.0.0.0/16"), lambda: ec2.describe_volumes(),
                       lambda: ec2.create_key_pair(KeyName="k"), lambda: ec2.stop_instances(InstanceIds=["i-0"]),
                       lambda: ec2.modify_instance_metadata_options(InstanceId="i-0", HttpTokens="optional"),
                       lambda: ec2.create_image(InstanceId="i-0", Name="image")):
            with self.assertRaises(ClientError) as refused:
                denied()
            self.assertEqual(refused.exception.response["ResponseMetadata"]["HTTPStatusCode"], 403)
        called = set(self.control("stand-in/calls")[before:]) - {""}
        allowed = {action.partition(":")[2] for one in policy["Statement"]
                   for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}
        # Rights that EC2 asks for within other calls.
        self.assertEqual(allowed - called, {"PassRole", "CreateTags"}, "rights that nothing needs")

    def test_rights_are_bound_to_what_is_a_fleets(self):
        statements = {one["Sid"]: one for one in self.fleet_policy()["Statement"]}
        for name in ("MakeFleetParts", "StartTaggedInstances"):
            self.assertEqual(statements[name]["Condition"]["StringLike"], {"aws:RequestTag/musher:fleet": "?*"})
        for name in ("WithFleetParts", "TendFleets"):
            self.assertEqual(statements[name]["Condition"]["StringLike"], {"aws:ResourceTag/musher:fleet": "?*"})
        self.assertEqual([name for name, one in statements.items() if one["Resource"] == "*"], ["Look"])
        self.assertEqual(statements["GiveTheWorkersRole"]["Resource"], "arn:aws:iam::123456789012:role/musher-worker")
        text = (ROOT / "docs" / "iam.md").read_text()
        section = re.search(r"^## [^\n]*`fleet\.json`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(re.findall(r"^\| `(\w+)` \|", section[0], re.MULTILINE), list(statements), "each is justified")


if __name__ == "__main__":
    unittest.main()
