"""mpirun, ranks and the daemon are told to end, or killed: no step is lost where there is time to save it."""
import os
import re
import signal
import unittest

from interruption_testing import InterruptionTest
from musher_testing import LIMIT


class Interrupt(InterruptionTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()

    def assert_no_step_lost(self, name, cause):
        """It was stopped by SIGTERM: the next attempt goes on at the very step that the first one committed last."""
        resumed = int(self.wait_for_history(name, rf"resumed at step (\d+) from")[1])
        self.assertEqual(resumed, self.saved_step(name))
        self.musher("watch", name, code=0)
        description = self.describe(name)
        self.assertEqual(len(self.interruptions(description)), 1, description)
        self.assertRegex(self.interruptions(description)[0], cause)
        self.assert_as_if_unbroken(name)
        return resumed

    def test_sigterm_to_mpirun(self):
        name = self.submit(self.job("terminated", retries=1))
        self.wait_for_step(name, 3)
        os.kill(self.mpirun(name), signal.SIGTERM)
        resumed = self.assert_no_step_lost(name, "mpirun was told to end by signal 15")
        self.assertGreaterEqual(resumed, 3)

    def test_sigterm_to_one_rank(self):
        name = self.submit(self.job("one", retries=1))
        self.wait_for_step(name, 3)
        os.kill(self.ranks(name)[-1], signal.SIGTERM)
        self.assert_no_step_lost(name, "was told to end by signal 15")

    def test_sigterm_to_all_as_at_a_shutdown_of_the_host(self):
        """The daemon goes at once; the ranks wait for the one that takes its place, with their state saved."""
        name = self.submit(self.job("shutdown", retries=1))
        self.wait_for_step(name, 3)
        for pid in [self.mpirun(name), *self.ranks(name)]:
            os.kill(pid, signal.SIGTERM)
        self.stop_daemon(self.daemon)
        self.start_daemon(address=self.address)
        self.assert_no_step_lost(name, "was told to end by signal 15")

    def test_the_daemon_is_told_to_end_and_the_job_goes_on(self):
        name = self.submit(self.job("adopted"))
        for number in (signal.SIGTERM, signal.SIGINT):
            self.wait_for_step(name, self.step(name) + 2)
            ranks = self.ranks(name)
            self.stop_daemon(self.daemon, number)
            self.assertEqual(self.ranks(name), ranks)
            self.daemon = self.start_daemon(address=self.address)
        self.musher("watch", name, code=0)
        self.assertEqual(self.interruptions(self.describe(name)), [])
        self.assert_as_if_unbroken(name)

    def test_without_attempts_left_it_fails_and_says_why(self):
        name = self.submit(self.job("last"))
        self.wait_for_step(name, 1)
        os.kill(self.mpirun(name), signal.SIGTERM)
        self.musher("watch", name, code=1)
        self.assertRegex(self.describe(name)["FailureReason"], "^mpirun was told to end by signal 15")

    def test_mpirun_is_killed(self):
        name = self.submit(self.job("killed", retries=1, checkpoint_every_steps=2))
        self.wait_for_history(name, "checkpoint at step [1-9]")
        ranks = self.ranks(name)
        os.kill(self.mpirun(name), signal.SIGKILL)
        self.wait_until(lambda: not set(ranks) & set(self.children()), LIMIT, "its ranks are gone")
        resumed = int(self.wait_for_history(name, r"resumed at step (\d+) from")[1])
        before = self.status(name).split("resumed at step")[0]
        self.assertEqual(resumed, max(map(int, re.findall(r"checkpoint at step (\d+):", before))))
        self.musher("watch", name, code=0)
        self.assertEqual(len(self.interruptions(self.describe(name))), 1)
        self.assert_as_if_unbroken(name, steps_lost=True)

    def test_ranks_of_a_killed_mpirun_end_without_a_daemon_too(self):
        name = self.submit(self.job("alone", retries=1, checkpoint_every_steps=2))
        self.wait_for_history(name, "checkpoint at step [1-9]")
        mpirun = self.mpirun(name)
        self.stop_daemon(self.daemon, signal.SIGKILL)
        os.kill(mpirun, signal.SIGKILL)
        self.start_daemon(address=self.address)
        self.wait_for_history(name, r"resumed at step (\d+) from")
        self.musher("watch", name, code=0)
        self.assert_as_if_unbroken(name, steps_lost=True)


if __name__ == "__main__":
    unittest.main()
