"""A checkpoint that is damaged is found, and the one before is used, with a notice; where none is left the job says so."""
import unittest
from pathlib import Path

from musher_testing import MusherTest, make_images, make_job


class CheckpointDamage(MusherTest):
    def setUp(self):
        super().setUp()
        make_images(self.folder / "images")
        self.place = self.folder / "checkpoints"

    def job(self, name, **options):
        options = {"epochs": 4, "momentum": 0.9, "checkpoints": f"file://{self.place}"} | options
        return make_job(name, f"file://{self.folder}/images", f"file://{self.folder}/jobs", **options)

    def checkpoints(self):
        return sorted(self.place.glob("step-*"))

    def test_the_one_before_is_used_and_the_end_is_the_same(self):
        whole, _ = self.train(self.job("whole"))
        newest = self.checkpoints()[-1]
        self.assertIn(len(self.checkpoints()), (2, 3))  # those that were due while one was being written come later
        cut = newest / "slice-00001-of-00002.safetensors"
        cut.write_bytes(cut.read_bytes()[:-100])
        again, said = self.train(self.job("again"))
        self.assertRegex(said, rf"checkpoint \S+/{newest.name} passed over: \S+ is damaged: it has \d+ bytes instead of \d+")
        self.assertIn("resumed at step", said)
        self.assertNotIn("epoch 1:", said)
        self.assert_same_weights(self.weights(whole), self.weights(again))

    def test_a_changed_byte_is_found_by_the_checksum(self):
        self.train(self.job("first", checkpoints_kept=2))
        before, newest = self.checkpoints()
        slice_ = newest / "slice-00000-of-00002.safetensors"
        content = bytearray(slice_.read_bytes())
        content[len(content) // 2] ^= 1
        slice_.write_bytes(content)
        _, said = self.train(self.job("again"))
        self.assertRegex(said, rf"{newest.name} passed over: \S+ is damaged: its checksum is not the one in the manifest")
        self.assertRegex(said, rf"resumed at step \d+ from \S+/{before.name}")

    def test_where_none_is_left_the_job_fails_and_names_them(self):
        self.train(self.job("first", checkpoints_kept=2))
        for folder in self.checkpoints():
            for slice_ in folder.glob("slice-*"):
                slice_.write_bytes(b"")
        description, _ = self.train(self.job("again"), code=1)
        for folder in self.checkpoints():
            self.assertIn(folder.name, description["FailureReason"])
        self.assertIn("start from the beginning", description["FailureReason"])

    def test_what_a_crash_left_is_swept_but_nothing_of_others(self):
        unfinished = self.place / "step-0000000002.swept.1.1"
        others = self.place / "step-0000000002.other.1.1"
        half = Path(self.folder / "jobs" / "swept" / "output")
        for folder in (unfinished, others, half):
            folder.mkdir(parents=True)
            (folder / ".musher-upload-0123").write_bytes(b"half")
        _, said = self.train(self.job("swept", epochs=1))
        self.assertIn(f"removed the unfinished checkpoint file://{unfinished}", said)
        self.assertFalse(unfinished.exists())
        self.assertTrue((others / ".musher-upload-0123").exists())
        self.assertEqual(sorted(path.name for path in half.iterdir()), ["model.tar.gz", "report.html", "tensorboard"])


if __name__ == "__main__":
    unittest.main()
