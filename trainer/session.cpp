#include "trainer/session.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include "common/error.h"
#include "trainer/build.h"
#include "trainer/level.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kCallTimeout = std::chrono::minutes(5);
constexpr auto kUploadTimeout = std::chrono::hours(6);
constexpr auto kGatherTimeout = std::chrono::hours(24);
constexpr auto kGrowTimeout = std::chrono::seconds(20);
constexpr auto kFarewellTimeout = std::chrono::seconds(5);
/// To find together after a failure, beyond what the coordinator takes to end a rank that hangs.
constexpr auto kShrinkTimeout = std::chrono::seconds(60);

Deadline soon() {
  return Deadline::after(kCallTimeout);
}

TrainingStep::Options step_options(const SessionOptions& options, ActivityClock& activity) {
  // form() gives the memory for gradients, once there are ranks to share it with.
  return {options.device, options.bucket_bytes,
          at::empty({0}, at::TensorOptions(at::kFloat).device(options.device)), &activity,
          options.faults};
}

CheckpointWriter::Listener tell(CoordinatorClient& client) {
  return {[&client](const SliceWritten& slice) {
            // A checkpoint at an epoch's end says that the epoch is over: no attempt that resumes
            // from it would tell its digest again.
            client.flush(soon());
            client.slice_written(slice, soon());
          },
          [&client](const std::string& text) { client.notice(text); }};
}

ActivityNow activity_now(const ActivityClock& clock, const Inputs& inputs) {
  ActivityNow now = clock.now();
  if (now.activity == Activity::kWaitingForData)
    now.seconds = std::min(now.seconds, inputs.silent_seconds());
  return now;
}

}  // namespace

Session::Session(SessionOptions options, Membership membership, CoordinatorClient& client,
                 const std::atomic<bool>& stop_signal)
    : options_(std::move(options)),
      membership_(std::move(membership)),
      client_(client),
      stop_signal_(stop_signal),
      format_(sample_format(membership_.job.task, membership_.job.hyperparameters,
                            membership_.classes)),
      task_(build_task(membership_, format_)),
      model_(build_model(membership_, format_, *task_, options_.models, weights_report_)),
      fingerprint_(model_fingerprint(*model_)),
      step_(*model_, *task_, membership_.job.hyperparameters, step_options(options_, activity_)),
      inputs_(membership_, format_, client, options_.data, options_.faults.probe()),
      checkpoint_store_(membership_.job.checkpoints
                            ? open_store(*membership_.job.checkpoints, membership_.storage)
                            : nullptr),
      checkpoints_(checkpoint_store_ ? std::make_unique<CheckpointWriter>(
                                           *checkpoint_store_,
                                           checkpoint_identity(membership_, fingerprint_,
                                                               step_.parameters(), *model_),
                                           tell(client), options_.faults)
                                     : nullptr),
      loop_({membership_.job.hyperparameters, step_, *task_, checkpoints_.get(), client, activity_,
             stop_signal, options_.device, inputs_.steps_per_epoch(), inputs_.validation_steps(),
             options_.step_timeout, options_.faults, options_.metrics_every_steps}),
      watch_(client) {
  client_.watch_activity([this] { return activity_now(activity_, inputs_); });
}

Session::~Session() {
  client_.watch_activity({});
}

Outcome Session::run(std::unique_ptr<Collective> ranks) {
  replace(std::move(ranks));
  if (!options_.newcomer) load();
  while (true) {
    try {
      if (!gathered_) gather();
      if (!formed_) form();
      const LoopEnd end = train();
      if (end == LoopEnd::kDone || end == LoopEnd::kStopped) {
        return publish(end == LoopEnd::kStopped);
      }
      if (end == LoopEnd::kGrowing) {
        grow();
      } else if (loop_.wants_to_leave()) {
        client_.finish(Outcome::kLeft, "", "", {}, Deadline::after(kFarewellTimeout));
        return Outcome::kLeft;
      } else {
        recover("");
      }
    } catch (const PeerFailure& failure) {
      recover(failure.what());
    }
  }
}

/// The state to begin with. Each rank reads it by itself; should one find another checkpoint
/// damaged, form() brings all to the newest that one of them could read.
void Session::load() {
  has_state_ = true;
  if (leads() && !weights_report_.empty()) client_.notice(weights_report_);
  if (membership_.resume_candidates.empty()) return;
  const LoadedCheckpoint loaded = load_newest_checkpoint(
      membership_.resume_candidates, membership_.storage,
      checkpoint_identity(membership_, fingerprint_, step_.parameters(), *model_),
      {ranks_->rank(), ranks_->size()}, step_.tensors(), step_.optimizer());
  loop_.state() = loaded.state;
  loop_.state().closed_epochs = loaded.state.step / inputs_.steps_per_epoch();
  for (const std::string& text : loaded.notices) client_.notice(text);
  if (leads())
    client_.notice(fmt::format("resumed at step {} from {}", loaded.state.step, loaded.uri));
}

/// InputMode File. What a failure cuts off is fetched as training asks for it.
void Session::gather() {
  gathered_ = true;
  if (options_.data.file_channels.empty() || options_.newcomer) return;
  inputs_.gather(stop_signal_);
  // The others may have more to bring, or a slower store.
  const DuringActivity waiting(&activity_, Activity::kWaitingForRanks);
  std::uint8_t here = 1;
  std::vector<std::uint8_t> all(static_cast<std::size_t>(ranks_->size()));
  ranks_->host().all_gather({&here, 1, DType::kUInt8}, {all.data(), all.size(), DType::kUInt8},
                            Deadline::after(kGatherTimeout));
}

/// Makes a generation of the ranks of the collective: who stands where, memory, state, virtual
/// workers. Whatever part of it is cut off by a failure is done again.
void Session::form() {
  require_wanted();
  const Deadline deadline = soon();
  const TrainingState& state = loop_.state();
  Standpoint mine;
  mine.member = options_.member;
  mine.has_state = has_state_ ? 1 : 0;
  mine.step = static_cast<std::int64_t>(state.step);
  mine.closed_epochs = static_cast<std::int64_t>(state.closed_epochs);
  mine.stopping = loop_.stopping() ? 1 : 0;
  mine.has_memory = has_memory_ ? 1 : 0;
  mine.regroup = regroup_ || options_.newcomer ? 1 : 0;
  mine.device = options_.device.is_cuda() ? options_.device.index() : -1;
  mine.plan = fingerprint_ + static_cast<std::uint64_t>(options_.bucket_bytes);
  options_.faults.at("agree", state.step);
  agreement_ = agree(ranks_->host(), mine, deadline);
  if (agreement_.allocate) provide_gradients(deadline);
  if (agreement_.level) options_.faults.at("level", state.step);
  if (agreement_.level) level(*ranks_, agreement_, mine, step_, loop_.state(), deadline);
  has_state_ = true;
  GenerationPlan plan{membership_.generation, membership_.virtual_worker_rank};
  // A rank may have died between Join and here.
  const std::set<int> expected(plan.virtual_worker_rank.begin(), plan.virtual_worker_rank.end());
  const std::set<int> present(agreement_.members.begin(), agreement_.members.end());
  if (agreement_.regroup || present != expected) plan = announce(agreement_, deadline);
  client_.enter_generation(plan.generation);
  membership_.generation = plan.generation;
  membership_.virtual_worker_rank = std::move(plan.virtual_worker_rank);
  loop_.enter(agreement_.closed_epochs, agreement_.stopping, failure_.has_value());
  inputs_.rebuild(loop_.state());
  formed_ = true;
  regroup_ = false;
  if (leads()) {
    std::cout << fmt::format("generation {}: {} rank{}, gradients over {}", plan.generation,
                             ranks_->size(), ranks_->size() == 1 ? "" : "s", ranks_->transport())
              << std::endl;
  }
  if (!failure_) return;
  RecoveryDone recovery;
  recovery.generation = plan.generation;
  recovery.ran_again = failure_->under_way == loop_.state().step + 1;
  recovery.regroup_seconds =
      std::chrono::duration<double>(Clock::now() - failure_->noticed).count();
  loop_.note_recovery(recovery, failure_->noticed);
  failure_.reset();
}

void Session::provide_gradients(Deadline deadline) {
  const std::int64_t elements = step_.parameters().gradient_size();
  const std::shared_ptr<void> memory =
      ranks_->allocate(static_cast<std::size_t>(elements) * sizeof(float), deadline);
  step_.parameters().set_gradients(at::from_blob(
      memory.get(), {elements}, [memory](void*) {},
      at::TensorOptions(at::kFloat).device(options_.device)));
  has_memory_ = true;
}

/// The leader asks, all are told. The coordinator journals the generation before it answers.
GenerationPlan Session::announce(const Agreement& agreement, Deadline deadline) {
  client_.begin_regroup();
  std::vector<std::int64_t> message(2 + membership_.virtual_worker_rank.size());
  std::string refusal;
  if (leads()) {
    try {
      options_.faults.at("regroup", agreement.step);
      const GenerationPlan plan = client_.regroup(agreement.members, agreement.step,
                                                  failure_ ? failure_->cause : "", deadline);
      options_.faults.at("regrouped", agreement.step);
      message[0] = 1;
      message[1] = static_cast<std::int64_t>(plan.generation);
      std::copy(plan.virtual_worker_rank.begin(), plan.virtual_worker_rank.end(),
                message.begin() + 2);
    } catch (const Error& error) {
      refusal = error.what();
    }
  }
  ranks_->host().broadcast({message.data(), message.size(), DType::kInt64}, 0, deadline);
  if (message[0] == 0) {
    throw Error(ErrorCode::kFailedPrecondition,
                refusal.empty() ? "the coordinator did not take the regrouped ranks" : refusal);
  }
  return {static_cast<std::uint64_t>(message[1]), {message.begin() + 2, message.end()}};
}

LoopEnd Session::train() {
  return loop_.run(
      {membership_.generation, *ranks_, inputs_.train(), inputs_.validation(),
       fmt::format("{}.{}.{}", membership_.job.name, options_.attempt, membership_.generation),
       [this] { return newcomer_ready(); }});
}

/// After a failure, or for members that leave (no cause): the others go on.
void Session::recover(const std::string& cause) {
  if (!failure_) failure_ = Failure{Clock::now(), cause, loop_.step_under_way()};
  activity_.enter(Activity::kRecovering);
  formed_ = false;
  regroup_ = members_changed_ = true;
  client_.begin_regroup();
  require_wanted();
  options_.faults.at("failed", loop_.state().step);
  const std::chrono::seconds limit(membership_.job.hyperparameters.heartbeat_timeout_seconds);
  replace(ranks_->shrink(Deadline::after(limit + kShrinkTimeout)));
  activity_.enter(Activity::kUnknown);
}

void Session::grow() {
  if (!failure_) failure_ = Failure{Clock::now(), "", std::nullopt};
  formed_ = false;
  regroup_ = members_changed_ = true;
  client_.begin_regroup();
  const auto newcomer = std::move(newcomer_);
  replace(ranks_->grow(newcomer.get(), Deadline::after(kGrowTimeout)));
}

/// What the coordinator wants started is started; one at a time.
bool Session::newcomer_ready() {
  if (!leads()) return false;
  if (newcomer_ && newcomer_->failed()) newcomer_.reset();
  if (!newcomer_) {
    for (const int member : client_.directives().start) {
      if (!started_.insert(member).second) continue;
      newcomer_ = options_.start_newcomer(newcomer_command(member));
      break;
    }
  }
  return newcomer_ && newcomer_->ready();
}

std::vector<std::string> Session::newcomer_command(int member) const {
  auto command = options_.newcomer_command;
  command.insert(command.end(), {"--newcomer", std::to_string(member)});
  if (options_.device.is_cuda()) {
    int device = 0;
    const auto& used = agreement_.devices;
    while (std::find(used.begin(), used.end(), device) != used.end()) ++device;
    command.insert(command.end(), {"--gpu", std::to_string(device)});
  }
  return command;
}

/// All stay until the artifact stands: should the leader die over it, another writes it.
Outcome Session::publish(bool stopped) {
  // The coordinator compares the last epoch's digest before anything is published.
  client_.flush(soon());
  require_wanted();
  newcomer_.reset();
  client_.progress({Phase::kUploading, loop_.state().step, loop_.steps(), 0, 0, 0, 0});
  {
    const UsingAverage using_average(step_.average());
    const AveragedBuffers averaged(*model_, loop_.state().samples_trained, *ranks_, soon());
    options_.faults.at("upload", loop_.state().step);
    if (leads()) {
      save_artifact(membership_, format_, *model_, loop_.state().step, stopped, loop_.metrics());
    }
  }
  if (leads()) options_.faults.at("published", loop_.state().step);
  std::int64_t published = 1;
  ranks_->host().broadcast({&published, 1, DType::kInt64}, 0, Deadline::after(kUploadTimeout));
  const Outcome outcome = stopped ? Outcome::kStopped : Outcome::kCompleted;
  client_.finish(outcome, "", membership_.job.artifact().str(), loop_.metrics(), soon());
  return outcome;
}

/// The failure that the coordinator knows of says more than the symptom that this rank saw.
void Session::require_wanted() {
  const Directives directives = client_.directives();
  if (!directives.failure.empty()) throw Error(ErrorCode::kFailedPrecondition, directives.failure);
  if (directives.stale) {
    throw Error(ErrorCode::kFailedPrecondition,
                "the coordinator has moved on to another attempt or generation");
  }
}

void Session::replace(std::unique_ptr<Collective> next) {
  watch_.follow(nullptr);
  ranks_ = std::move(next);
  watch_.follow(ranks_.get());
}

}  // namespace musher
