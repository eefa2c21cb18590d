#include "trainer/client/coordinator_client.h"

#include <algorithm>
#include <functional>

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include "common/error.h"
#include "rpc/tls.h"
#include "trainer/client/channel.h"
#include "trainer/client/messages.h"
#include "trainer/client/reporter.h"
#include "workers.grpc.pb.h"

namespace musher {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallTimeout{10'000};  // of one attempt of a call that answers at once
constexpr milliseconds kJoinTimeout{60'000};  // of one attempt of Join, which waits for the others

std::int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

class CoordinatorClient::Impl {
 public:
  Impl(const std::string& address, RankIdentity identity)
      : address_(Endpoint::parse(address).address),
        identity_(std::move(identity)),
        stub_(v1::Workers::NewStub(open_channel(address))),
        reporter_(address_, identity_, *stub_) {}

  Membership join(const std::string& host, bool newcomer, Deadline deadline);
  GenerationPlan regroup(const std::vector<int>& members, std::uint64_t step,
                         const std::string& cause, Deadline deadline);
  EpochAssignment assignment(const std::string& channel, std::uint64_t epoch, Deadline deadline);
  std::vector<std::vector<Sample>> shards(const std::string& channel,
                                          const std::vector<std::uint32_t>& shards,
                                          Deadline deadline);
  bool slice_written(const SliceWritten& slice, Deadline deadline);
  void finish(Outcome outcome, const std::string& failure, const std::string& artifact,
              const std::vector<MetricPoint>& final_metrics, Deadline deadline);
  void progress(const Progress& progress);

  Reporter& reporter() { return reporter_; }

 private:
  using Attempt = std::function<grpc::Status(grpc::ClientContext&)>;

  /// Repeats `attempt` while the coordinator can't be reached, with backoff, until the deadline.
  void call(const char* what, milliseconds timeout, Deadline deadline, const Attempt& attempt) {
    const auto pause = [&](milliseconds time) { return reporter_.wait_out(time, deadline); };
    call_with_retries({what, address_, timeout, deadline, pause}, attempt);
  }
  void require_current(bool stale, const v1::RankId& caller, const char* what);

  const std::string address_;
  const RankIdentity identity_;
  const std::unique_ptr<v1::Workers::Stub> stub_;
  Reporter reporter_;
};

void CoordinatorClient::Impl::require_current(bool stale, const v1::RankId& caller,
                                              const char* what) {
  if (!stale) return;
  const bool ends = reporter_.is_stale(caller);
  throw Error(ErrorCode::kFailedPrecondition,
              std::string(what) + ": rank " + std::to_string(identity_.rank) + " of attempt " +
                  std::to_string(identity_.attempt) + " of job " + identity_.job +
                  (ends ? " is stale: the coordinator has moved on to another attempt or generation"
                        : " asked as a member of a generation that is over"));
}

Membership CoordinatorClient::Impl::join(const std::string& host, bool newcomer,
                                         Deadline deadline) {
  v1::JoinRequest request;
  *request.mutable_id() = reporter_.id();
  request.set_world_size(identity_.world_size);
  request.set_host(host);
  request.set_pid(::getpid());
  request.set_newcomer(newcomer);
  v1::JoinReply reply;
  call("Join", kJoinTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->Join(&context, request, &reply); });
  Membership membership = membership_from(reply, identity_.world_size);
  reporter_.enter_generation(membership.generation);
  reporter_.start(std::max(milliseconds(10), milliseconds(static_cast<std::int64_t>(
                                                 1000 * membership.heartbeat_seconds))));
  return membership;
}

GenerationPlan CoordinatorClient::Impl::regroup(const std::vector<int>& members, std::uint64_t step,
                                                const std::string& cause, Deadline deadline) {
  v1::RegroupRequest request;
  *request.mutable_id() = reporter_.id();
  for (const int member : members) request.add_members(member);
  request.set_step(step);
  request.set_cause(cause);
  v1::RegroupReply reply;
  call("Regroup", kCallTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->Regroup(&context, request, &reply); });
  if (reply.stale()) {
    throw Error(ErrorCode::kFailedPrecondition,
                "Regroup: the coordinator has moved on without rank " +
                    std::to_string(identity_.rank) + " of attempt " +
                    std::to_string(identity_.attempt) + " of job " + identity_.job);
  }
  return {reply.generation(),
          {reply.virtual_worker_rank().begin(), reply.virtual_worker_rank().end()}};
}

EpochAssignment CoordinatorClient::Impl::assignment(const std::string& channel, std::uint64_t epoch,
                                                    Deadline deadline) {
  v1::AssignmentRequest request;
  *request.mutable_id() = reporter_.id();
  request.set_channel(channel);
  request.set_epoch(epoch);
  v1::Assignment reply;
  call("GetAssignment", kCallTimeout, deadline, [&](grpc::ClientContext& context) {
    return stub_->GetAssignment(&context, request, &reply);
  });
  require_current(reply.stale(), request.id(), "GetAssignment");
  return assignment_from(reply);
}

std::vector<std::vector<Sample>> CoordinatorClient::Impl::shards(
    const std::string& channel, const std::vector<std::uint32_t>& shards, Deadline deadline) {
  std::vector<std::vector<Sample>> samples;
  call("GetShards", kCallTimeout, deadline, [&](grpc::ClientContext& context) {
    // A stream that broke goes on where it broke.
    v1::ShardsRequest request;
    *request.mutable_id() = reporter_.id();
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
    grpc::Status status = stream->Finish();
    if (status.ok() && samples.size() < shards.size()) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "fewer shards came than were asked for");
    }
    return status;
  });
  return samples;
}

bool CoordinatorClient::Impl::slice_written(const SliceWritten& slice, Deadline deadline) {
  v1::SliceReport request = to_message(slice);
  *request.mutable_id() = reporter_.id();
  v1::SliceReply reply;
  // The last slice's answer waits for the manifest to be written to the object store.
  call("ReportSlice", kJoinTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->ReportSlice(&context, request, &reply); });
  require_current(reply.stale(), request.id(), "ReportSlice");
  if (!reply.failure().empty()) throw Error(ErrorCode::kFailedPrecondition, reply.failure());
  return reply.committed();
}

void CoordinatorClient::Impl::finish(Outcome outcome, const std::string& failure,
                                     const std::string& artifact,
                                     const std::vector<MetricPoint>& final_metrics,
                                     Deadline deadline) {
  try {
    if (reporter_.started()) reporter_.flush(deadline);
  } catch (const Error&) {
    if (outcome != Outcome::kFailed) throw;
  }
  v1::FinishRequest request;
  *request.mutable_id() = reporter_.id();
  request.set_outcome(to_message(outcome));
  request.set_failure(failure);
  request.set_artifact(artifact);
  for (const MetricPoint& point : final_metrics) {
    *request.add_final_metrics() = to_message(point, now_ms());
  }
  v1::FinishReply reply;
  call("Finish", kCallTimeout, deadline,
       [&](grpc::ClientContext& context) { return stub_->Finish(&context, request, &reply); });
  reporter_.close();
}

void CoordinatorClient::Impl::progress(const Progress& progress) {
  reporter_.record([&](v1::ReportRequest& report) {
    report.set_phase(to_message(progress.phase));
    report.set_step(progress.step);
    report.set_steps(progress.steps);
    report.set_epoch(progress.epoch);
    report.set_samples_per_second(progress.samples_per_second);
    report.set_loss(progress.loss);
    report.set_step_seconds(progress.step_seconds);
  });
}

CoordinatorClient::CoordinatorClient(const std::string& address, RankIdentity identity)
    : impl_(std::make_unique<Impl>(address, std::move(identity))) {}
CoordinatorClient::~CoordinatorClient() = default;

Membership CoordinatorClient::join(const std::string& host, Deadline deadline) {
  return impl_->join(host, /*newcomer=*/false, deadline);
}
Membership CoordinatorClient::join_as_newcomer(const std::string& host, Deadline deadline) {
  return impl_->join(host, /*newcomer=*/true, deadline);
}
void CoordinatorClient::begin_regroup() {
  impl_->reporter().begin_regroup();
}
GenerationPlan CoordinatorClient::regroup(const std::vector<int>& members, std::uint64_t step,
                                          const std::string& cause, Deadline deadline) {
  return impl_->regroup(members, step, cause, deadline);
}
void CoordinatorClient::enter_generation(std::uint64_t generation) {
  impl_->reporter().enter_generation(generation);
}
void CoordinatorClient::recovered(const RecoveryDone& recovery) {
  impl_->reporter().record(
      [&](v1::ReportRequest& report) { *report.mutable_recovery() = to_message(recovery); });
}
void CoordinatorClient::watch_activity(std::function<ActivityNow()> source) {
  impl_->reporter().watch_activity(std::move(source));
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
  impl_->reporter().record(
      [&](v1::ReportRequest& report) { *report.add_metrics() = to_message(point, now_ms()); });
}
void CoordinatorClient::epoch(EpochResult result) {
  impl_->reporter().record(
      [&](v1::ReportRequest& report) { *report.add_epochs() = to_message(result); });
}
void CoordinatorClient::notice(std::string line) {
  impl_->reporter().record([&](v1::ReportRequest& report) {
    // Two notices of one millisecond with the same text are two all the same.
    const std::int64_t last =
        report.notice_time_ms().empty() ? 0 : *report.notice_time_ms().rbegin();
    report.add_notices(std::move(line));
    report.add_notice_time_ms(std::max(now_ms(), last + 1));
  });
}
void CoordinatorClient::interrupted(const Interruption& interruption) {
  impl_->reporter().record([&](v1::ReportRequest& report) {
    *report.mutable_interruption() = to_message(interruption);
  });
}
void CoordinatorClient::flush(Deadline deadline) {
  impl_->reporter().flush(deadline);
}
Directives CoordinatorClient::directives() {
  return impl_->reporter().directives();
}
void CoordinatorClient::checkpoint_taken() {
  impl_->reporter().checkpoint_taken();
}
void CoordinatorClient::want_checkpoint() {
  impl_->reporter().want_checkpoint();
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
