// How ranks join, and what they are assigned.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

constexpr double kReportsASecond = 80;  // of a job, but for its leader's
constexpr std::size_t kJoinsAtOnce = 64;
// At least: the next, and time to try that one again where its answer is lost (after 5 s, see
// trainer/client/reporter.cpp).
constexpr double kReportsInTimeout = 2.5;

Caller caller_of(const v1::RankId& id) {
  return {id.attempt(), id.generation(), id.rank(), id.token()};
}

void describe_channel(const ChannelData& channel, v1::ChannelSummary& summary) {
  summary.set_name(channel.name());
  summary.set_uri(channel.uri());
  summary.set_samples(channel.manifest().samples());
  summary.set_bytes(channel.manifest().bytes());
  summary.set_shards(static_cast<std::uint32_t>(channel.manifest().shards().size()));
  summary.set_fingerprint(channel.fingerprint());
  summary.set_window(channel.window());
}

Error refused_join(const v1::RankId& id, const std::string& why) {
  return {ErrorCode::kFailedPrecondition,
          fmt::format("job {} refuses rank {}: {}", id.job(), id.rank(), why)};
}

}  // namespace

void Coordinator::join(const v1::JoinRequest& request, Deadline deadline, JoinAnswer answer) {
  const v1::RankId& id = request.id();
  std::optional<v1::JoinReply> reply;
  {
    const Lock lock(mutex_);
    const JobPtr job = find(id.job());
    if (!job || (!job->membership && !begun_by(job, id))) {
      throw refused_join(id, "no attempt of it runs");
    }
    take_join(job, request);
    WaitingJoin waiting{id, request.newcomer(), job, deadline, std::move(answer)};
    reply = joined(waiting);
    if (!reply) {
      waiting_joins_.push_back(std::move(waiting));
      return;
    }
    answer = std::move(waiting.answer);
  }
  answer(*std::move(reply));
}

/// The answer; absent: not yet. Throws where there will be none.
std::optional<v1::JoinReply> Coordinator::joined(const WaitingJoin& waiting) {
  const auto& [id, newcomer, job, deadline, answer] = waiting;
  if (!job->failure.empty()) throw refused_join(id, job->failure);
  if (!job->membership || job->membership->attempt != id.attempt()) {
    throw refused_join(id, "its attempt is over");
  }
  if (!job->membership->generation || !job->prepared) {
    if (!ending_ && !deadline.expired()) return std::nullopt;
    throw Error(ErrorCode::kUnavailable, "the other ranks or the data are not there yet");
  }
  RankLife& life = job->ranks[id.rank()];
  life.heard = Deadline::Clock::now();
  life.joined = true;
  v1::JoinReply reply = join_reply(job, id.rank());
  // The others train already: their state comes to a newcomer from one of them.
  if (newcomer) reply.clear_resume_candidates();
  return reply;
}

/// The answers that are due now, to be given without the lock; not all at once, as the answers to
/// the ranks of a large job are large together.
std::vector<std::function<void()>> Coordinator::joins_to_answer() {
  std::vector<std::function<void()>> due;
  std::erase_if(waiting_joins_, [&](WaitingJoin& waiting) {
    if (due.size() == kJoinsAtOnce) return false;
    std::variant<v1::JoinReply, Error> result;
    try {
      auto reply = joined(waiting);
      if (!reply) return false;
      result = *std::move(reply);
    } catch (const Error& error) {
      result = error;
    }
    due.emplace_back([answer = std::move(waiting.answer), result = std::move(result)]() mutable {
      answer(std::move(result));
    });
    return true;
  });
  return due;
}

/// Takes a Join down, and what it leads to. Throws where it is refused.
void Coordinator::take_join(const JobPtr& job, const v1::JoinRequest& request) {
  const v1::RankId& id = request.id();
  AttemptMembership& membership = *job->membership;
  const Member member{id.rank(), request.host(), request.pid()};
  const JoinResult result =
      request.newcomer() ? join_newcomer(membership, caller_of(id), member)
                         : musher::join(membership, caller_of(id), request.world_size(), member);
  switch (result) {
    case JoinResult::kComplete: {
      const auto newest = store_.newest_generation(job->name());
      const Generation generation = form_generation(membership, newest ? newest->number + 1 : 1);
      store_.add_generation(job->name(), generation);
      membership.generation = generation;
      apply(job, RanksJoined{id.attempt()});
      break;
    }
    case JoinResult::kNewcomer:
      save_newcomer(job, {member, NewcomerRecord::State::kJoined});
      break;
    case JoinResult::kWaiting:
    case JoinResult::kMember:
      break;
    default:
      if (result == JoinResult::kWrongToken) refusals_.count(Refusal::kWrongToken);
      throw refused_join(id, std::string(to_string(result)));
  }
  job->ranks[id.rank()].process = process_of(*job, member);
}

/// The ranks of a large job report less often, so that together they cost no more than those of a
/// small one; the leader, who tells how the job stands, does not.
double Coordinator::heartbeat_of(const ActiveJob& job, int rank) const {
  double seconds = options_.heartbeat_seconds;
  const auto& generation = job.membership->generation;
  if (generation && rank != leader_of(generation)) {
    const double ranks = static_cast<double>(generation->members.size());
    seconds = std::max(seconds, ranks / kReportsASecond);
  }
  const double timeout = static_cast<double>(job.job.hyperparameters.heartbeat_timeout_seconds);
  return std::min(seconds, timeout / kReportsInTimeout);
}

v1::JoinReply Coordinator::join_reply(const JobPtr& job, int rank) {
  const Generation& generation = *job->membership->generation;
  v1::JoinReply reply;
  *reply.mutable_job() = job->record.request;
  reply.set_generation(generation.number);
  reply.set_virtual_workers(static_cast<int>(generation.virtual_worker_rank.size()));
  for (const int rank : generation.virtual_worker_rank) reply.add_virtual_worker_rank(rank);
  for (const std::string& name : job->channels->train->manifest().classes()) {
    reply.add_classes(name);
  }
  describe_channel(*job->channels->train, *reply.add_channels());
  if (job->channels->validation) {
    describe_channel(*job->channels->validation, *reply.add_channels());
  }
  for (const std::string& uri : job->resume_candidates) reply.add_resume_candidates(uri);
  reply.set_s3_endpoint(options_.storage.s3_endpoint);
  reply.set_s3_region(options_.storage.s3_region);
  reply.set_heartbeat_seconds(heartbeat_of(*job, rank));
  return reply;
}

v1::Assignment Coordinator::assignment(const v1::AssignmentRequest& request) {
  v1::Assignment reply;
  std::shared_ptr<const JobChannels> channels;
  std::vector<std::uint32_t> virtual_workers;
  DealOptions options;
  {
    const Lock lock(mutex_);
    const JobPtr job = current(request.id(), "GetAssignment");
    if (!job) {
      reply.set_stale(true);
      return reply;
    }
    channels = job->channels;
    const Generation& generation = *job->membership->generation;
    virtual_workers = virtual_workers_of(generation, request.id().rank());
    options.virtual_workers = static_cast<std::uint32_t>(generation.virtual_worker_rank.size());
    options.seed = job->job.train.shuffle_seed
                       ? static_cast<std::uint64_t>(*job->job.train.shuffle_seed)
                       : job->job.hyperparameters.seed;
  }
  if (!channels) throw Error(ErrorCode::kUnavailable, "the job's manifests are being read");
  const ChannelData* channel = channels->find(request.channel());
  if (channel == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "GetAssignment.channel: the job has no channel \"" + request.channel() + "\"");
  }
  options.epoch = request.epoch();
  options.window = channel->window();
  options.shuffle = channel == channels->train.get();
  const auto runs = channel->runs(options);
  for (const std::uint32_t v : virtual_workers) {
    v1::VirtualWorkerShare* share = reply.add_shares();
    share->set_virtual_worker(v);
    for (const Run& run : runs->at(v)) {
      v1::ShardRun* message = share->add_runs();
      message->set_shard(run.shard);
      message->set_first(run.first);
      message->set_count(run.count);
    }
  }
  const Digest digest = channel->digest(request.epoch());
  reply.set_epoch_samples(digest.samples);
  reply.set_epoch_sum(digest.sum);
  return reply;
}

std::shared_ptr<const JobChannels> Coordinator::channels(const v1::RankId& id) {
  const Lock lock(mutex_);
  const JobPtr job = current(id, "GetShards");
  if (!job) return nullptr;
  if (!job->channels) throw Error(ErrorCode::kUnavailable, "the job's manifests are being read");
  return job->channels;
}

}  // namespace musher
