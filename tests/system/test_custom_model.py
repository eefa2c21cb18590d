"""What `cmake --install` leaves is enough for a program that adds a model to the trainer: examples/custom-model, as a user
builds it, trains."""
import shutil
import unittest

from musher_testing import BUILD, MPIRUN, ROOT, MusherTest, make_images, make_job, metrics_of

EXAMPLE = ROOT / "examples" / "custom-model"


class CustomModel(MusherTest):
    def run_tool(self, *words):
        done = self.processes.run([*map(str, words)], env=self.environment, cwd=self.folder, timeout=300)
        self.assertEqual(done.returncode, 0, f"{' '.join(map(str, words))}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def build_example(self):
        """The program, built against an installation of the build that is tested, from a copy without the tree around it."""
        prefix = self.folder / "installed"
        self.run_tool("cmake", "--install", BUILD, "--prefix", prefix)
        shutil.copytree(EXAMPLE, self.folder / "example")
        build = self.folder / "example-build"
        self.run_tool("cmake", "-G", "Ninja", "-S", self.folder / "example", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
                      "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
        self.run_tool("cmake", "--build", build)
        return prefix, build / "patchnet-trainer"

    def job(self, name, **options):
        return make_job(name, f"file://{self.folder}/images", f"file://{self.folder}/jobs",
                        validation=f"file://{self.folder}/images",
                        **({"model": "custom:patchnet", "epochs": 6, "optimizer": "adamw", "learning_rate": 0.01} | options))

    def test_a_model_in_under_60_lines_trains(self):
        self.assertLess(len((EXAMPLE / "main.cpp").read_text().splitlines()), 60)
        make_images(self.folder / "images")
        prefix, trainer = self.build_example()

        description, _ = self.train(self.job("patchnet"), "--trainer", trainer)
        self.assertGreaterEqual(metrics_of(description)["validation:accuracy"], 0.9)
        weights = self.weights(description)
        self.assertEqual(weights["head.weight"].shape, (3, 64))

        # By the installed `musher`; what was trained is a beginning, as for Musher's own models.
        folder = self.artifact(description)
        job = self.write_job(self.job("tuned", epochs=1, initial_weights=f"file://{folder}/model.safetensors",
                                      freeze_backbone="true"))
        self.run_tool(prefix / "bin" / "musher", "train", job, "--trainer", trainer)
        tuned = self.weights({"ModelArtifacts": {"S3ModelArtifacts": f"file://{self.folder}/jobs/tuned/output/model.tar.gz"}})
        self.assert_same_weights({"patches": tuned["patches.weight"]}, {"patches": weights["patches.weight"]})
        self.assert_other_weights({"head": tuned["head.weight"]}, {"head": weights["head.weight"]})

        # By hand.
        self.run_tool(MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", "2", trainer, "--job",
                      self.write_job(self.job("by-hand", epochs=1)))

    def test_a_program_that_does_not_know_the_model_says_so(self):
        make_images(self.folder / "images", per_class=4)
        description, _ = self.train(self.job("unknown"), code=1)
        self.assertIn("model custom:patchnet: this program has no models of its own", description["FailureReason"])
        self.assertIn("--trainer", description["FailureReason"])
        wrong = self.musher("validate", self.write_job(self.job("wrong", model="custom:patch net")), code=2)
        self.assertIn("HyperParameters.model", wrong.stdout + wrong.stderr)
        self.assert_nothing_runs()


if __name__ == "__main__":
    unittest.main()
