"""Everything killed at the first write of a run, of the next run at its second, and so on: each goes on from the last good
checkpoint, and the end is that of a run that nobody killed. The writes are those that a real S3 server is asked for."""
import json
import os
import signal
import tarfile
import unittest

from fault_proxy import FaultProxy
from musher_testing import BUCKET, LIMIT, MusherTest, make_images, make_job


class KilledAtEveryWrite(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images")
        self.writes = 0
        self.fatal = None  # the number of the write that is the last

    def job(self, name, checkpoints):
        # The data is local: every request at the store is for a checkpoint or the artifact. Large images: a checkpoint is to
        # be written by the time that the next one is due, which would else be left out.
        return make_job(name, f"file://{self.folder}/images", f"s3://{BUCKET}/jobs", epochs=8, image_size=96,
                        learning_rate=0.001, momentum=0.9, checkpoint_every_steps=3, checkpoints_kept=1, checkpoints=checkpoints)

    def script(self, request):
        if not request.writes:
            return None
        self.writes += 1
        if self.writes != self.fatal:
            return None
        if self.writes % 2 == 0:  # the server does what it is asked for; nobody hears of it
            return self.kill_all
        self.kill_all()
        return "reset"

    def kill_all(self, _=None):
        for pid in self.children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def check_store(self, name):
        """Every committed checkpoint has all its slices, and the artifact is whole or absent."""
        keys = self.keys()
        sizes = {key: self.s3.client().head_object(Bucket=BUCKET, Key=key)["ContentLength"] for key in keys}
        for key in keys:
            if not key.endswith("/manifest.json"):
                continue
            folder = key.removesuffix("manifest.json")
            manifest = json.loads(self.s3.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
            for entry in manifest["slices"]:
                self.assertEqual(sizes.get(folder + entry["key"]), entry["size"], f"{folder}{entry['key']}")
        artifact = f"jobs/{name}/output/model.tar.gz"
        if artifact in keys:
            path = self.folder / "artifact.tar.gz"
            self.s3.client().download_file(BUCKET, artifact, str(path))
            with tarfile.open(path) as tar:
                self.assertIn("model.safetensors", tar.getnames())
        return any(key.endswith("/manifest.json") for key in keys)

    def test_goes_on_from_the_last_good_checkpoint(self):
        whole, _ = self.train(self.job("whole", f"file://{self.folder}/checkpoints"))
        proxy = FaultProxy(self.s3.port, script=self.script)
        self.addCleanup(proxy.stop)
        self.environment["AWS_ENDPOINT_URL"] = proxy.endpoint
        job = self.write_job(self.job("killed", f"s3://{BUCKET}/checkpoints"))
        had_checkpoint = False
        for fatal in range(1, 100):
            self.writes, self.fatal = 0, fatal
            training = self.start_musher("train", job, "--json")
            code = training.wait(timeout=LIMIT)
            self.assert_nothing_runs()
            if code == 0:
                break
            self.assertEqual(code, -signal.SIGKILL, training.stderr_path.read_text())
            has_checkpoint = self.check_store("killed")
            self.assertGreaterEqual(has_checkpoint, had_checkpoint, "the last good checkpoint is gone")
            had_checkpoint = has_checkpoint
        self.assertGreater(fatal, 8, "far fewer writes than a run makes")
        said = training.stderr_path.read_text()
        self.assertIn("resumed at step", said)
        self.assertNotIn("passed over", said)
        self.assert_same_weights(self.weights(whole), self.weights(json.loads(training.stdout_path.read_text())))
        print(f"killed {fatal - 1} times", flush=True)


if __name__ == "__main__":
    unittest.main()
