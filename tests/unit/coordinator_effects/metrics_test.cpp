// What GET /metrics of a coordinator says, while ranks come and go.

#include "monitoring/page.h"
#include "ranks_testing.h"

namespace musher {
namespace {

using testing::HasSubstr;
using testing::Not;
using Stub = v1::Workers::Stub;

class MetricsTest : public RanksTest {
 protected:
  MetricsTest() : RanksTest(3) {}

  std::string page() {
    MetricsPage metrics;
    coordinator_->add_metrics(metrics);
    return metrics.text();
  }
};

TEST_F(MetricsTest, FollowAJobAndItsRecovery) {
  EXPECT_THAT(page(), HasSubstr("\nmusher_jobs_submitted_total 1\n"));
  EXPECT_THAT(page(), HasSubstr("\nmusher_workers 0\n"));
  join_all();
  for (int rank = 0; rank < 3; ++rank) {
    Progress progress;
    progress.phase = Phase::kTraining;
    progress.step = 3;
    progress.steps = 10;
    progress.loss = 0.25;
    ranks_[rank]->progress(progress);
    ranks_[rank]->flush(soon());
  }
  for (const char* line :
       {"musher_workers 3", "musher_jobs{status=\"InProgress\"} 1", "musher_slots 3",
        "musher_unfinished_jobs{secondary_status=\"Training\"} 1", "musher_free_slots 0",
        "musher_recoveries_total 0", "musher_job_step{job=\"j\"} 3",
        "musher_job_loss{job=\"j\"} 0.25"}) {
    EXPECT_THAT(page(), HasSubstr(std::string("\n") + line + "\n"));
  }
  EXPECT_THAT(page(), Not(HasSubstr("\nmusher_heartbeats_total 0\n")));
  v1::RegroupRequest without_one;
  for (const int member : {0, 2}) without_one.add_members(member);
  without_one.set_cause("an all-reduce failed");
  raw(&Stub::Regroup, without_one, id_of(0, 1));
  for (const char* line :
       {"musher_recoveries_total 1", "musher_ranks_lost_total 1", "musher_workers 2"}) {
    EXPECT_THAT(page(), HasSubstr(std::string("\n") + line + "\n"));
  }
}

TEST_F(MetricsTest, CountCallsThatAreRefused) {
  EXPECT_EQ(code_of([&] { client(0, "wrong")->join("h", soon()); }),
            ErrorCode::kFailedPrecondition);
  EXPECT_THAT(page(), testing::ContainsRegex(
                          "musher_refused_calls_total\\{reason=\"[^\"]*token[^\"]*\"\\} [1-9]"));
}

}  // namespace
}  // namespace musher
