"""InputMode File and FastFile: what of an S3 channel is fetched, and that a host keeps it between jobs."""
import collections
import unittest

from fault_proxy import FaultProxy
from musher_testing import BUCKET, LIMIT, MPIRUN, TRAINER, MusherTest, make_images, make_job


class DataCache(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        self.images = make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")
        self.proxy = FaultProxy(self.s3.port)
        self.addCleanup(self.proxy.stop)
        self.environment["AWS_ENDPOINT_URL"] = self.proxy.endpoint
        self.cache = self.folder / "kept"

    def job(self, name, mode="FastFile"):
        job = make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", epochs=3)
        job["AlgorithmSpecification"]["TrainingInputMode"] = mode
        return job

    def fetched(self):
        """{image: how often} since the last call."""
        gets = collections.Counter(path.split("?")[0] for method, path, _ in self.proxy.log
                                   if method == "GET" and path.split("?")[0].endswith((".png", ".jpg")))
        self.proxy.log.clear()
        return gets

    def test_every_image_is_fetched_once_for_all_jobs_of_a_host(self):
        without, _ = self.train(self.job("without"), "--cache-limit", "0")
        gets = self.fetched()
        self.assertEqual(len(gets), self.images)
        self.assertGreaterEqual(min(gets.values()), 3, "each epoch, where nothing is kept")
        for name, mode in [("file", "File"), ("again", "File"), ("fast", "FastFile")]:
            kept, said = self.train(self.job(name, mode), "--cache", self.cache)
            self.assert_same_weights(self.weights(without), self.weights(kept))
            expected = {} if name != "file" else {image: 1 for image in gets}
            self.assertEqual(dict(self.fetched()), expected, name)
            self.assertNotIn("cache", said)
        self.assert_nothing_runs()

    def test_ranks_that_were_started_by_hand_bring_it_too(self):
        path = self.write_job(self.job("by-hand", "File"))
        command = [MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", "2", TRAINER, "--job", path, "--cache", self.cache]
        done = self.processes.run(command, env=self.environment, cwd=self.folder, timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(set(self.fetched().values()), {1})
        self.assert_nothing_runs()

    def test_an_image_that_is_replaced_is_seen_by_the_next_job(self):
        self.train(self.job("before"), "--cache", self.cache)
        self.fetched()
        one, other = sorted((self.folder / "images" / "class0").glob("*.jpg"))[:2]
        self.s3.client().put_object(Bucket=BUCKET, Key=f"train/class0/{one.name}", Body=other.read_bytes())
        self.train(self.job("after"), "--cache", self.cache)
        self.assertEqual([image.rsplit("/", 1)[1] for image in self.fetched()], [one.name])

    def test_a_channel_beyond_the_limit_is_told_and_trained_on(self):
        description, said = self.train(self.job("large", "File"), "--cache", self.cache, "--cache-limit", "20kB")
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertEqual(said.count("more than the data cache may take"), 1, said)
        size = sum(path.stat().st_size for path in self.cache.rglob("*") if path.name not in ("lock", "usage") and path.is_file())
        self.assertLessEqual(size, 20_000)

    def test_a_folder_that_can_not_be_written_is_told_once(self):
        self.cache.write_text("a file")
        description, said = self.train(self.job("unwritable"), "--cache", self.cache)
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertEqual(said.count("can't be written"), 1, said)

    def test_a_size_that_is_none_is_refused(self):
        done = self.musher("train", self.write_job(self.job("size")), "--cache-limit", "much", code=2)
        self.assertIn('--cache-limit must be a number of bytes, such as 20GiB or 500MB, not "much"', done.stderr)


if __name__ == "__main__":
    unittest.main()
