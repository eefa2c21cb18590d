#include "trainer/client/reporter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "trainer/client/channel.h"
#include "trainer/client/messages.h"

namespace musher {
namespace {

using Clock = Deadline::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kReportTimeout{5'000};

/// Whether a report that met this would meet it again. A coordinator whose disk is full will have
/// room again; until then training goes on.
bool is_final(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kFailedPrecondition ||
         code == ErrorCode::kPermissionDenied || code == ErrorCode::kNotFound;
}

}  // namespace

Reporter::Reporter(std::string address, const RankIdentity& identity, v1::Workers::Stub& stub)
    : address_(std::move(address)), stub_(stub) {
  id_.set_job(identity.job);
  id_.set_attempt(identity.attempt);
  id_.set_rank(identity.rank);
  id_.set_token(identity.token);
}

Reporter::~Reporter() {
  close();
}

v1::RankId Reporter::id() {
  const std::lock_guard lock(mutex_);
  return id_;
}

void Reporter::enter_generation(std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  id_.set_generation(generation);
  regrouping_ = false;
  directives_.regroup = false;
}

void Reporter::begin_regroup() {
  const std::lock_guard lock(mutex_);
  regrouping_ = true;
}

void Reporter::start(milliseconds interval) {
  {
    const std::lock_guard lock(mutex_);
    interval_ = interval;
  }
  if (!heartbeat_.joinable()) heartbeat_ = Thread("heartbeat", [this] { run(); });
}

void Reporter::watch_activity(std::function<ActivityNow()> source) {
  const std::lock_guard lock(activity_mutex_);
  activity_ = std::move(source);
}

Directives Reporter::directives() {
  const std::lock_guard lock(mutex_);
  return directives_;
}

void Reporter::checkpoint_taken() {
  const std::lock_guard lock(mutex_);
  directives_.checkpoint_now = false;
}

void Reporter::want_checkpoint() {
  const std::lock_guard lock(mutex_);
  directives_.checkpoint_now = true;
}

/// REQUIRES: mutex_ is held.
bool Reporter::means_this_rank(std::uint64_t generation) const {
  return !regrouping_ && generation == id_.generation();
}

bool Reporter::is_stale(const v1::RankId& caller) {
  const std::lock_guard lock(mutex_);
  if (!means_this_rank(caller.generation())) return false;
  directives_.stale = true;
  return true;
}

bool Reporter::wait_out(milliseconds pause, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto until = std::min(Clock::now() + pause, deadline.when());
  return !changed_.wait_until(lock, until, [&] { return ending_; });
}

void Reporter::flush(Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (directives_.stale) return;
  if (!heartbeat_.joinable()) {
    throw Error(ErrorCode::kFailedPrecondition, "flush() before join() has no one to report to");
  }
  const std::uint64_t target = ++recorded_;  // a report from now on, even one with nothing new
  flush_wanted_ = true;
  changed_.notify_all();
  const bool done = changed_.wait_until(lock, deadline.when(), [&] {
    return acknowledged_ >= target || directives_.stale || !error_.empty() || ending_;
  });
  if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
  if (!done) {
    throw Error(ErrorCode::kDeadlineExceeded, "the coordinator " + address_ +
                                                  " did not take the reports of rank " +
                                                  std::to_string(id_.rank()) + " in time");
  }
}

void Reporter::close() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    if (under_way_ != nullptr) under_way_->TryCancel();
  }
  changed_.notify_all();
  if (heartbeat_.joinable()) heartbeat_.join();
}

void Reporter::run() {
  milliseconds pause{0};
  milliseconds backoff = kFirstBackoff;
  for (;;) {
    v1::ReportRequest report;
    std::uint64_t upto = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, Clock::now() + pause, [&] { return ending_ || flush_wanted_; });
      if (ending_ || directives_.stale || !error_.empty()) return;
      flush_wanted_ = false;
      report = unsent_;
      *report.mutable_id() = id_;
      upto = recorded_;
    }
    {
      const std::lock_guard lock(activity_mutex_);
      if (activity_) set_activity(report, activity_());
    }
    if (send(report, upto)) {
      backoff = kFirstBackoff;
      const std::lock_guard lock(mutex_);
      pause = interval_;
    } else {
      pause = backoff;
      backoff = std::min(2 * backoff, kMostBackoff);
    }
  }
}

/// False where the same report is to be sent again.
bool Reporter::send(const v1::ReportRequest& report, std::uint64_t upto) {
  grpc::ClientContext context;
  context.set_deadline(wall(Clock::now() + kReportTimeout));
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return true;
    under_way_ = &context;
  }
  v1::ReportReply reply;
  const grpc::Status status = stub_.Report(&context, report, &reply);
  const std::lock_guard lock(mutex_);
  under_way_ = nullptr;
  bool taken = false;
  if (status.ok()) {
    taken = take(report, reply, upto);
  } else if (is_final(code_of(status)) && !ending_) {
    error_ = "Report at the coordinator " + address_ + ": " + status.error_message();
    directives_.failure = error_;
  }
  changed_.notify_all();
  return taken;
}

/// False where the coordinator did not take what was sent. REQUIRES: mutex_ is held.
bool Reporter::take(const v1::ReportRequest& sent, const v1::ReportReply& reply,
                    std::uint64_t upto) {
  if (!reply.failure().empty()) directives_.failure = reply.failure();
  const bool current = means_this_rank(sent.id().generation());
  if (reply.stale() || reply.later()) {
    directives_.stale |= reply.stale() && current;
    return false;
  }
  acknowledged_ = upto;
  unsent_.mutable_metrics()->DeleteSubrange(0, sent.metrics_size());
  unsent_.mutable_epochs()->DeleteSubrange(0, sent.epochs_size());
  unsent_.mutable_notices()->DeleteSubrange(0, sent.notices_size());
  unsent_.mutable_notice_time_ms()->erase(
      unsent_.notice_time_ms().begin(),
      unsent_.notice_time_ms().begin() + sent.notice_time_ms_size());
  if (sent.recovery().generation() == unsent_.recovery().generation()) unsent_.clear_recovery();
  directives_.stop |= reply.stop();
  directives_.checkpoint_now |= reply.checkpoint_now();
  directives_.leave |= reply.leave();
  directives_.start.assign(reply.start().begin(), reply.start().end());
  if (reply.heartbeat_seconds() > 0) {
    interval_ = milliseconds(std::lround(1000 * reply.heartbeat_seconds()));
  }
  if (current) directives_.regroup |= reply.regroup();
  return true;
}

}  // namespace musher
