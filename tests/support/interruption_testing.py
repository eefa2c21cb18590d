"""For jobs that are cut off and go on: they must end with the bits of one that never was."""
import json
import re
import tarfile

from musher_testing import BUCKET, LIMIT, MusherTest, make_images, make_job

EPOCHS = 6


class InterruptionTest(MusherTest):
    _whole = None  # weights of the unbroken run; the same for all tests

    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images", per_class=60)
        self.upload(self.folder / "images", "train")

    def job(self, name, retries=0, wait=None, **options):
        # Batch-norm statistics, and steps long enough to be cut off in.
        options = {"model": "resnet18", "image_size": 32, "epochs": EPOCHS, "augmentation": "crop_flip", "momentum": 0.9,
                   "checkpoints": f"s3://{BUCKET}/checkpoints/{name}"} | options
        job = make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", **options)
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        if wait:
            job["EnableManagedSpotTraining"] = True
            job["StoppingCondition"]["MaxWaitTimeInSeconds"] = wait
        return job

    def submit(self, job):
        self.musher("submit", self.write_job(job), code=0)
        return job["TrainingJobName"]

    def status(self, name):
        return self.musher("status", name, code=0).stdout

    def step(self, name):
        found = re.search(r"step (\d+) of", self.status(name))
        return int(found[1]) if found else 0

    def wait_for_step(self, name, step):
        self.wait_until(lambda: self.step(name) >= step, LIMIT, f"step {step}")

    def wait_for_history(self, name, pattern):
        return self.wait_until(lambda: re.search(pattern, self.status(name)), LIMIT, pattern)

    def saved_step(self, name):
        """Of the model that a stopped attempt has left."""
        path = self.folder / "stopped.tar.gz"
        self.s3.client().download_file(BUCKET, f"jobs/{name}/output/model.tar.gz", str(path))
        with tarfile.open(path) as tar:
            return json.load(tar.extractfile("metrics.json"))["step"]

    def interruptions(self, description):
        return [one["StatusMessage"] for one in description["SecondaryStatusTransitions"] if one["Status"] == "Interrupted"]

    def mpirun(self, name):
        """The pid of its mpirun."""
        found = [pid for pid, command in self.children().items()
                 if f"--job-name {name} " in command and "--with-ft" in command]
        self.assertEqual(len(found), 1, self.children())
        return found[0]

    def ranks(self, name):
        """The pids of its ranks."""
        return sorted(pid for pid, command in self.children().items()
                      if f"--job-name {name} " in command and "--with-ft" not in command)

    def assert_as_if_unbroken(self, name, steps_lost=False):
        """Every sample once an epoch, and the bits of a run that was never cut off. An epoch's end among the steps that were
        lost is told again."""
        history = self.status(name)
        for epoch in range(1, EPOCHS + 1):
            lines = re.findall(rf"epoch {epoch}: (\d+) of (\d+) samples, each once", history)
            self.assertIn(len(lines), (1, 2) if steps_lost else (1,), f"epoch {epoch}:\n{history}")
            for line in lines:
                self.assertEqual(*line)
        if InterruptionTest._whole is None:
            whole = self.job("whole", checkpoints=None)
            self.musher("submit", self.write_job(whole), "--wait", code=0)
            InterruptionTest._whole = self.weights(self.describe("whole"))
        self.assert_same_weights(InterruptionTest._whole, self.weights(self.describe(name)))
