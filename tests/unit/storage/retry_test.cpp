#include "storage/retry.h"

#include <gtest/gtest.h>

#include "common/thread.h"

namespace musher {
namespace {

using arrow::fs::S3RetryStrategy;
using std::chrono::milliseconds;
using std::chrono::seconds;

const auto kStart = std::chrono::steady_clock::time_point(seconds(1'000));
const S3RetryStrategy::AWSErrorDetail kTransient{99, "reset", "", true};

TEST(Backoff, DoublesUpToItsCeilingAndNeverOverflows) {
  StorageConfig config;
  config.first_backoff = milliseconds(100);
  config.max_backoff = milliseconds(1'000);
  EXPECT_EQ(backoff_ceiling(config, 0), milliseconds(100));
  EXPECT_EQ(backoff_ceiling(config, 1), milliseconds(200));
  EXPECT_EQ(backoff_ceiling(config, 3), milliseconds(800));
  EXPECT_EQ(backoff_ceiling(config, 4), milliseconds(1'000));
  EXPECT_EQ(backoff_ceiling(config, 1'000'000), milliseconds(1'000));
}

TEST(RetryBudget, CountsFromTheFirstFailureOverAllRequests) {
  RetryBudget budget(seconds(10));
  EXPECT_EQ(budget.left(kStart), seconds(10));
  EXPECT_EQ(budget.left(kStart + seconds(4)), seconds(6));
  EXPECT_EQ(budget.left(kStart + seconds(11)), seconds(0));
}

TEST(RetryBudget, AnInnerCallHasNoMoreThanTheOuterHasLeft) {
  RetryBudget outer(seconds(10));
  outer.left(kStart);
  {
    RetryBudget inner(seconds(10));
    EXPECT_EQ(RetryBudget::current(), &inner);
    EXPECT_EQ(inner.left(kStart + seconds(8)), seconds(2));
  }
  EXPECT_EQ(RetryBudget::current(), &outer);
}

TEST(RetryBudget, BelongsToItsThread) {
  const RetryBudget budget(seconds(1));
  RetryBudget* elsewhere = RetryBudget::current();
  Thread("other", [&] { elsewhere = RetryBudget::current(); }).join();
  EXPECT_EQ(elsewhere, nullptr);
}

TEST(RetryStrategy, RetriesOnlyWhatMayPass) {
  const auto strategy = make_retry_strategy({});
  EXPECT_TRUE(strategy->ShouldRetry(kTransient, 0));
  EXPECT_FALSE(strategy->ShouldRetry({15, "denied", "AccessDenied", false}, 0));
  EXPECT_FALSE(strategy->ShouldRetry({99, "expired", "ExpiredToken", true}, 0));
  EXPECT_FALSE(
      strategy->ShouldRetry({99, "curlCode: 60, SSL peer certificate was not OK", "", true}, 0));
}

TEST(RetryStrategy, ASpentBudgetEndsIt) {
  const auto strategy = make_retry_strategy({});
  const RetryBudget budget(milliseconds(0));
  EXPECT_FALSE(strategy->ShouldRetry(kTransient, 0));
}

TEST(RetryStrategy, AThreadOfArrowHasALimitToo) {
  StorageConfig config;
  config.retry_limit = milliseconds(0);
  EXPECT_FALSE(make_retry_strategy(config)->ShouldRetry(kTransient, 0));
}

TEST(RetryStrategy, PausesAreSpreadBelowTheCeiling) {
  StorageConfig config;
  config.first_backoff = milliseconds(1'000);
  config.max_backoff = milliseconds(1'000);
  const auto strategy = make_retry_strategy(config);
  ASSERT_TRUE(strategy->ShouldRetry(kTransient, 0));
  std::int64_t low = 1'000, high = 0;
  for (int i = 0; i < 200; ++i) {
    const auto pause = strategy->CalculateDelayBeforeNextRetry(kTransient, 0);
    low = std::min(low, pause);
    high = std::max(high, pause);
  }
  EXPECT_GE(low, 0);
  EXPECT_LT(low, 200);
  EXPECT_LE(high, 1'000);
  EXPECT_GT(high, 800);
}

}  // namespace
}  // namespace musher
