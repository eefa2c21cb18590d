#include "trainer/client/coordinator_client.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include "common/error.h"
#include "common/thread.h"
#include "trainer/client/messages.h"
#include "workers.grpc.pb.h"

namespace musher {

namespace {

using Clock = Deadline::Clock;
using std::chrono::milliseconds;

constexpr int kMostMessageBytes = 64 << 20;  // a shard's block
constexpr milliseconds kFirstBackoff{50};
constexpr milliseconds kMostBackoff{1'000};
constexpr milliseconds kCallTimeout{10'000};  // of one attempt of a call that answers at once
constexpr milliseconds kJoinTimeout{60'000};  // of one attempt of Join, which waits for the others
constexpr milliseconds kReportTimeout{5'000};

std::int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// gRPC wants a wall-clock time.
std::chrono::system_clock::time_point wall(Clock::time_point when) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(when - Clock::now());
}

ErrorCode code_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return ErrorCode::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND:
      return ErrorCode::kNotFound;
    case grpc::StatusCode::ALREADY_EXISTS:
      return ErrorCode::kAlreadyExists;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return ErrorCode::kPermissionDenied;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return ErrorCode::kFailedPrecondition;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return ErrorCode::kResourceExhausted;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // a server that shuts down ends its calls so,
    case grpc::StatusCode::UNKNOWN:    // and one that was killed may leave this
      return ErrorCode::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return ErrorCode::kDeadlineExceeded;
    case grpc::StatusCode::DATA_LOSS:
      return ErrorCode::kDataLoss;
    default:
      return ErrorCode::kInternal;
  }
}

/// Whether a report that met this would meet it again. A coordinator whose disk is full will have
/// room again; until then training goes on.
bool is_final(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kFailedPrecondition ||
         code == ErrorCode::kPermissionDenied || code == ErrorCode::kNotFound;
}

std::shared_ptr<grpc::Channel> open_channel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // A coordinator that restarts is back within a second or two: gRPC's own back-off, up to two
  // minutes, would sleep through that.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetMaxReceiveMessageSize(kMostMessageBytes);
  arguments.SetMaxSendMessageSize(kMostMessageBytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

/// What is recorded waits in `unsent_`; only the heartbeat thread takes from it, and only after the
/// coordinator's answer.
class CoordinatorClient::Impl {
 public:
  Impl(const std::string& address, RankIdentity identity)
      : address_(address),
        identity_(std::move(identity)),
        stub_(v1::Workers::NewStub(open_channel(address))) {}

  ~Impl() { stop_heartbeat(); }

  Membership join(const std::string& host, Deadline deadline);
  EpochAssignment assignment(const std::string& channel, std::uint64_t epoch, Deadline deadline);
  std::vector<std::vector<Sample>> shards(const std::string& channel,
                                          const std::vector<std::uint32_t>& shards,
                                          Deadline deadline);
  bool slice_written(const SliceWritten& slice, Deadline deadline);
  void finish(Outcome outcome, const std::string& failure, const std::string& artifact,
              const std::vector<MetricPoint>& final_metrics, Deadline deadline);
  void flush(Deadline deadline);

  /// Changes what the next report says.
  template <typename Change>
  void record(Change change) {
    const std::lock_guard lock(mutex_);
    change(unsent_);
    ++recorded_;
  }
  void metric(const MetricPoint& point) {
    record([&](v1::ReportRequest& report) { *report.add_metrics() = to_message(point, now_ms()); });
  }
  void progress(const Progress& progress);

  Directives directives() {
    const std::lock_guard lock(mutex_);
    return directives_;
  }
  void checkpoint_taken() {
    const std::lock_guard lock(mutex_);
    directives_.checkpoint_now = false;
  }

 private:
  using Attempt = std::function<grpc::Status(grpc::ClientContext&)>;

  void identify(v1::RankId& id);
  void call(const char* what, milliseconds timeout, Deadline deadline, const Attempt& attempt);
  void require_current(bool stale, const char* what);
  bool wait_out(milliseconds pause, Deadline deadline);
  void stop_heartbeat();
  void heartbeat(const std::stop_token& stop);
  bool send_report(const v1::ReportRequest& report, std::uint64_t upto);
  void acknowledge(const v1::ReportRequest& sent, const v1::ReportReply& reply, std::uint64_t upto);

  const std::string address_;
  const RankIdentity identity_;
  const std::unique_ptr<v1::Workers::Stub> stub_;

  std::mutex mutex_;
  std::condition_variable_any changed_;  // of everything below
  bool ending_ = false;
  std::uint64_t generation_ = 0;
  Directives directives_;
  v1::ReportRequest unsent_;
  std::uint64_t recorded_ = 0;      // counts changes of unsent_
  std::uint64_t acknowledged_ = 0;  // those that the coordinator has
  bool flush_wanted_ = false;
  std::string report_error_;  // of a report that no retry helps
  grpc::ClientContext* report_under_way_ = nullptr;
  milliseconds interval_{1'000};
  Thread heartbeat_;
};

void CoordinatorClient::Impl::identify(v1::RankId& id) {
  id.set_job(identity_.job);
  id.set_attempt(identity_.attempt);
  id.set_rank(identity_.rank);
  id.set_token(identity_.token);
  const std::lock_guard lock(mutex_);
  id.set_generation(generation_);
}

/// False when the client is being destroyed.
bool CoordinatorClient::Impl::wait_out(milliseconds pause, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto until = std::min(Clock::now() + pause, deadline.when());
  return !changed_.wait_until(lock, until, [&] { return ending_; });
}

/// Repeats `attempt` while the coordinator can't be reached, with backoff, until the deadline.
void CoordinatorClient::Impl::call(const char* what, milliseconds timeout, Deadline deadline,
                                   const Attempt& attempt) {
  for (milliseconds backoff = kFirstBackoff;; backoff = std::min(2 * backoff, kMostBackoff)) {
    grpc::ClientContext context;
    context.set_deadline(wall(std::min(Clock::now() + timeout, deadline.when())));
    const grpc::Status status = attempt(context);
    if (status.ok()) return;
    const ErrorCode code = code_of(status);
    const std::string message = std::string(what) + " at the coordinator " + address_ +
                                (retry_helps(code) ? ", which can't be reached: " : ": ") +
                                status.error_message();
    if (!retry_helps(code) || deadline.expired() || !wait_out(backoff, deadline)) {
      throw Error(code, message);
    }
  }
}

void CoordinatorClient::Impl::require_current(bool stale, const char* what) {
  if (!stale) return;
  {
    const std::lock_guard lock(mutex_);
    directives_.stale = true;
  }
  throw Error(ErrorCode::kFailedPrecondition,
              std::string(what) + ": rank " + std::to_string(identity_.rank) + " of attempt " +
                  std::to_string(identity_.attempt) + " of job " + identity_.job +
                  " is stale: the coordinator has moved on to another attempt or generation");
}

Membership CoordinatorClient::Impl::join(const std::string& host, Deadline deadline) {
  v1::JoinRequest request;
  identify(*request.mutable_id());
  request.set_world_size(identity_.world_size);
  request.set_host(host);
  request.set_pid(::getpid());
  v1::JoinReply reply;
  call("Join", kJoinTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->Join(&context, request, &reply); });
  Membership membership = membership_from(reply, identity_.world_size);
  {
    const std::lock_guard lock(mutex_);
    generation_ = membership.generation;
    interval_ =
        std::max(milliseconds(10), milliseconds(std::int64_t(1000 * membership.heartbeat_seconds)));
  }
  if (!heartbeat_.joinable()) {
    heartbeat_ = Thread("heartbeat", [this](const std::stop_token& stop) { heartbeat(stop); });
  }
  return membership;
}

EpochAssignment CoordinatorClient::Impl::assignment(const std::string& channel, std::uint64_t epoch,
                                                    Deadline deadline) {
  v1::AssignmentRequest request;
  identify(*request.mutable_id());
  request.set_channel(channel);
  request.set_epoch(epoch);
  v1::Assignment reply;
  call("GetAssignment", kCallTimeout, deadline, [&](grpc::ClientContext& context) {
    return stub_->GetAssignment(&context, request, &reply);
  });
  require_current(reply.stale(), "GetAssignment");
  return assignment_from(reply);
}

std::vector<std::vector<Sample>> CoordinatorClient::Impl::shards(
    const std::string& channel, const std::vector<std::uint32_t>& shards, Deadline deadline) {
  std::vector<std::vector<Sample>> samples;
  call("GetShards", kCallTimeout, deadline, [&](grpc::ClientContext& context) {
    // A stream that broke goes on where it broke.
    v1::ShardsRequest request;
    identify(*request.mutable_id());
    request.set_channel(channel);
    for (std::size_t i = samples.size(); i < shards.size(); ++i) request.add_shards(shards[i]);
    const auto stream = stub_->GetShards(&context, request);
    v1::ShardBlock block;
    while (samples.size() < shards.size() && stream->Read(&block)) {
      if (block.shard() != shards[samples.size()]) {
        context.TryCancel();
        return grpc::Status(grpc::StatusCode::INTERNAL, "shards came in another order than asked");
      }
      samples.push_back(decode_shard(std::as_bytes(std::span(block.block()))));
    }
    const grpc::Status status = stream->Finish();
    if (status.ok() && samples.size() < shards.size()) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "fewer shards came than were asked for");
    }
    return status;
  });
  return samples;
}

bool CoordinatorClient::Impl::slice_written(const SliceWritten& slice, Deadline deadline) {
  v1::SliceReport request = to_message(slice);
  identify(*request.mutable_id());
  v1::SliceReply reply;
  // The last slice's answer waits for the manifest to be written to the object store.
  call("ReportSlice", kJoinTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->ReportSlice(&context, request, &reply); });
  require_current(reply.stale(), "ReportSlice");
  return reply.committed();
}

void CoordinatorClient::Impl::finish(Outcome outcome, const std::string& failure,
                                     const std::string& artifact,
                                     const std::vector<MetricPoint>& final_metrics,
                                     Deadline deadline) {
  try {
    if (heartbeat_.joinable()) flush(deadline);
  } catch (const Error&) {
    if (outcome != Outcome::kFailed) throw;
  }
  v1::FinishRequest request;
  identify(*request.mutable_id());
  request.set_outcome(to_message(outcome));
  request.set_failure(failure);
  request.set_artifact(artifact);
  for (const MetricPoint& point : final_metrics) {
    *request.add_final_metrics() = to_message(point, now_ms());
  }
  v1::FinishReply reply;
  call("Finish", kCallTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->Finish(&context, request, &reply); });
  stop_heartbeat();
}

void CoordinatorClient::Impl::progress(const Progress& progress) {
  record([&](v1::ReportRequest& report) {
    report.set_phase(to_message(progress.phase));
    report.set_step(progress.step);
    report.set_steps(progress.steps);
    report.set_epoch(progress.epoch);
    report.set_samples_per_second(progress.samples_per_second);
    report.set_loss(progress.loss);
    report.set_step_seconds(progress.step_seconds);
  });
}

void CoordinatorClient::Impl::flush(Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (directives_.stale) return;
  if (!heartbeat_.joinable()) {
    throw Error(ErrorCode::kFailedPrecondition, "flush() before join() has no one to report to");
  }
  const std::uint64_t target = ++recorded_;  // a report from now on, even one with nothing new
  flush_wanted_ = true;
  changed_.notify_all();
  const bool done = changed_.wait_until(lock, deadline.when(), [&] {
    return acknowledged_ >= target || directives_.stale || !report_error_.empty() || ending_;
  });
  if (!report_error_.empty()) throw Error(ErrorCode::kInternal, report_error_);
  if (!done) {
    throw Error(ErrorCode::kDeadlineExceeded, "the coordinator " + address_ +
                                                  " did not take the reports of rank " +
                                                  std::to_string(identity_.rank) + " in time");
  }
}

void CoordinatorClient::Impl::stop_heartbeat() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    if (report_under_way_ != nullptr) report_under_way_->TryCancel();
  }
  changed_.notify_all();
  if (heartbeat_.joinable()) heartbeat_.join();
}

void CoordinatorClient::Impl::heartbeat(const std::stop_token&) {
  milliseconds pause{0};
  milliseconds backoff = kFirstBackoff;
  for (;;) {
    v1::ReportRequest report;
    std::uint64_t upto = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, Clock::now() + pause, [&] { return ending_ || flush_wanted_; });
      if (ending_ || directives_.stale || !report_error_.empty()) return;
      flush_wanted_ = false;
      report = unsent_;
      upto = recorded_;
    }
    identify(*report.mutable_id());
    if (send_report(report, upto)) {
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
bool CoordinatorClient::Impl::send_report(const v1::ReportRequest& report, std::uint64_t upto) {
  grpc::ClientContext context;
  context.set_deadline(wall(Clock::now() + kReportTimeout));
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return true;
    report_under_way_ = &context;
  }
  v1::ReportReply reply;
  const grpc::Status status = stub_->Report(&context, report, &reply);
  const std::lock_guard lock(mutex_);
  report_under_way_ = nullptr;
  if (status.ok()) {
    acknowledge(report, reply, upto);
  } else if (is_final(code_of(status)) && !ending_) {
    report_error_ = "Report at the coordinator " + address_ + ": " + status.error_message();
    directives_.failure = report_error_;
  }
  changed_.notify_all();
  return status.ok();
}

/// REQUIRES: mutex_ is held.
void CoordinatorClient::Impl::acknowledge(const v1::ReportRequest& sent,
                                          const v1::ReportReply& reply, std::uint64_t upto) {
  acknowledged_ = upto;
  unsent_.mutable_metrics()->DeleteSubrange(0, sent.metrics_size());
  unsent_.mutable_epochs()->DeleteSubrange(0, sent.epochs_size());
  unsent_.mutable_notices()->DeleteSubrange(0, sent.notices_size());
  unsent_.mutable_notice_time_ms()->erase(
      unsent_.notice_time_ms().begin(),
      unsent_.notice_time_ms().begin() + sent.notice_time_ms_size());
  directives_.stale |= reply.stale();
  directives_.stop |= reply.stop();
  directives_.checkpoint_now |= reply.checkpoint_now();
  if (!reply.failure().empty()) directives_.failure = reply.failure();
}

CoordinatorClient::CoordinatorClient(const std::string& address, RankIdentity identity)
    : impl_(std::make_unique<Impl>(address, std::move(identity))) {}
CoordinatorClient::~CoordinatorClient() = default;

Membership CoordinatorClient::join(const std::string& host, Deadline deadline) {
  return impl_->join(host, deadline);
}
EpochAssignment CoordinatorClient::assignment(const std::string& channel, std::uint64_t epoch,
                                              Deadline deadline) {
  return impl_->assignment(channel, epoch, deadline);
}
std::vector<std::vector<Sample>> CoordinatorClient::shards(const std::string& channel,
                                                           const std::vector<std::uint32_t>& shards,
                                                           Deadline deadline) {
  return impl_->shards(channel, shards, deadline);
}
void CoordinatorClient::progress(const Progress& progress) {
  impl_->progress(progress);
}
void CoordinatorClient::metric(MetricPoint point) {
  impl_->metric(point);
}
void CoordinatorClient::epoch(EpochResult result) {
  impl_->record([&](v1::ReportRequest& report) { *report.add_epochs() = to_message(result); });
}
void CoordinatorClient::notice(std::string line) {
  impl_->record([&](v1::ReportRequest& report) {
    // Two notices of one millisecond with the same text are two all the same.
    const std::int64_t last =
        report.notice_time_ms().empty() ? 0 : *report.notice_time_ms().rbegin();
    report.add_notices(std::move(line));
    report.add_notice_time_ms(std::max(now_ms(), last + 1));
  });
}
void CoordinatorClient::flush(Deadline deadline) {
  impl_->flush(deadline);
}
Directives CoordinatorClient::directives() {
  return impl_->directives();
}
void CoordinatorClient::checkpoint_taken() {
  impl_->checkpoint_taken();
}
bool CoordinatorClient::slice_written(const SliceWritten& slice, Deadline deadline) {
  return impl_->slice_written(slice, deadline);
}
void CoordinatorClient::finish(Outcome outcome, const std::string& failure,
                               const std::string& artifact,
                               const std::vector<MetricPoint>& final_metrics, Deadline deadline) {
  impl_->finish(outcome, failure, artifact, final_metrics, deadline);
}

}  // namespace musher
