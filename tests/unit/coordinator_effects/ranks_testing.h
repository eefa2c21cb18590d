#pragma once

// A coordinator with one job, whose ranks are threads of the test: real gRPC, no processes.

#include <fstream>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/thread.h"
#include "coordinator/coordinator.h"
#include "coordinator/job_file.h"
#include "coordinator/server.h"
#include "coordinator/temporary_folder.h"
#include "jobs.grpc.pb.h"
#include "trainer/client/coordinator_client.h"
#include "workers.grpc.pb.h"

namespace musher {

inline Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

/// A job of `size` ranks with four virtual workers and nine samples, once they have joined.
class RanksTest : public testing::Test {
 protected:
  explicit RanksTest(int size = 2) : size_(size) {}

  void SetUp() override {
    for (int i = 0; i < 9; ++i) {
      const auto file =
          folder_.path() / "data" / (i % 2 ? "a" : "b") / (std::to_string(i) + ".png");
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << "not decoded here";
    }
    std::ofstream(folder_.path() / "job.json") << R"({
      "TrainingJobName": "j", "AlgorithmSpecification": {"TrainingInputMode": "File"},
      "HyperParameters": {"model": "convnet", "batch_size": "4", "virtual_workers": "4", "epochs": "2"},
      "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": "file://./data"}}}],
      "OutputDataConfig": {"S3OutputPath": "file://./out"},
      "CheckpointConfig": {"S3Uri": "file://./checkpoints"},
      "ResourceConfig": {"InstanceCount": 2}, "StoppingCondition": {"MaxRuntimeInSeconds": 60}})";
    start_coordinator("127.0.0.1:0");
    coordinator_->create(read_job_file(folder_.path() / "job.json", size_).request, {size_, ""});
    while (coordinator_->token("j").empty()) {
      ASSERT_FALSE(soon().expired());
      coordinator_->wait_for_change(coordinator_->version(),
                                    Deadline::after(std::chrono::milliseconds(10)));
    }
    token_ = coordinator_->token("j");
  }

  void start_coordinator(const std::string& listen) {
    CoordinatorOptions options;
    options.state = folder_.path() / "state";
    options.hosts = {{"localhost", size_}};
    options.ranks_are_here = true;
    options.heartbeat_seconds = 0.02;
    coordinator_ = std::make_unique<Coordinator>(options, make_silent_logger());
    server_ = std::make_unique<Server>(*coordinator_, listen);
    coordinator_->start(server_->address());
  }

  std::unique_ptr<CoordinatorClient> client(int rank, const std::string& token,
                                            std::uint64_t attempt = 1) {
    return std::make_unique<CoordinatorClient>(server_->address(),
                                               RankIdentity{"j", attempt, rank, size_, token});
  }

  /// All ranks, joined.
  void join_all() {
    std::vector<Thread> others;
    for (int rank = 0; rank < size_; ++rank) ranks_.push_back(client(rank, token_));
    for (int rank = 1; rank < size_; ++rank) {
      others.emplace_back("rank", [this, rank] { ranks_[rank]->join("h", soon()); });
    }
    membership_ = ranks_[0]->join("h", soon());
    for (Thread& other : others) other.join_and_rethrow();
  }

  v1::RankId id_of(int rank, std::uint64_t generation) const {
    v1::RankId id;
    id.set_job("j");
    id.set_attempt(1);
    id.set_generation(generation);
    id.set_rank(rank);
    id.set_token(token_);
    return id;
  }
  /// A call as it goes over the wire, once.
  template <typename Method, typename Request>
  auto raw(Method method, Request request, const v1::RankId& id) {
    const auto stub = v1::Workers::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    *request.mutable_id() = id;
    return call(*stub, method, request);
  }

  void wait_over() {
    while (!coordinator_->progress("j").over()) {
      ASSERT_FALSE(soon().expired());
      coordinator_->wait_for_change(coordinator_->version(),
                                    Deadline::after(std::chrono::milliseconds(50)));
    }
  }

  std::vector<std::string> notices() {
    const auto progress = coordinator_->progress("j");
    return {progress.notices().begin(), progress.notices().end()};
  }

  static ErrorCode code_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  }

  template <typename Request, typename Reply>
  static Reply call(v1::Workers::Stub& stub,
                    grpc::Status (v1::Workers::Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Reply*),
                    const Request& request) {
    grpc::ClientContext context;
    Reply reply;
    const grpc::Status status = (stub.*method)(&context, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply;
  }

  const int size_;
  TemporaryFolder folder_{"musher-test"};
  std::string token_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Server> server_;
  Membership membership_;
  std::vector<std::unique_ptr<CoordinatorClient>> ranks_;
};

}  // namespace musher
