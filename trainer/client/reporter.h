#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include <grpcpp/grpcpp.h>

#include "common/deadline.h"
#include "common/thread.h"
#include "trainer/client/coordinator_client.h"
#include "workers.grpc.pb.h"

namespace musher {

/// The heartbeat of a rank: what is recorded waits here until the coordinator has it, and what the
/// coordinator wants comes back. Knows which generation this rank is in, and so which answers still
/// mean it. Thread-safe.
class Reporter {
 public:
  /// `stub` must outlive it.
  Reporter(std::string address, const RankIdentity& identity, v1::Workers::Stub& stub);
  ~Reporter();  ///< close()

  /// This rank in its present generation.
  v1::RankId id();
  /// Starts the thread, at the first call.
  void enter_generation(std::uint64_t generation);
  void begin_regroup();
  void start(std::chrono::milliseconds interval);
  bool started() const { return heartbeat_.joinable(); }

  /// Changes what the next report says.
  template <typename Change>
  void record(Change change) {
    const std::lock_guard lock(mutex_);
    change(unsent_);
    ++recorded_;
  }
  void watch_activity(std::function<ActivityNow()> source);
  void flush(Deadline deadline);

  Directives directives();
  void checkpoint_taken();
  void want_checkpoint();
  /// An answer to `caller` was `stale`: whether that ends this rank. It does not where the rank is
  /// about to enter another generation, or has.
  bool is_stale(const v1::RankId& caller);

  /// Sleeps; false when the client is being destroyed.
  bool wait_out(std::chrono::milliseconds pause, Deadline deadline);
  /// Ends the thread and all waits.
  void close();

 private:
  void run();
  v1::ReportRequest next_report();
  bool send(const v1::ReportRequest& report, std::uint64_t upto);
  bool take(const v1::ReportRequest& sent, const v1::ReportReply& reply, std::uint64_t upto);
  bool means_this_rank(std::uint64_t generation) const;

  const std::string address_;
  v1::Workers::Stub& stub_;

  std::mutex mutex_;
  std::condition_variable_any changed_;  // of everything below
  bool ending_ = false;
  v1::RankId id_;
  bool regrouping_ = false;
  Directives directives_;
  v1::ReportRequest unsent_;
  std::uint64_t recorded_ = 0;      // counts changes of unsent_
  std::uint64_t acknowledged_ = 0;  // those that the coordinator has
  bool flush_wanted_ = false;
  std::string error_;  // of a report that no retry helps
  grpc::ClientContext* under_way_ = nullptr;
  std::chrono::milliseconds interval_{1'000};

  std::mutex activity_mutex_;
  std::function<ActivityNow()> activity_;
  Thread heartbeat_;
};

}  // namespace musher
