"""examples/dog-breeds: pictures in S3, two workers, an endpoint, a function, `lab.jpg` by boto3; its quick form, whole."""
import json
import math
import sys
import unittest

from musher_testing import BUILD, ROOT, MusherTest, processes

EXAMPLE = ROOT / "examples" / "dog-breeds"


class DogBreeds(MusherTest):
    def test_lab_jpg_is_answered_with_133_logits_and_nothing_is_left(self):
        home = self.folder / "home"
        done = self.processes.run([sys.executable, EXAMPLE / "run.py", "--quick", "--build", BUILD, "--home", home],
                                  env=self.environment, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual((answer["statusCode"], answer["type-result"]), (200, "<class 'str'>"))
        self.assertEqual(answer["headers"], {"Content-Type": "text/plain", "Access-Control-Allow-Origin": "*"})
        (logits,) = json.loads(answer["body"])
        self.assertEqual(len(logits), 133)
        self.assertTrue(all(map(math.isfinite, logits)))
        self.assertGreater(max(logits) - min(logits), 0)
        self.assertIn("133 of 133 samples, each once", done.stderr)
        self.assertRegex(done.stderr, r"most likely \d{3}\.\w+")
        self.assertEqual(processes.wait_until_gone(5), {}, "processes left behind")
        for key in home.glob("*.key"):
            self.assertEqual(key.stat().st_mode & 0o077, 0, key)

    def test_its_folders_are_the_real_ones(self):
        sys.path.insert(0, str(EXAMPLE))
        self.addCleanup(sys.path.remove, str(EXAMPLE))
        from make_dataset import folders
        names = folders()
        self.assertEqual(len(set(names)), 133)
        for name in ("001.Affenpinscher", "096.Labrador_retriever", "098.Leonberger", "103.Mastiff", "133.Yorkshire_terrier"):
            self.assertIn(name, names)


if __name__ == "__main__":
    unittest.main()
