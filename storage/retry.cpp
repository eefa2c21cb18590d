#include "storage/retry.h"

#include <algorithm>
#include <thread>

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

RetryBudget*& innermost() {
  // The only way by which the AWS SDK's call of a strategy can find the call that it is made for.
  thread_local RetryBudget* budget = nullptr;  // NOLINT(*-avoid-non-const-global-variables)
  return budget;
}

// The AWS SDK calls a strategy on the thread that makes the request: ShouldRetry after each
// failure, then the delay.
class JitteredRetry : public arrow::fs::S3RetryStrategy {
 public:
  explicit JitteredRetry(const StorageConfig& config)
      : config_(config), random_(std::random_device{}()) {}

  bool ShouldRetry(const AWSErrorDetail& error, std::int64_t attempt) override {
    return transient(error) && left(attempt) > milliseconds(0);
  }

  std::int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail&, std::int64_t attempt) override {
    const milliseconds ceiling = std::min(backoff_ceiling(config_, attempt), left(attempt));
    std::lock_guard lock(mutex_);
    return std::uniform_int_distribution<std::int64_t>(0, ceiling.count())(random_);
  }

 private:
  static bool transient(const AWSErrorDetail& error) {
    // The SDK calls these retryable for the sake of refreshed credentials and clocks; it refreshes
    // before the first attempt.
    if (error.exception_name == "ExpiredToken" || error.exception_name == "RequestExpired")
      return false;
    // A certificate that is not trusted comes as a network error.
    for (const char* mark : {"curlCode: 60,", "curlCode: 77,"}) {
      if (error.message.find(mark) != std::string::npos) return false;
    }
    return error.should_retry;
  }

  milliseconds left(std::int64_t attempt) const {
    if (RetryBudget* budget = RetryBudget::current()) return budget->left(Clock::now());
    thread_local Clock::time_point first_failure;
    const auto now = Clock::now();
    if (attempt == 0) first_failure = now;
    const auto left = first_failure + config_.retry_limit - now;
    return std::max(std::chrono::duration_cast<milliseconds>(left), milliseconds(0));
  }

  const StorageConfig config_;
  std::mutex mutex_;
  std::mt19937_64 random_;
};

}  // namespace

RetryBudget::RetryBudget(milliseconds limit) : limit_(limit), outer_(innermost()) {
  innermost() = this;
}

RetryBudget::~RetryBudget() {
  innermost() = outer_;
}

RetryBudget* RetryBudget::current() {
  return innermost();
}

milliseconds RetryBudget::left(Clock::time_point now) {
  if (!first_failure_) first_failure_ = now;
  const auto own = std::chrono::duration_cast<milliseconds>(*first_failure_ + limit_ - now);
  const auto left = outer_ != nullptr ? std::min(own, outer_->left(now)) : own;
  return std::max(left, milliseconds(0));
}

milliseconds backoff_ceiling(const StorageConfig& config, std::int64_t attempt) {
  const auto doublings = std::clamp<std::int64_t>(attempt, 0, 30);
  return std::min(config.first_backoff * (std::int64_t{1} << doublings), config.max_backoff);
}

bool pause_before_retry(const StorageConfig& config, std::int64_t attempt) {
  RetryBudget* budget = RetryBudget::current();
  const milliseconds left = budget != nullptr ? budget->left(Clock::now()) : milliseconds(0);
  if (left <= milliseconds(0)) return false;
  thread_local std::minstd_rand random{std::random_device{}()};
  const milliseconds ceiling = std::min(backoff_ceiling(config, attempt), left);
  std::this_thread::sleep_for(
      milliseconds(std::uniform_int_distribution<std::int64_t>(0, ceiling.count())(random)));
  return true;
}

std::shared_ptr<arrow::fs::S3RetryStrategy> make_retry_strategy(const StorageConfig& config) {
  return std::make_shared<JitteredRetry>(config);
}

}  // namespace musher
