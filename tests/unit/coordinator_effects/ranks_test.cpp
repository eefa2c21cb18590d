// The coordinator and its ranks' client over real gRPC.

#include "ranks_testing.h"

namespace musher {
namespace {

using testing::HasSubstr;

TEST_F(RanksTest, AWrongTokenAnOldAttemptAndAStrangerAreRefused) {
  EXPECT_EQ(code_of([&] { client(0, "wrong")->join("h", soon()); }),
            ErrorCode::kFailedPrecondition);
  EXPECT_EQ(code_of([&] { client(0, token_, 7)->join("h", soon()); }),
            ErrorCode::kFailedPrecondition);
  EXPECT_EQ(code_of([&] { client(2, token_)->join("h", soon()); }), ErrorCode::kFailedPrecondition);
  join_all();
  EXPECT_EQ(membership_.generation, 1u);
}

/// Join of rank 0, as it goes over the wire.
grpc::Status join_alone(const std::string& address, const v1::RankId& id,
                        std::chrono::milliseconds limit) {
  const auto stub =
      v1::Workers::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::JoinRequest request;
  *request.mutable_id() = id;
  request.set_world_size(2);
  request.set_host("h");
  request.set_pid(::getpid());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  v1::JoinReply reply;
  return stub->Join(&context, request, &reply);
}

TEST_F(RanksTest, AJoinThatWaitsForOthersIsAnsweredBeforeItsTimeIsUp) {
  const grpc::Status status =
      join_alone(server_->address(), id_of(0, 0), std::chrono::milliseconds(2000));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the other ranks or the data are not there yet"));
}

TEST_F(RanksTest, AJoinThatWaitsForOthersIsAnsweredWhenTheServerEnds) {
  grpc::Status status;
  Thread waits("waits", [&, address = server_->address()] {
    status = join_alone(address, id_of(0, 0), std::chrono::minutes(10));
  });
  server_.reset();
  waits.join_and_rethrow();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST_F(RanksTest, EveryCallOfAStaleCallerSaysStale) {
  join_all();
  const auto stub = v1::Workers::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  v1::RankId id;
  id.set_job("j");
  id.set_attempt(1);
  id.set_generation(2);  // not made yet
  id.set_token(token_);
  const auto asks = [&](auto method, auto request, auto reply) {
    grpc::ClientContext context;
    *request.mutable_id() = id;
    EXPECT_TRUE(((*stub).*method)(&context, request, &reply).ok());
    return reply.stale();
  };
  using Stub = v1::Workers::Stub;
  for (const char* token : {token_.c_str(), "wrong"}) {
    id.set_token(token);
    EXPECT_TRUE(asks(&Stub::GetAssignment, v1::AssignmentRequest(), v1::Assignment()));
    EXPECT_TRUE(asks(&Stub::Report, v1::ReportRequest(), v1::ReportReply()));
    EXPECT_TRUE(asks(&Stub::ReportSlice, v1::SliceReport(), v1::SliceReply()));
    EXPECT_TRUE(asks(&Stub::Finish, v1::FinishRequest(), v1::FinishReply()));
    id.set_generation(1);
  }
  EXPECT_FALSE(coordinator_->progress("j").over());
}

TEST_F(RanksTest, AnEpochThatTheLeaderDidNotLiveToReportIsInTheHistory) {
  join_all();
  const EpochResult epoch{0, ranks_[1]->assignment("train", 0, soon()).expected, {}, {}};
  for (auto rank = ranks_.rbegin(); rank != ranks_.rend(); ++rank) {
    (*rank)->epoch(epoch);
    (*rank)->flush(soon());
    const auto progress = coordinator_->progress("j");
    EXPECT_THAT(progress.notices(), testing::ElementsAre(HasSubstr("9 of 9 samples, each once")));
  }
}

TEST_F(RanksTest, TheAssignmentsOfAllRanksAreTheWholeEpochOnce) {
  join_all();
  Digest sum;
  std::uint64_t virtual_workers = 0;
  Digest expected;
  for (auto& rank : ranks_) {
    const EpochAssignment assignment = rank->assignment("train", 1, soon());
    expected = assignment.expected;
    for (const VirtualWorkerRuns& share : assignment.shares) {
      ++virtual_workers;
      for (const musher::Run& run : share.runs) {
        const auto samples = rank->shards("train", {run.shard}, soon()).at(0);
        for (std::uint64_t i = 0; i < run.count; ++i)
          sum.add(samples.at(run.first + i).key_hash, 1);
      }
    }
  }
  EXPECT_EQ(virtual_workers, 4u);
  EXPECT_EQ(sum, expected);
  EXPECT_EQ(sum.samples, 9u);
  EXPECT_EQ(code_of([&] { ranks_[0]->assignment("tests", 0, soon()); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { ranks_[0]->shards("train", {99}, soon()); }),
            ErrorCode::kInvalidArgument);
}

TEST_F(RanksTest, AReportThatIsSentAgainIsTakenOnce) {
  join_all();
  const auto stub = v1::Workers::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  v1::ReportRequest report;
  report.mutable_id()->set_job("j");
  report.mutable_id()->set_attempt(1);
  report.mutable_id()->set_generation(1);
  report.mutable_id()->set_token(token_);
  report.add_notices("said once");
  report.add_notice_time_ms(5);
  const Digest whole = ranks_[0]->assignment("train", 0, soon()).expected;
  auto* epoch = report.add_epochs();
  epoch->set_samples(whole.samples);
  epoch->set_sum(whole.sum);
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    v1::ReportReply reply;
    ASSERT_TRUE(stub->Report(&context, report, &reply).ok());
    EXPECT_FALSE(reply.stale());
  }
  EXPECT_THAT(notices(),
              testing::UnorderedElementsAre("said once", "epoch 1: 9 of 9 samples, each once"));
}

TEST_F(RanksTest, TheCheckpointStandsWithItsLastSliceAndNotBefore) {
  join_all();
  const auto manifest = folder_.path() / "checkpoints" / "step-1" / "manifest.json";
  const SliceWritten first{"step-1", 1, 0, 2, "rank-0", 3, 4, "{}"};
  EXPECT_FALSE(ranks_[0]->slice_written(first, soon()));
  EXPECT_FALSE(ranks_[0]->slice_written(first, soon())) << "said again, it is no second slice";
  EXPECT_FALSE(std::filesystem::exists(manifest));
  const SliceWritten last{"step-1", 1, 1, 2, "rank-1", 3, 4, "{}"};
  EXPECT_TRUE(ranks_[1]->slice_written(last, soon()));
  EXPECT_TRUE(std::filesystem::exists(manifest));
  EXPECT_TRUE(ranks_[1]->slice_written(last, soon())) << "the answer was lost";
}

TEST_F(RanksTest, AStopReachesEveryRankAndTheJobEndsStopped) {
  join_all();
  coordinator_->stop("j");
  for (auto& rank : ranks_) {
    rank->flush(soon());
    EXPECT_TRUE(rank->directives().stop);
  }
  for (auto& rank : ranks_) rank->finish(Outcome::kStopped, "", "", {}, soon());
  wait_over();
  EXPECT_EQ(coordinator_->describe("j").training_job_status(), v1::TrainingJobStatus::Stopped);
}

TEST_F(RanksTest, ReportsOutliveACoordinatorThatIsAwayForAWhile) {
  join_all();
  const std::string address = server_->address();
  server_.reset();
  ranks_[0]->notice("made while it was away");
  EXPECT_EQ(code_of([&] { ranks_[0]->flush(Deadline::after(std::chrono::milliseconds(200))); }),
            ErrorCode::kDeadlineExceeded);
  // The same coordinator behind a new server: what ended was the way to it.
  server_ = std::make_unique<Server>(*coordinator_, address);
  ranks_[0]->flush(soon());
  EXPECT_THAT(notices(), testing::Contains("made while it was away"));
}

TEST_F(RanksTest, NobodyAnswersIsSaidInTimeWithTheAddress) {
  const std::string address = server_->address();
  server_.reset();
  try {
    CoordinatorClient(address, {"j", 1, 0, 2, token_})
        .join("h", Deadline::after(std::chrono::milliseconds(300)));
    FAIL() << "it joined";
  } catch (const Error& error) {
    EXPECT_TRUE(retry_helps(error.code()));
    EXPECT_THAT(error.what(), HasSubstr(address));
  }
}

}  // namespace
}  // namespace musher
