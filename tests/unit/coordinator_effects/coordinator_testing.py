"""The coordinator with real processes: `musher serve` and `musher train` start a worker that only talks, under real mpirun.

The worker misbehaves as the job's Environment says, and waits for a file (FAKE_GATE) where a test has to hold it.
"""

from musher_testing import BUILD, MusherTest, make_images, make_job

WORKER = BUILD / "tests" / "fake_worker"


class CoordinatorTest(MusherTest):
    def setUp(self):
        super().setUp()
        self.samples = make_images(self.folder / "data", classes=2, per_class=5, size=8)
        self.gate = self.folder / "gate"

    def serve(self, *arguments, slots=2):
        return self.start_daemon("--trainer", WORKER, *arguments, slots=slots)

    def job(self, name, environment=None, retries=0, checkpoints=False, **options):
        job = make_job(name, f"file://{self.folder}/data", f"file://{self.folder}/out",
                       checkpoints=f"file://{self.folder}/checkpoints-{name}" if checkpoints else None, **options)
        job["Environment"] = {key: str(value) for key, value in (environment or {}).items()}
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        return job

    def submit(self, name, **options):
        self.assertEqual(self.musher("submit", self.write_job(self.job(name, **options)), code=0).stdout, f"{name}\n")

    def submit_held(self, name, **options):
        """Submits a job that trains one epoch and then waits for the gate; returns when it is there."""
        environment = {"FAKE_GATE": self.gate} | options.pop("environment", {})
        self.submit(name, environment=environment, **options)
        self.wait_until(lambda: "each once" in self.musher("status", name).stdout, 60, "the first epoch")

    def finished(self, name, status):
        """Watches the job to its end, which must be `status`; its description."""
        self.musher("watch", name, code={"Completed": 0, "Failed": 1, "Stopped": 3}[status])
        description = self.describe(name)
        self.assertEqual(description["TrainingJobStatus"], status)
        return description

    def restart(self, address):
        log = self.folder / "daemon2.log"
        again = self.processes.start(
            [self.command(["serve"])[0], "serve", "--state", self.folder / "state", "--listen", address, "--slots", "2",
             "--trainer", WORKER], env=self.environment, log=log)
        self.wait_until(lambda: again.poll() is None and self.musher("list").returncode == 0, 30, "the daemon is back")
        return again

    def mpi_sessions(self):
        """What the mpiruns of the daemon keep, each in a folder of its own."""
        return list(self.temporary.glob("musher-serve-*/*"))

    def failure(self, name, environment, **options):
        self.submit(name, environment=environment, **options)
        return self.finished(name, "Failed")["FailureReason"]
