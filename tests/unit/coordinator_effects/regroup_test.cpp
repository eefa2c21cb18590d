// Ranks that go on without others, over real gRPC.

#include "ranks_testing.h"

namespace musher {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using Stub = v1::Workers::Stub;

class RegroupTest : public RanksTest {
 protected:
  RegroupTest() : RanksTest(3) {}

  v1::RegroupReply regroup(int rank, std::uint64_t generation, const std::vector<int>& members,
                           const std::string& cause = "an all-reduce failed") {
    v1::RegroupRequest request;
    for (const int member : members) request.add_members(member);
    request.set_step(7);
    request.set_cause(cause);
    return raw(&Stub::Regroup, request, id_of(rank, generation));
  }

  v1::FinishReply finish(int rank, std::uint64_t generation, v1::FinishRequest::Outcome outcome) {
    v1::FinishRequest request;
    request.set_outcome(outcome);
    request.set_artifact("file:///somewhere/model.tar.gz");
    return raw(&Stub::Finish, request, id_of(rank, generation));
  }

  v1::ReportReply report(int rank, std::uint64_t generation, v1::ReportRequest request = {}) {
    return raw(&Stub::Report, request, id_of(rank, generation));
  }

  /// Who has a virtual worker, and that each has one owner.
  std::vector<int> owners(std::uint64_t generation, const std::vector<int>& ranks) {
    std::vector<int> owner(4, -1);
    for (const int rank : ranks) {
      v1::AssignmentRequest request;
      request.set_channel("train");
      const auto reply = raw(&Stub::GetAssignment, request, id_of(rank, generation));
      EXPECT_FALSE(reply.stale());
      for (const auto& share : reply.shares()) {
        EXPECT_EQ(owner[share.virtual_worker()], -1);
        owner[share.virtual_worker()] = rank;
      }
    }
    return owner;
  }
};

TEST_F(RegroupTest, TheOthersTakeTheVirtualWorkersOverAndTheDeadOneIsRefused) {
  join_all();
  const auto reply = regroup(0, 1, {0, 2});
  EXPECT_FALSE(reply.stale());
  EXPECT_EQ(reply.generation(), 2u);
  EXPECT_THAT(reply.virtual_worker_rank(), ElementsAre(0, 0, 2, 2));
  EXPECT_THAT(owners(2, {0, 2}), ElementsAre(0, 0, 2, 2));
  EXPECT_TRUE(report(1, 1).stale());
  EXPECT_TRUE(report(1, 2).stale());
  EXPECT_TRUE(regroup(1, 1, {1}).stale());
  EXPECT_TRUE(regroup(1, 1, {1, 2}).stale());
  EXPECT_TRUE(finish(1, 1, v1::FinishRequest::COMPLETED).stale());
  EXPECT_EQ(coordinator_->progress("j").ranks(), 2);
  EXPECT_EQ(coordinator_->progress("j").generation(), 2u);
}

TEST_F(RegroupTest, AnAnswerThatWasLostIsGivenAgain) {
  join_all();
  EXPECT_EQ(regroup(0, 1, {0, 2}).generation(), 2u);
  EXPECT_EQ(regroup(0, 1, {0, 2}).generation(), 2u);
  EXPECT_FALSE(regroup(0, 1, {0, 2}).stale());
}

TEST_F(RegroupTest, UntilItHasLearnedOfTheNewGenerationAMembersReportIsNotTakenAndNotRefused) {
  join_all();
  regroup(0, 1, {0, 2});
  v1::ReportRequest request;
  request.add_notices("from the one that has yet to learn");
  request.add_notice_time_ms(5);
  const auto reply = report(2, 1, request);
  EXPECT_TRUE(reply.later());
  EXPECT_FALSE(reply.stale());
  EXPECT_THAT(notices(), testing::Not(Contains(HasSubstr("yet to learn"))));
  v1::AssignmentRequest assignment;
  assignment.set_channel("train");
  EXPECT_TRUE(raw(&Stub::GetAssignment, assignment, id_of(2, 1)).stale());
  EXPECT_FALSE(report(2, 2, request).later());
  EXPECT_THAT(notices(), Contains(HasSubstr("yet to learn")));
}

TEST_F(RegroupTest, WhenTheLeaderIsGoneTheNextSpeaksForAll) {
  join_all();
  v1::ReportRequest request;
  request.set_phase(v1::ReportRequest::TRAINING);
  request.set_step(3);
  report(1, 1, request);
  EXPECT_EQ(coordinator_->progress("j").step(), 0u) << "1 does not lead";
  regroup(1, 1, {1, 2});
  report(1, 2, request);
  EXPECT_EQ(coordinator_->progress("j").step(), 3u);
  EXPECT_FALSE(finish(1, 2, v1::FinishRequest::COMPLETED).stale());
  EXPECT_FALSE(finish(2, 2, v1::FinishRequest::COMPLETED).stale());
  wait_over();
  const auto job = coordinator_->describe("j");
  EXPECT_EQ(job.training_job_status(), v1::TrainingJobStatus::Completed);
  EXPECT_EQ(job.model_artifacts().s3_model_artifacts(), "file:///somewhere/model.tar.gz");
}

TEST_F(RegroupTest, TheHistoryTellsOnceHoweverOftenItIsReported) {
  join_all();
  regroup(0, 1, {0, 2}, "an all-reduce failed");
  regroup(0, 2, {0}, "again");
  v1::ReportRequest request;
  request.mutable_recovery()->set_generation(3);
  request.mutable_recovery()->set_step(8);
  request.mutable_recovery()->set_ran_again(true);
  request.mutable_recovery()->set_seconds(0.25);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(report(0, 3, request).stale());
  EXPECT_THAT(notices(),
              ElementsAre("rank 1 on host h is gone: an all-reduce failed; rank 2 on host h is "
                          "gone: again; 1 rank went on with step 8 after 0.25 s, which was run "
                          "again"));
}

TEST_F(RegroupTest, ANewcomerThatNobodyAskedForIsRefused) {
  join_all();
  EXPECT_EQ(code_of([&] { client(3, token_)->join_as_newcomer("h", soon()); }),
            ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(regroup(0, 1, {0, 1, 2, 3}).stale());
  EXPECT_FALSE(report(0, 1).stale());
}

TEST_F(RegroupTest, RanksThatWaitForEachOtherForEverAreToldToGiveUpOncePerGeneration) {
  join_all();
  for (auto& rank : ranks_) {
    rank->watch_activity([] { return ActivityNow{Activity::kWaitingForRanks, 1'000}; });
  }
  const Deadline deadline = soon();
  while (!ranks_[2]->directives().regroup) {
    ASSERT_FALSE(deadline.expired());
    coordinator_->wait_for_change(coordinator_->version(),
                                  Deadline::after(std::chrono::milliseconds(20)));
  }
  EXPECT_EQ(regroup(0, 1, {0, 1, 2}, "").generation(), 2u);
  EXPECT_FALSE(report(0, 2).regroup());
  EXPECT_EQ(coordinator_->progress("j").ranks(), 3);
}

}  // namespace
}  // namespace musher
