"""The quickstart, once everything is built: to its end, and interrupted."""
import re
import signal
import sys
import unittest

from musher_testing import BUILD, ROOT, MusherTest, processes


class Quickstart(MusherTest):
    def start(self):
        log = self.folder / f"quickstart{len(list(self.folder.iterdir()))}.log"
        process = self.processes.start(
            [sys.executable, ROOT / "launch" / "quickstart.py", "--build", BUILD, "--home", self.folder / "quickstart"], log=log)
        return process, log

    def test_it_trains_to_the_accuracy_that_it_promises(self):
        process, log = self.start()
        code = process.wait(timeout=800)
        text = log.read_text()
        self.assertEqual(code, 0, text)
        self.assertGreaterEqual(float(re.search(r"Held-out accuracy: ([\d.]+)", text)[1]), 0.91)
        self.assertRegex(text, r"Artifact: +s3://musher-quickstart/jobs/fashion-mnist-[\d-]+/output/model.tar.gz")
        self.assertIn("60000 of 60000 samples, each once", text)
        self.assertEqual(processes.wait_until_gone(5), {}, "processes left behind")

    def test_interrupted_at_any_point_it_leaves_no_process(self):
        for number, point in ((signal.SIGINT, "S3 server"), (signal.SIGTERM, "Data:"), (signal.SIGINT, "Job fashion"),
                              (signal.SIGTERM, "each once")):
            with self.subTest(point):
                process, log = self.start()
                self.wait_until(lambda: point in log.read_text() or process.poll() is not None, 300, point)
                self.assertIsNone(process.poll(), log.read_text())
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=60), 128 + number, log.read_text())
                self.assertEqual(processes.wait_until_gone(5), {}, "processes left behind")
                self.assertNotIn("Traceback", log.read_text())


if __name__ == "__main__":
    unittest.main()
