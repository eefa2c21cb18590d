"""The IAM policies of launch/iam, enforced by a real S3 server: whole jobs pass with them, and what is not needed is denied.

Of the statements for KMS only the text is checked: the server has no KMS.
"""
import json
import re
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from musher_testing import BUCKET, LIMIT, ROOT, TRAINER, MusherTest, S3Server, make_images, make_job

ROLES = ("coordinator", "worker", "submitter")
PREFIX = "team/dogs"
RENDER = ROOT / "launch" / "iam" / "render"

# (operation, key or prefix below the bucket): who may.
ALLOWED = {
    ("list", "team/dogs/data/train/"): {"coordinator", "submitter"},
    ("list", "team/dogs/jobs/one/output/"): {"coordinator", "submitter"},
    ("list", "team/dogs/checkpoints/"): {"coordinator"},
    ("list", ""): set(),
    ("list", "team/"): set(),
    ("list", "other/"): set(),
    ("get", "team/dogs/data/x"): {"coordinator", "worker", "submitter"},
    ("get", "team/dogs/checkpoints/x"): {"coordinator", "worker"},
    ("get", "team/dogs/jobs/x"): {"submitter"},
    ("get", "team/dogs/software/x"): {"worker"},
    ("get", "other/x"): set(),
    ("put", "team/dogs/software/y"): set(),
    ("put", "team/dogs/data/y"): {"submitter"},
    ("put", "team/dogs/checkpoints/y"): {"coordinator", "worker"},
    ("put", "team/dogs/jobs/y"): {"worker"},
    ("put", "other/y"): set(),
    ("upload in parts", "team/dogs/data/z"): {"submitter"},
    ("upload in parts", "team/dogs/checkpoints/z"): {"coordinator", "worker"},
    ("upload in parts", "team/dogs/jobs/z"): {"worker"},
    ("delete", "team/dogs/data/x"): set(),
    ("delete", "team/dogs/jobs/x"): set(),
    ("delete", "other/x"): set(),
    ("delete", "team/dogs/checkpoints/x"): {"coordinator"},
    ("make a bucket", "another"): set(),
}


class Iam(MusherTest):
    def setUp(self):
        super().setUp()
        self.s3 = S3Server(self.folder / "s3", iam=True)
        self.addCleanup(self.s3.stop, at_once=True)
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        self.iam = boto3.client("iam", endpoint_url=self.s3.endpoint, region_name="us-east-1",
                                aws_access_key_id=self.s3.access_key, aws_secret_access_key=self.s3.secret_key)

    def render(self, role, *arguments, code=0):
        done = self.processes.run([RENDER, role, *arguments], timeout=30)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def policy(self, role):
        return self.render(role, "--bucket", BUCKET, "--prefix", PREFIX, "--plain-http")

    def user(self, name, policy):
        """A user with that policy alone; its environment, once the server knows it."""
        self.iam.create_user(UserName=name)
        arn = self.iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
        self.iam.attach_user_policy(UserName=name, PolicyArn=arn)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        environment = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

        def known():
            try:
                self.client(environment).get_object(Bucket=BUCKET, Key="none")
            except ClientError as error:
                return error.response["Error"]["Code"] != "InvalidAccessKeyId"
            return True

        self.wait_until(known, 30, f"the server knows {name}")
        return environment

    def client(self, environment):
        return boto3.client("s3", endpoint_url=self.s3.endpoint, region_name="us-east-1",
                            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
                            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
                            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def may(self, client, operation, key):
        """Whether the server does it. What it changes is made good."""
        root = self.s3.client()
        if operation in ("get", "delete"):
            root.put_object(Bucket=BUCKET, Key=key, Body=b"something")

        def in_parts():
            upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
            client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
            client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)

        calls = {"list": lambda: client.list_objects_v2(Bucket=BUCKET, Prefix=key),
                 "get": lambda: client.get_object(Bucket=BUCKET, Key=key),
                 "put": lambda: client.put_object(Bucket=BUCKET, Key=key, Body=b"new"),
                 "delete": lambda: client.delete_object(Bucket=BUCKET, Key=key),
                 "upload in parts": in_parts,
                 "make a bucket": lambda: client.create_bucket(Bucket=key)}
        try:
            calls[operation]()
        except ClientError as error:
            self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 403, f"{operation} {key}: {error}")
            return False
        return True

    def what_may(self, client):
        return {what for what in ALLOWED if self.may(client, *what)}

    def test_each_role_may_do_what_it_must_and_nothing_else(self):
        for role in ROLES:
            with self.subTest(role):
                may = self.what_may(self.client(self.user(role, self.policy(role))))
                self.assertEqual(may, {what for what, who in ALLOWED.items() if role in who})

    def test_no_statement_is_idle(self):
        for role in ROLES:
            policy = self.policy(role)
            for left_out in policy["Statement"]:
                with self.subTest(role, without=left_out["Sid"]):
                    rest = policy | {"Statement": [one for one in policy["Statement"] if one is not left_out]}
                    client = self.client(self.user(f"{role}-without-{left_out['Sid']}", rest))
                    missing = {what for what, who in ALLOWED.items() if role in who} - self.what_may(client)
                    self.assertNotEqual(missing, set())

    def test_a_job_with_checkpoints_needs_no_more(self):
        users = {role: self.user(role, self.policy(role)) for role in ROLES}
        make_images(self.folder / "images")
        submitter = self.client(users["submitter"])
        for path in sorted((self.folder / "images").rglob("*.*")):
            submitter.upload_file(str(path), BUCKET, f"{PREFIX}/data/train/{path.relative_to(self.folder / 'images')}")
        # Ranks with credentials of their own, as on instances with a role of their own.
        trainer = self.folder / "trainer"
        trainer.write_text("#!/bin/sh\n" + "".join(f"export {name}={value}\n" for name, value in users["worker"].items())
                           + f'exec {TRAINER} "$@"\n')
        trainer.chmod(0o700)
        self.environment |= users["coordinator"]
        self.start_daemon("--trainer", trainer)
        root = f"s3://{BUCKET}/{PREFIX}"
        job = make_job("mine", f"{root}/data/train", f"{root}/jobs", validation=f"{root}/data/train", epochs=4,
                       checkpoints=f"{root}/checkpoints", checkpoint_every_steps=2, checkpoints_kept=1)
        done = self.musher("submit", self.write_job(job), "--wait", "--json", timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.musher("logs", "mine").stdout)
        self.assertIn("checkpoint", self.musher("status", "mine").stdout)
        self.assertNotRegex(self.musher("logs", "mine").stdout, "(?i)denied|can't be")
        submitter.download_file(BUCKET, f"{PREFIX}/jobs/mine/output/model.tar.gz", str(self.folder / "model.tar.gz"))
        # The same data and checkpoints once more: it goes on from them.
        job["TrainingJobName"] = "again"
        job["HyperParameters"]["epochs"] = "5"
        done = self.musher("submit", self.write_job(job), "--wait", "--json", timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual({key.split("/")[2] for key in self.keys()}, {"data", "jobs", "checkpoints"})

    def test_over_plain_http_nothing_is_allowed(self):
        policy = self.render("submitter", "--bucket", BUCKET, "--prefix", PREFIX)
        client = self.client(self.user("submitter", policy))
        self.assertEqual(self.what_may(client), set())

    def test_a_policy_says_what_was_asked_for(self):
        key = "arn:aws:kms:us-east-1:123456789012:key/0f00-a"
        for role in ROLES:
            full = self.render(role, "--bucket", "b-1", "--kms-key", key)
            self.assertEqual([one["Resource"] for one in full["Statement"] if one["Sid"] == "UseKey"], [key])
            self.assertNotIn("//", json.dumps(full))
        china = json.dumps(self.render("worker", "--bucket", "b-1", "--partition", "aws-cn"))
        self.assertNotIn("arn:aws:", china)
        for wrong in (("--bucket", "*"), ("--bucket", "b-1", "--prefix", "a*"), ("--bucket", "b-1", "--prefix", "${aws:username}"),
                      ("--bucket", "b-1", "--kms-key", "*"), ("--bucket", "b-1", "--partition", "*")):
            self.assertRegex(self.render("worker", *wrong, code=1), f"render: {wrong[-2]} must match")

    def test_every_statement_is_justified_in_the_documentation(self):
        text = (ROOT / "docs" / "iam.md").read_text()
        for role in ROLES:
            section = re.search(rf"^## [^\n]*`{role}\.json`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
            self.assertIsNotNone(section, role)
            justified = re.findall(r"^\| `(\w+)` \|", section[0], re.MULTILINE)
            policy = json.loads((ROOT / "launch" / "iam" / f"{role}.json").read_text())
            self.assertEqual(justified, [one["Sid"] for one in policy["Statement"]])


if __name__ == "__main__":
    unittest.main()
