// NCCL's half of the collectives against a stand-in for NCCL and CUDA: what it does when things go
// wrong.
#include "trainer/collective/nccl.h"

#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "fake_nccl.h"
#include "thread_collective.h"
#include "trainer/collective/nccl_loader.h"

namespace musher {
namespace {

using ::testing::HasSubstr;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}
Deadline at_once() {
  return Deadline::after(std::chrono::milliseconds(50));
}

std::vector<float> numbers(int rank, std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), static_cast<float>(rank));
  return values;
}

Buffer buffer_of(std::vector<float>& values) {
  return {values.data(), values.size(), DType::kFloat32, nullptr};
}

/// What `body` fails with; empty when it does not.
template <typename Failure, typename Body>
std::string failure_of(Body&& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

/// The sum of the ranks' numbers is right on a collective of `size` ranks, as now numbered.
void expect_right_sum(Collective& ranks, int size) {
  ASSERT_EQ(ranks.size(), size);
  auto values = numbers(ranks.rank(), 1000);
  ranks.all_reduce(buffer_of(values))->wait(soon());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], static_cast<float>(size) * static_cast<float>(i) +
                             static_cast<float>(size * (size - 1) / 2));
  }
}

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override { fake_nccl::reset(); }
  void TearDown() override {
    const auto counts = fake_nccl::counts();
    EXPECT_EQ(counts.aborted, counts.made) << "each communicator is aborted";
    EXPECT_EQ(counts.aborted_again, 0) << "and once";
    EXPECT_EQ(counts.events, 0);
    EXPECT_EQ(counts.streams, 0);
  }

  using Body = std::function<void(ThreadRanks&, std::unique_ptr<Collective>, int)>;

  /// Runs `body` as each rank, with a NCCL collective over all of them.
  void run(int size, const Body& body, const NcclOptions& options = {}) {
    ThreadRanks bootstrap(size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        fake_nccl::this_thread_is(rank);
        try {
          body(bootstrap, make_nccl_collective(bootstrap.collective(rank), options, soon()), rank);
        } catch (const std::exception& error) {
          ADD_FAILURE() << "rank " << rank << ": " << error.what();
          bootstrap.kill(rank);
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
};

TEST_F(NcclTest, SumsAreRightAtOneToFourRanks) {
  for (int size = 1; size <= 4; ++size) {
    run(size, [&](ThreadRanks&, std::unique_ptr<Collective> ranks, int) {
      expect_right_sum(*ranks, size);
    });
  }
}

TEST_F(NcclTest, WorksOutstandingEndInOrder) {
  run(3, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    std::vector<std::vector<float>> values;
    std::vector<std::unique_ptr<Work>> works;
    for (std::size_t i = 0; i < 20; ++i)
      values.push_back(std::vector<float>(i + 1, static_cast<float>(rank + 1)));
    for (auto& one : values) works.push_back(ranks->all_reduce(buffer_of(one)));
    for (auto& work : works) work->wait(soon());
    for (auto& one : values) EXPECT_THAT(one, ::testing::Each(6.0f));
  });
}

TEST_F(NcclTest, BroadcastAndAllGather) {
  run(3, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank * 10, 4);
    ranks->broadcast(buffer_of(values), 2, soon());
    EXPECT_EQ(values, numbers(20, 4));
    auto own = numbers(rank, 1);
    std::vector<float> all(3);
    ranks->all_gather(buffer_of(own), buffer_of(all), soon());
    EXPECT_EQ(all, numbers(0, 3));
  });
}

TEST_F(NcclTest, AllocatedMemoryOutlivesTheCollective) {
  run(2, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int) {
    auto memory = ranks->allocate(4000, soon());
    ranks.reset();
    EXPECT_EQ(static_cast<float*>(memory.get())[999], 0.0f);
  });
}

TEST_F(NcclTest, TheReductionWaitsForWhatProducesTheGradient) {
  run(2, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int) {
    std::vector<float> gradient(1, -100.0f);
    void* producer = fake_nccl::start_producer(gradient.data(), 3.0f);
    auto work = ranks->all_reduce({gradient.data(), 1, DType::kFloat32, producer});
    EXPECT_EQ(gradient[0], -100.0f);
    fake_nccl::finish_producer(producer);
    work->wait(soon());
    EXPECT_EQ(gradient[0], 6.0f);
  });
}

TEST_F(NcclTest, CallsThatStayInProgressAreWaitedFor) {
  for (int rank = 0; rank < 3; ++rank) fake_nccl::stay_in_progress(rank, 500 * rank);
  run(3, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int) {
    expect_right_sum(*ranks, 3);
    expect_right_sum(*ranks, 3);
  });
}

TEST_F(NcclTest, ACallThatStaysInProgressForGoodIsCutOff) {
  run(2,
      [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
        if (rank == 1) fake_nccl::stay_in_progress(1, 1 << 30);
        auto values = numbers(rank, 10);
        EXPECT_NE(failure_of<PeerFailure>([&] {
                    for (int i = 0; i < 3; ++i) ranks->all_reduce(buffer_of(values))->wait(soon());
                  }),
                  "");
      },
      {.device = 0, .issue_timeout = std::chrono::milliseconds(50)});
}

class NcclAsyncErrorTest : public NcclTest, public ::testing::WithParamInterface<ncclResult_t> {};

TEST_P(NcclAsyncErrorTest, BecomesAPeerFailureOnEveryRank) {
  for (int rank = 0; rank < 3; ++rank) fake_nccl::never_complete(rank);
  run(3, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    auto work = ranks->all_reduce(buffer_of(values));
    if (rank == 1) fake_nccl::set_async_error(1, GetParam());
    EXPECT_NE(failure_of<PeerFailure>([&] { work->wait(soon()); }), "");
    EXPECT_TRUE(ranks->failure().has_value());
    EXPECT_NE(failure_of<PeerFailure>([&] { ranks->all_reduce(buffer_of(values))->wait(soon()); }),
              "")
        << "a failed collective stays failed";
  });
}

INSTANTIATE_TEST_SUITE_P(Errors, NcclAsyncErrorTest,
                         ::testing::Values(ncclUnhandledCudaError, ncclSystemError,
                                           ncclInternalError, ncclInvalidArgument, ncclInvalidUsage,
                                           ncclRemoteError));

TEST_F(NcclTest, AnOperationThatNeverEndsIsCutOffAtItsDeadline) {
  for (int rank = 0; rank < 2; ++rank) fake_nccl::never_complete(rank);
  run(2, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    auto work = ranks->all_reduce(buffer_of(values));
    // One rank's deadline ends the wait of the other, too.
    const auto reason =
        failure_of<PeerFailure>([&] { work->wait(rank == 0 ? at_once() : soon()); });
    if (rank == 0) {
      EXPECT_THAT(reason, HasSubstr("did not end by its deadline"));
    } else {
      EXPECT_THAT(reason, HasSubstr("gave up"));
    }
  });
}

TEST_F(NcclTest, AnErrorOfTheOwnDeviceIsNamedAndTheOthersAreLetGo) {
  for (int rank = 0; rank < 2; ++rank) fake_nccl::never_complete(rank);
  run(2, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    auto work = ranks->all_reduce(buffer_of(values));
    if (rank == 0) {
      fake_nccl::fail_events(0, cudaErrorIllegalAddress);
      EXPECT_THAT(failure_of<Error>([&] { work->wait(soon()); }),
                  HasSubstr("CUDA: illegal address"));
    } else {
      EXPECT_NE(failure_of<PeerFailure>([&] { work->wait(soon()); }), "");
    }
  });
}

TEST_F(NcclTest, AbortEndsTheWaitOfEveryRank) {
  run(3, [](ThreadRanks&, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    if (rank == 2) {
      ranks->abort();
      ranks->abort();
    }
    EXPECT_NE(failure_of<PeerFailure>([&] { ranks->all_reduce(buffer_of(values))->wait(soon()); }),
              "");
    ranks = ranks->shrink(soon());
    expect_right_sum(*ranks, 3);
  });
}

/// Rank 1 of `size` dies while an all-reduce is under way; the others go on.
void die_and_go_on(ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank, int size) {
  auto values = numbers(rank, 10);
  if (rank == 1) {
    bootstrap.kill(1);
    return;
  }
  EXPECT_NE(failure_of<PeerFailure>([&] { ranks->all_reduce(buffer_of(values))->wait(soon()); }),
            "");
  ranks = ranks->shrink(soon());
  EXPECT_EQ(ranks->rank(), rank == 0 ? 0 : rank - 1);
  expect_right_sum(*ranks, size - 1);
}

TEST_F(NcclTest, ADeadRankIsShrunkAwayByNccl) {
  run(4, [](ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank) {
    die_and_go_on(bootstrap, std::move(ranks), rank, 4);
  });
  EXPECT_EQ(fake_nccl::counts().shrunk, 3);
}

TEST_F(NcclTest, WhereNcclCannotShrinkOnOneRankAllStartAnew) {
  fake_nccl::fail_shrink(3, ncclInternalError);
  run(4, [](ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank) {
    die_and_go_on(bootstrap, std::move(ranks), rank, 4);
  });
  EXPECT_EQ(fake_nccl::counts().made,
            4 + 2 + 3);  // the first, the two that shrank in vain, the new ones
}

TEST_F(NcclTest, TwoDeathsOneAfterTheOther) {
  run(4, [](ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    for (int victim : {0, 2}) {
      if (rank == victim) return bootstrap.kill(rank);
      EXPECT_NE(
          failure_of<PeerFailure>([&] { ranks->all_reduce(buffer_of(values))->wait(soon()); }), "");
      ranks = ranks->shrink(soon());
    }
    expect_right_sum(*ranks, 2);
  });
}

TEST_F(NcclTest, ADeathDuringTheShrinkIsShrunkAwayToo) {
  run(4, [](ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank) {
    auto values = numbers(rank, 10);
    if (rank == 0) return bootstrap.kill(0);
    EXPECT_NE(failure_of<PeerFailure>([&] { ranks->all_reduce(buffer_of(values))->wait(soon()); }),
              "");
    if (rank == 3) return bootstrap.kill(3);
    ranks = ranks->shrink(soon());
    if (ranks->size() == 3) ranks = ranks->shrink(soon());
    expect_right_sum(*ranks, 2);
  });
}

/// A rank that came later is connected as the others are, and its death is as theirs.
TEST_F(NcclTest, ANewcomerIsTakenIn) {
  ThreadRanks bootstrap(2);
  std::vector<std::thread> threads;
  const auto go_on = [&](std::unique_ptr<Collective> ranks, bool newcomer) {
    expect_right_sum(*ranks, 3);
    if (newcomer) return bootstrap.kill(1000);
    auto values = numbers(0, 1000);
    EXPECT_FALSE(failure_of<PeerFailure>([&] {
                   ranks->all_reduce(buffer_of(values))->wait(soon());
                 }).empty());
    expect_right_sum(*ranks->shrink(soon()), 2);
  };
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      fake_nccl::this_thread_is(rank);
      auto ranks = make_nccl_collective(bootstrap.collective(rank), {}, soon());
      expect_right_sum(*ranks, 2);
      go_on(ranks->grow(nullptr, soon()), false);
    });
  }
  threads.emplace_back([&] {
    fake_nccl::this_thread_is(2);
    go_on(make_nccl_collective(bootstrap.newcomer(), {}, soon()), true);
  });
  for (auto& thread : threads) thread.join();
}

TEST_F(NcclTest, ADeathWhileGrowingIsAPeerFailureAndShrinkHelps) {
  run(3, [](ThreadRanks& bootstrap, std::unique_ptr<Collective> ranks, int rank) {
    if (rank == 2) return bootstrap.kill(2);
    EXPECT_FALSE(failure_of<PeerFailure>([&] { ranks->grow(nullptr, soon()); }).empty());
    expect_right_sum(*ranks->shrink(soon()), 2);
  });
}

TEST_F(NcclTest, ARankWhereNcclDoesNotStartFailsAll) {
  fake_nccl::fail_init(1, ncclSystemError);
  ThreadRanks bootstrap(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      fake_nccl::this_thread_is(rank);
      EXPECT_NE(failure_of<PeerFailure>(
                    [&] { make_nccl_collective(bootstrap.collective(rank), {}, soon()); }),
                "");
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(NcclTest, ARankThatDiesDuringTheStartIsLeftOut) {
  ThreadRanks bootstrap(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      fake_nccl::this_thread_is(rank);
      auto ranks = make_nccl_collective(bootstrap.collective(rank), {}, soon());
      expect_right_sum(*ranks, 2);
    });
  }
  threads.emplace_back([&] { bootstrap.kill(2); });
  for (auto& thread : threads) thread.join();
}

TEST(NcclLoaderTest, AMissingModuleIsNamed) {
  ThreadRanks bootstrap(1);
  const auto message = failure_of<Error>([&] {
    load_nccl_collective("/nowhere/libmusher_nccl.so", bootstrap.collective(0), {}, soon());
  });
  EXPECT_THAT(message, HasSubstr("/nowhere/libmusher_nccl.so"));
}

}  // namespace
}  // namespace musher
