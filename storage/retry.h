#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <random>

#include <arrow/filesystem/s3fs.h>

#include "storage/config.h"

namespace musher {

/// How long one call of the store may go on retrying, over all requests it makes: a scope on the
/// calling thread, in which the AWS SDK runs our retry strategy. Counts from the first failure. A
/// thread without one (Arrow's own, which list pages) has a limit for each request. An inner scope
/// never has more left than the outer one.
class RetryBudget {
 public:
  explicit RetryBudget(std::chrono::milliseconds limit);
  ~RetryBudget();
  RetryBudget(const RetryBudget&) = delete;
  RetryBudget& operator=(const RetryBudget&) = delete;

  /// The innermost of the calling thread; null where there is none.
  static RetryBudget* current();

  /// What is left at `now`, the time of a failure; zero when it is spent.
  std::chrono::milliseconds left(std::chrono::steady_clock::time_point now);

 private:
  const std::chrono::milliseconds limit_;
  std::optional<std::chrono::steady_clock::time_point> first_failure_;
  RetryBudget* const outer_;
};

/// The longest pause before retry number `attempt` (from 0): doubles from first_backoff up to
/// max_backoff.
std::chrono::milliseconds backoff_ceiling(const StorageConfig& config, std::int64_t attempt);

/// Waits before retry number `attempt` (from 0) of what failed just now, for what the AWS SDK does
/// not retry by itself. False, without a wait, where the calling thread's RetryBudget is spent or
/// it has none.
bool pause_before_retry(const StorageConfig& config, std::int64_t attempt);

/// Full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015) within a
/// RetryBudget. Thread-safe.
std::shared_ptr<arrow::fs::S3RetryStrategy> make_retry_strategy(const StorageConfig& config);

}  // namespace musher
