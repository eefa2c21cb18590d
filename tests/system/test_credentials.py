"""Whole jobs on S3 with credentials from each place of the AWS chain: environment (all other tests), profile, instance role."""
import sys
import unittest

from musher_testing import BUCKET, ROOT, MusherTest, make_images, make_job

sys.path.append(str(ROOT / "tests" / "unit" / "storage"))
from stand_ins import InstanceMetadata  # noqa: E402


class Credentials(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images", per_class=5)
        self.upload(self.folder / "images", "train")
        self.access_key = self.environment.pop("AWS_ACCESS_KEY_ID")
        self.secret_key = self.environment.pop("AWS_SECRET_ACCESS_KEY")

    def train_on_s3(self, code=0):
        job = make_job("mine", f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", epochs=1)
        return self.musher("train", self.write_job(job), code=code)

    def assert_trained(self):
        self.assertEqual(self.train_on_s3().stdout, f"s3://{BUCKET}/jobs/mine/output/model.tar.gz\n")
        self.assertIn("jobs/mine/output/model.tar.gz", self.keys())

    def test_of_a_profile(self):
        profiles = self.folder / "credentials"
        profiles.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n"
                            f"[mine]\naws_access_key_id = {self.access_key}\naws_secret_access_key = {self.secret_key}\n")
        self.environment |= {"AWS_SHARED_CREDENTIALS_FILE": str(profiles), "AWS_PROFILE": "mine"}
        self.assert_trained()

    def test_of_the_instance_role(self):
        with InstanceMetadata(self.access_key, self.secret_key) as metadata:
            self.environment |= {"AWS_EC2_METADATA_DISABLED": "false",
                                 "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint}
            self.assert_trained()

    def test_none_is_one_clear_line(self):
        self.assertIn("no AWS credentials found", self.train_on_s3(code=1).stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
