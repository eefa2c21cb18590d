"""EC2 takes hosts back: notices of a stand-in metadata service."""
import re
import time
import unittest

from interruption_testing import InterruptionTest
from metadata_server import ACTION, REBALANCE, MetadataServer
from musher_testing import LIMIT, free_port

WAIT = 3 * LIMIT  # MaxWaitTimeInSeconds
POLL = 60         # seconds for a question that comes every five


def time_text(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Spot(InterruptionTest):
    def setUp(self):
        super().setUp()
        self.metadata = MetadataServer()
        self.addCleanup(self.metadata.stop)
        self.environment |= self.metadata.env()

    def short_job(self, name, **options):
        return self.job(name, model="convnet", image_size=16, epochs=2, checkpoints=None, **options)

    def test_a_notice_interrupts_the_job_and_costs_no_retry(self):
        self.start_daemon()
        name = self.submit(self.job("spot", wait=WAIT))
        self.wait_for_step(name, 2)
        self.metadata.revoke_token()
        when = time_text(-30)  # so that the host is soon trusted again
        self.metadata.put(ACTION, {"action": "terminate", "time": when})
        self.wait_for_history(name, "EC2 takes host .* back")
        self.metadata.remove(ACTION)
        resumed = int(self.wait_for_history(name, r"resumed at step (\d+) from")[1])
        self.assertEqual(resumed, self.saved_step(name))
        self.assertGreaterEqual(resumed, 2)
        self.musher("watch", name, code=0)
        description = self.describe(name)
        self.assertTrue(description["EnableManagedSpotTraining"])
        self.assertEqual(len(self.interruptions(description)), 1)
        self.assertRegex(self.interruptions(description)[0], rf"^EC2 takes host \S+ back \(terminate at {when}\)$")
        statuses = [one["Status"] for one in description["SecondaryStatusTransitions"]]
        self.assertEqual(statuses[statuses.index("Interrupted") - 1:][:3:2], [statuses[statuses.index("Interrupted") - 1], "Starting"])
        self.assertGreater(self.metadata.refused, 0, "the old token was tried, and a new one fetched")
        self.assert_as_if_unbroken(name)

    def test_a_recommendation_to_leave_saves_a_checkpoint_and_training_goes_on(self):
        self.start_daemon()
        self.metadata.put(REBALANCE, {"noticeTime": "2026-01-02T03:04:05Z"})
        name = self.submit(self.job("rebalanced", wait=WAIT, epochs=1))
        self.musher("watch", name, code=0)
        self.assertEqual(self.interruptions(self.describe(name)), [])
        history = self.status(name)
        notices = re.findall(r"EC2 recommends to leave host \S+ \(rebalance, noticed 2026-01-02T03:04:05Z\)", history)
        self.assertEqual(len(notices), 1, history)
        steps = [int(step) for step in re.findall(r"checkpoint at step (\d+):", history)]
        self.assertEqual(len(steps), 2, f"one at the end of the epoch, and one before:\n{history}")

    def test_only_spot_jobs_are_watched_over(self):
        self.start_daemon()
        self.metadata.put(ACTION, {"action": "terminate", "time": time_text(120)})
        name = self.submit(self.short_job("plain"))
        self.musher("watch", name, code=0)
        self.assertEqual([path for path in self.metadata.asked if path in (ACTION, REBALANCE)], [])

    def test_one_rank_of_a_host_watches(self):
        self.start_daemon()
        name = self.submit(self.job("watched", wait=WAIT))
        self.wait_for_step(name, 1)
        self.assertTrue(self.metadata.wait_asked(1, POLL))
        self.musher("stop", name, code=0)
        self.musher("watch", name, code=3)
        self.assertEqual(self.metadata.tokens_made, 1)

    def test_where_nothing_can_be_asked_training_goes_on(self):
        cases = [({"AWS_EC2_METADATA_DISABLED": "true"}, "AWS_EC2_METADATA_DISABLED is true"),
                 ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{free_port()}"}, "can't be watched for: http://127")]
        for number, (environment, says) in enumerate(cases):
            job = self.short_job(f"unwatched-{number}", wait=WAIT)
            job["Environment"] = environment
            with self.subTest(environment):
                if self.address is None:
                    self.start_daemon()
                name = self.submit(job)
                self.musher("watch", name, code=0)
                self.assertEqual(self.status(name).count(says), 1, self.status(name))


if __name__ == "__main__":
    unittest.main()
