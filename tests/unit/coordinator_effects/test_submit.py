"""Submissions that are cut off, repeated, or compete for a name."""

import json
import socket
import threading
import unittest

from coordinator_testing import CoordinatorTest
from musher_testing import free_port


class LostAnswer:
    """A proxy in front of the coordinator that lets the first call through and loses its answer: once `lost()` says that the
    call was carried out, that connection ends. Later connections are left alone."""

    def __init__(self, address, mark, lost):
        self.target = address
        self.mark, self.lost = mark, lost
        self.cut = threading.Event()  # the answer was lost
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            host, port = self.target.split(":")
            server = socket.create_connection((host, int(port)))
            self.sockets += [client, server]
            asked = threading.Event()
            threading.Thread(target=self.copy, args=(client, server, asked, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, asked, True), daemon=True).start()

    def copy(self, source, target, asked, answers):
        try:
            while data := source.recv(65536):
                if not answers and self.mark in data:
                    asked.set()
                if answers and asked.is_set() and not self.cut.is_set() and self.lost():
                    self.cut.set()
                    break
                if answers and asked.is_set() and not self.cut.is_set():
                    continue  # an acknowledgement of HTTP/2, or the answer itself: it does not arrive
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for end in (self.listener, *self.sockets):
            end.close()


class Submissions(CoordinatorTest):
    def setUp(self):
        super().setUp()
        self.serve()

    def names(self):
        return sorted(job["TrainingJobName"] for job in json.loads(
            self.musher("list", "--json", code=0).stdout)["TrainingJobSummaries"])

    def submit_to(self, address, path, *words):
        command = self.command(["submit", path, *words])[:-1] + [address]
        return self.processes.run(command, env=self.environment, cwd=self.folder, timeout=60)

    def test_an_answer_that_was_lost_does_not_make_two_jobs_or_an_error(self):
        proxy = LostAnswer(self.address, b"only-once", lambda: "only-once" in self.names())
        self.addCleanup(proxy.close)
        done = self.submit_to(proxy.address, self.write_job(self.job("only-once")))
        self.assertTrue(proxy.cut.is_set(), "the answer was not lost: this tests nothing")
        self.assertEqual((done.returncode, done.stdout), (0, "only-once\n"), done.stderr)
        self.assertEqual(self.names(), ["only-once"])

    def test_the_same_command_again_with_its_token(self):
        nameless = self.job("x")
        del nameless["TrainingJobName"]
        path = self.write_job(nameless)
        first = self.musher("submit", path, "--client-token", "run-7", code=0).stdout
        self.wait_until(lambda: self.musher("status", first.strip()).returncode == 0, 10, "it is there")
        # A second later the name that is made up would be another.
        nameless["TrainingJobName"] = "another-name"
        path = self.write_job(nameless)
        self.assertEqual(self.musher("submit", path, "--client-token", "run-7", code=0).stdout, first)
        self.assertEqual(self.names(), [first.strip()])
        nameless["HyperParameters"]["epochs"] = "7"
        done = self.musher("submit", self.write_job(nameless), "--client-token", "run-7", code=2)
        self.assertIn("another job", done.stderr)
        self.musher("submit", self.write_job(nameless), "--client-token", "t" * 65, code=2)
        self.assertEqual(self.names(), [first.strip()])

    def test_of_many_submitters_of_one_name_one_wins(self):
        jobs = []
        for i in range(6):
            path = self.write_job(self.job("wanted", environment={"WHO": i}), f"{i}.json")
            jobs.append(self.processes.start(self.command(["submit", path]), env=self.environment, cwd=self.folder,
                                             log=self.folder / f"{i}.log"))
        codes = [job.wait(timeout=60) for job in jobs]
        self.assertEqual(sorted(codes), [0, 2, 2, 2, 2, 2])
        self.assertEqual(self.describe("wanted")["Environment"]["WHO"], str(codes.index(0)), "it is the winner's job")
        for i, code in enumerate(codes):
            if code:
                self.assertIn('"wanted" already', (self.folder / f"{i}.log").read_text())

    def test_a_coordinator_that_is_not_there_is_told_at_once(self):
        done = self.submit_to(f"127.0.0.1:{free_port()}", self.write_job(self.job("nowhere")))
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Queue(CoordinatorTest):
    def submit_as(self, name, *words, limit=None, **options):
        job = self.job(name, **options)
        if limit:
            job["StoppingCondition"]["MaxRuntimeInSeconds"] = limit
        self.musher("submit", self.write_job(job), *words, code=0)

    def places(self):
        queue = json.loads(self.musher("queue", "--json", code=0).stdout)
        return [(job["TrainingJobName"], job.get("Position", 0)) for job in queue["Jobs"]], queue

    def test_priorities_and_turns_of_the_submitters(self):
        self.serve()
        self.submit_as("held", "--submitter", "ada", environment={"FAKE_GATE": self.gate})
        self.wait_until(lambda: self.places()[0] == [("held", 0)], 30, "it runs")
        self.submit_as("ada-2", "--submitter", "ada")
        self.submit_as("bob-1", "--submitter", "bob")
        self.submit_as("urgent", "--submitter", "ada", "--priority", 5)
        self.submit_as("giant", workers=3, batch_size=6, virtual_workers=6)
        places, queue = self.places()
        self.assertEqual(places, [("held", 0), ("urgent", 1), ("bob-1", 2), ("ada-2", 3), ("giant", 4)])
        self.assertEqual((queue["Slots"], queue.get("FreeSlots", 0)), (2, 0))
        self.assertEqual(queue["Jobs"][1]["Priority"], 5)
        self.assertGreaterEqual(queue["Jobs"][1]["By"], queue["Jobs"][1]["Since"])
        table = self.musher("queue", code=0).stdout
        self.assertRegex(table, r"runs  held +ada ")
        self.assertRegex(table, r"4  giant .* needs more slots than there are, 2")
        self.gate.touch()
        starts = [self.finished(name, "Completed")["TrainingStartTime"] for name in ("urgent", "bob-1", "ada-2")]
        self.assertEqual(starts[0], min(starts), "whose turn it is then is decided then")
        self.musher("submit", self.write_job(self.job("x")), "--priority", 101, code=2)

    def test_a_short_job_overtakes_and_a_long_one_does_not(self):
        self.serve()
        self.submit_as("held", workers=1, environment={"FAKE_GATE": self.gate}, limit=3600)
        self.wait_until(lambda: self.places()[0] == [("held", 0)], 30, "it runs")
        self.submit_as("head", workers=2)
        self.submit_as("long", workers=1, limit=7200)
        self.submit_as("short", workers=1, limit=600)
        self.finished("short", "Completed")
        self.assertEqual(self.places()[0], [("held", 0), ("head", 1), ("long", 2)])
        self.gate.touch()
        head, long = [self.finished(name, "Completed") for name in ("head", "long")]
        self.assertGreaterEqual(long["TrainingStartTime"], head["TrainingEndTime"])


if __name__ == "__main__":
    unittest.main()
