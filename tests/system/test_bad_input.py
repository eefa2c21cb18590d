"""Bad input: one clear line, the right exit code, nothing left behind."""
import re
import unittest

from musher_testing import BUCKET, MusherTest, free_port, make_images, make_job


class BadInput(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")

    def job(self, **options):
        return make_job("bad", f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", **options)

    def refused(self, job, *pieces, code, arguments=(), environment=None, trained=False):
        """`musher train` ends with `code`; the last line of stderr holds all pieces; nothing is left but, of a job that had
        `trained`, its report."""
        before = self.keys()
        self.environment |= environment or {}
        done = self.musher("train", self.write_job(job), *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        lines = done.stderr.strip().splitlines()
        for piece in pieces:
            self.assertIn(piece, lines[-1] if lines else "")
        if code == 2:
            self.assertEqual(len(lines), 1, done.stderr)
        for word in ("terminate called", "Traceback", "core dumped", "what():"):
            self.assertNotIn(word, done.stderr + done.stdout)
        self.assert_nothing_runs()
        reports = [key for key in self.keys() if re.search(r"/output/(report\.html|tensorboard/)", key)]
        self.assertEqual(sorted(set(self.keys()) - set(reports)), sorted(before), "objects left behind")
        self.assertEqual(bool(reports), trained)
        self.assertEqual(list(self.temporary.iterdir()), [], "files left behind")
        return done

    # -- the job file: exit code 2, before anything is started

    def test_an_unknown_field(self):
        self.refused(self.job() | {"ResourceConfigs": {}}, "ResourceConfigs", "ResourceConfig", code=2)

    def test_an_unknown_hyperparameter_names_the_nearest(self):
        self.refused(self.job(epoch=3), "HyperParameters.epoch", "epochs", code=2)

    def test_a_wrong_type(self):
        job = self.job()
        job["ResourceConfig"]["InstanceCount"] = "two"
        self.refused(job, "ResourceConfig.InstanceCount", code=2)

    def test_a_hyperparameter_that_is_no_number(self):
        self.refused(self.job(epochs="ten"), "HyperParameters.epochs", "ten", code=2)

    def test_no_json(self):
        self.refused('{"TrainingJobName": ', "job.json", code=2)

    def test_no_such_file(self):
        done = self.musher("train", self.folder / "none.json", code=2)
        self.assertIn("none.json", done.stderr)

    def test_more_workers_than_virtual_workers(self):
        self.refused(self.job(), "virtual_workers", code=2, arguments=("--workers", 5))

    def test_virtual_workers_that_do_not_divide_the_batch(self):
        self.refused(self.job(virtual_workers=5), "virtual_workers", "batch_size", code=2)

    def test_everything_wrong_is_said_at_once(self):
        done = self.musher("validate", self.write_job(self.job(epochs="ten", learning_rate=-1, modell="x")), code=2)
        lines = done.stdout.strip().splitlines() + done.stderr.strip().splitlines()
        for field in ("HyperParameters.epochs", "HyperParameters.learning_rate", "HyperParameters.modell"):
            self.assertEqual(sum(line.count(field) for line in lines), 1, lines)

    def test_a_good_job_is_valid(self):
        self.musher("validate", self.write_job(self.job()), code=0)

    def test_usage(self):
        self.assertEqual(self.musher("nonsense").returncode, 2)
        self.assertEqual(self.musher("train").returncode, 2)
        self.assertEqual(self.musher("--help").returncode, 0)

    # -- the data: exit code 1, the reason in one line

    def test_an_empty_prefix(self):
        job = make_job("bad", f"s3://{BUCKET}/nothing", f"s3://{BUCKET}/jobs")
        self.refused(job, f"s3://{BUCKET}/nothing", code=1)

    def test_a_missing_bucket(self):
        job = make_job("bad", "s3://no-such-bucket/train", f"s3://{BUCKET}/jobs")
        self.refused(job, "s3://no-such-bucket", code=1)

    def test_a_missing_output_bucket_is_found_before_the_training(self):
        job = make_job("bad", f"s3://{BUCKET}/train", "s3://no-such-bucket/jobs")
        done = self.refused(job, "S3OutputPath", "no-such-bucket", code=1)
        self.assertNotIn("epoch 1", done.stderr)

    def test_a_wrong_key(self):
        self.refused(self.job(), f"s3://{BUCKET}/train", code=1, environment={"AWS_SECRET_ACCESS_KEY": "wrong"})

    def test_too_many_images_that_cannot_be_decoded(self):
        image = (self.folder / "images" / "class1" / "004.png").read_bytes()
        for number in range(5):
            self.s3.client().put_object(Bucket=BUCKET, Key=f"train/class1/cut{number}.png", Body=image[:150])
        self.refused(self.job(), "undecodable", code=1, trained=True)

    def test_one_truncated_image_is_named_and_left_out(self):
        image = (self.folder / "images" / "class1" / "004.png").read_bytes()
        self.s3.client().put_object(Bucket=BUCKET, Key="train/class1/cut.png", Body=image[:150])
        done = self.musher("train", self.write_job(self.job(undecodable_limit=0.05)), code=0)
        self.assertIn("class1/cut.png", done.stdout + done.stderr)

    def test_a_label_outside_the_classes(self):
        self.upload(self.folder / "images" / "class0", "validation/zebra")
        self.refused(self.job(validation=f"s3://{BUCKET}/validation"), "zebra", code=1)

    # -- the coordinator

    def test_a_coordinator_out_of_reach(self):
        self.address = f"127.0.0.1:{free_port()}"
        for words in (("list",), ("status", "x"), ("submit", self.write_job(self.job())), ("watch", "x"), ("stop", "x")):
            with self.subTest(words[0]):
                done = self.musher(*words, code=4, timeout=60)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertIn(self.address, done.stderr)

    def test_a_name_that_is_taken_and_one_that_is_not_there(self):
        self.start_daemon()
        path = self.write_job(self.job(epochs=1))
        self.musher("submit", path, "--wait", code=0)
        again = self.musher("submit", path, code=2)
        self.assertIn("bad", again.stderr)
        for command in ("status", "watch", "stop", "delete", "logs"):
            with self.subTest(command):
                done = self.musher(command, "nobody", code=2)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertIn("nobody", done.stderr)

    def test_a_bad_job_is_refused_by_the_daemon_too(self):
        self.start_daemon()
        done = self.musher("submit", self.write_job(self.job(epochs="ten")), code=2)
        self.assertIn("HyperParameters.epochs", done.stderr)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
