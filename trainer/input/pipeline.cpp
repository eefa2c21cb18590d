#include "trainer/input/pipeline.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "common/thread.h"
#include "trainer/input/batch_work.h"
#include "trainer/input/planner.h"

namespace musher {
namespace {

constexpr std::uint64_t kNoStep = std::numeric_limits<std::uint64_t>::max();
/// Steps ahead of the caller beyond which planning only costs memory.
constexpr std::size_t kMostSteps = 128;
/// The next batch and the one after it are made whatever they take, so that nothing deadlocks on a
/// small budget and decoding always runs beside the training of the batch before.
constexpr std::uint64_t kUnboundedSteps = 2;
/// Samples that a decoding thread takes at once at most: enough that tiny images do not wait for
/// the lock.
constexpr std::size_t kMostSamplesAtOnce = 16;

/// A batch on its way.
struct Step {
  Step(StepPlan plan, const SampleDecoder& decoder, const PipelineOptions& options)
      : work(std::move(plan), decoder, options.deal.seed, options.mix),
        unfinished(work.samples()) {}

  BatchWork work;
  std::uint64_t planned_bytes = 0;  ///< of the batch and of the chunks that it is the first to need
  std::size_t missing_chunks = 0;
  enum { kPlanned, kAllocating, kOpen } state = kPlanned;
  std::size_t taken = 0;       ///< samples that some thread decodes or has decoded
  std::size_t unfinished = 0;  ///< samples that are not decoded yet
  bool done = false;
  Batch batch;  ///< once done
};

struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

/// Of the exception that is being handled.
Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::exception& error) {
    return {ErrorCode::kInternal, fmt::format("input pipeline: {}", error.what())};
  }
}

void check(const PipelineOptions& options) {
  const auto require = [](bool holds, const char* message) {
    if (!holds)
      throw Error(ErrorCode::kInvalidArgument, fmt::format("input pipeline: {}", message));
  };
  require(options.steps_per_epoch > 0, "steps_per_epoch must be at least 1");
  require(options.samples_per_virtual_worker > 0, "samples_per_virtual_worker must be at least 1");
  require(options.deal.window > 0, "window must be at least 1");
  require(options.threads > 0 && options.fetch_threads > 0, "threads must be at least 1");
  require(options.first_step <= options.end_step, "first_step must not be past end_step");
}

}  // namespace

/// One lock over all that is planned. A planning thread appends steps; fetching threads take chunks
/// in the order of the steps that first need them; decoding threads take samples of the earliest
/// step that has some left; the caller takes the head.
class Pipeline::Impl {
 public:
  Impl(ObjectStore& store, const SampleDecoder& decoder, PlanSource source, PipelineOptions options)
      : store_(store),
        decoder_(decoder),
        options_(std::move(options)),
        planner_(std::move(source), options_),
        chunk_limit_(options_.prefetch_bytes / 4 * 3),
        batch_limit_(options_.prefetch_bytes / 4),
        head_(options_.first_step),
        decode_step_(options_.first_step) {
    check(options_);
    try {
      threads_.emplace_back("input-plan", [this] { plan_steps(); });
      for (std::size_t i = 0; i < options_.fetch_threads; ++i) {
        threads_.emplace_back(fmt::format("input-fetch-{}", i), [this] { fetch_chunks(); });
      }
      for (std::size_t i = 0; i < options_.threads; ++i) {
        threads_.emplace_back(fmt::format("input-decode-{}", i), [this] { decode_steps(); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Impl() { stop(); }

  Batch next(Deadline deadline);
  double waited_seconds() const {
    std::lock_guard lock(mutex_);
    return std::chrono::duration<double>(waited_).count();
  }
  double silent_seconds() const;

 private:
  using Lock = std::unique_lock<std::mutex>;

  using Clock = std::chrono::steady_clock;

  void stop();
  void fail(std::uint64_t step);

  /// Runs `call`, of the store or the source, without the lock.
  template <typename Call>
  auto unlocked(Lock& lock, Call call) {
    const auto begun = calls_.insert(Clock::now());
    lock.unlock();
    const auto ended = [&] {
      if (!lock.owns_lock()) lock.lock();
      calls_.erase(begun);
      last_sign_ = Clock::now();
    };
    try {
      auto result = call();
      ended();
      return result;
    } catch (...) {
      ended();
      throw;
    }
  }

  void plan_steps();
  bool may_plan() const;
  void append(StepPlan plan);

  void fetch_chunks();
  bool may_fetch() const;
  void fetch(Lock& lock, Chunk& chunk);

  void decode_steps();
  Step* decodable();
  void decode_some(Lock& lock, Step& step);

  Step& step(std::uint64_t number) { return *steps_[number - head_]; }
  std::uint64_t after_last() const { return head_ + steps_.size(); }
  bool unbounded(std::uint64_t number) const { return number < head_ + kUnboundedSteps; }

  ObjectStore& store_;
  const SampleDecoder& decoder_;
  const PipelineOptions options_;
  Planner planner_;  // the planning thread's own
  const std::uint64_t chunk_limit_;
  const std::uint64_t batch_limit_;

  mutable std::mutex mutex_;  // guards all below but the threads
  std::condition_variable plan_wake_;
  std::condition_variable fetch_wake_;
  std::condition_variable decode_wake_;
  std::condition_variable ready_wake_;
  bool stopping_ = false;
  std::uint64_t head_;                       // the step that next() returns next
  std::deque<std::unique_ptr<Step>> steps_;  // planned and not yet returned, from head_ on
  std::uint64_t decode_step_;                // the first that has samples which no thread has taken
  std::deque<std::shared_ptr<Chunk>> queue_;  // to be fetched, by first_step
  std::uint64_t planned_bytes_ = 0;           // of steps_
  std::uint64_t chunk_bytes_ = 0;             // fetched or being fetched, and not yet decoded
  std::uint64_t batch_bytes_ = 0;             // of batches that are being made or finished
  std::uint64_t failed_step_ =
      kNoStep;       // the earliest step that can't be made; nothing from there on is worked on
  Failure failure_;  // why
  std::chrono::steady_clock::duration waited_{};
  Clock::time_point last_sign_ = Clock::now();  // of life
  std::multiset<Clock::time_point> calls_;      // when those under way began

  std::vector<Thread> threads_;
};

double Pipeline::Impl::silent_seconds() const {
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  const bool calls = !calls_.empty() && now - *calls_.rbegin() < options_.longest_call;
  return calls ? 0 : std::chrono::duration<double>(now - last_sign_).count();
}

void Pipeline::Impl::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  plan_wake_.notify_all();
  fetch_wake_.notify_all();
  decode_wake_.notify_all();
  threads_.clear();
}

/// Within a catch clause, with the lock held.
void Pipeline::Impl::fail(std::uint64_t step) {
  if (step >= failed_step_) return;
  failed_step_ = step;
  failure_ = current_failure();
  ready_wake_.notify_all();
}

Batch Pipeline::Impl::next(Deadline deadline) {
  Lock lock(mutex_);
  if (head_ >= options_.end_step) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("step {} is past the last step of the input, {}", head_, options_.end_step));
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto is_done = [&] { return !steps_.empty() && steps_.front()->done; };
  ready_wake_.wait_until(lock, deadline.when(), [&] { return head_ == failed_step_ || is_done(); });
  waited_ += std::chrono::steady_clock::now() - begin;
  if (head_ == failed_step_) throw Error(failure_.code, failure_.message);
  if (!is_done()) {
    const std::size_t missing = steps_.empty() ? 0 : steps_.front()->missing_chunks;
    throw Error(
        ErrorCode::kDeadlineExceeded,
        fmt::format("the batch of step {} was not ready in time: it waits for {} reads from {}",
                    head_, missing, store_.root().str()));
  }
  const std::unique_ptr<Step> step = std::move(steps_.front());
  steps_.pop_front();
  ++head_;
  planned_bytes_ -= step->planned_bytes;
  batch_bytes_ -= step->work.input_bytes();
  lock.unlock();
  plan_wake_.notify_all();
  fetch_wake_.notify_all();
  decode_wake_.notify_all();
  return std::move(step->batch);
}

// Planning

void Pipeline::Impl::plan_steps() {
  Lock lock(mutex_);
  while (planner_.next_step() < options_.end_step) {
    plan_wake_.wait(lock, [&] { return stopping_ || may_plan(); });
    if (stopping_ || failed_step_ != kNoStep) return;
    const std::uint64_t number = planner_.next_step();
    try {
      append(unlocked(lock, [&] { return planner_.next(); }));
    } catch (...) {
      fail(number);
      return;
    }
  }
}

/// Far enough ahead to fill the budget; of the epochs only the present and the next.
bool Pipeline::Impl::may_plan() const {
  if (steps_.size() < kUnboundedSteps) return true;
  return steps_.size() < kMostSteps && planned_bytes_ < options_.prefetch_bytes &&
         planner_.next_epoch() <= head_ / options_.steps_per_epoch + 1;
}

void Pipeline::Impl::append(StepPlan plan) {
  auto step = std::make_unique<Step>(std::move(plan), decoder_, options_);
  const std::uint64_t number = step->work.plan().step;
  step->planned_bytes = step->work.input_bytes();
  for (const PlannedSample& planned : step->work.plan().samples) {
    Chunk& chunk = *planned.chunk;
    if (!chunk.requested) {
      chunk.requested = true;
      chunk.first_step = number;
      step->planned_bytes += chunk.read_bytes();
      queue_.push_back(planned.chunk);
    }
    if (chunk.ready || (!chunk.waiting.empty() && chunk.waiting.back() == number)) continue;
    chunk.waiting.push_back(number);
    ++step->missing_chunks;
  }
  planned_bytes_ += step->planned_bytes;
  steps_.push_back(std::move(step));
  fetch_wake_.notify_all();
  decode_wake_.notify_all();
}

// Fetching

void Pipeline::Impl::fetch_chunks() {
  Lock lock(mutex_);
  while (true) {
    fetch_wake_.wait(lock, [&] { return stopping_ || may_fetch(); });
    if (stopping_) return;
    const std::shared_ptr<Chunk> chunk = std::move(queue_.front());
    queue_.pop_front();
    try {
      fetch(lock, *chunk);
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      fail(chunk->first_step);
    }
  }
}

bool Pipeline::Impl::may_fetch() const {
  if (queue_.empty()) return false;
  const Chunk& chunk = *queue_.front();
  if (chunk.first_step >= failed_step_) return false;
  return unbounded(chunk.first_step) || chunk_bytes_ + chunk.read_bytes() <= chunk_limit_;
}

void Pipeline::Impl::fetch(Lock& lock, Chunk& chunk) {
  const std::uint64_t read = chunk.read_bytes();
  chunk_bytes_ += read;
  const std::uint64_t kept = unlocked(lock, [&] {
    if (options_.at_point) options_.at_point("fetch", chunk.first_step + 1);
    chunk.fetch(store_);
    return chunk.piece_bytes();
  });
  chunk_bytes_ += kept;
  chunk_bytes_ -= read;
  chunk.ready = true;
  for (std::uint64_t number : chunk.waiting) --step(number).missing_chunks;
  decode_wake_.notify_all();
}

// Decoding

void Pipeline::Impl::decode_steps() {
  Lock lock(mutex_);
  while (true) {
    Step* step = nullptr;
    decode_wake_.wait(lock, [&] { return stopping_ || (step = decodable()) != nullptr; });
    if (stopping_) return;
    const std::uint64_t number = step->work.plan().step;
    try {
      decode_some(lock, *step);
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      fail(number);
    }
  }
}

/// The step to work on: always the earliest with samples left, for the caller needs it first.
Step* Pipeline::Impl::decodable() {
  if (decode_step_ >= after_last() || decode_step_ >= failed_step_) return nullptr;
  Step& candidate = step(decode_step_);
  if (candidate.missing_chunks > 0 || candidate.state == Step::kAllocating) return nullptr;
  const bool room =
      unbounded(decode_step_) || batch_bytes_ + candidate.work.input_bytes() <= batch_limit_;
  return candidate.state == Step::kOpen || room ? &candidate : nullptr;
}

void Pipeline::Impl::decode_some(Lock& lock, Step& step) {
  if (step.state == Step::kPlanned) {
    step.state = Step::kAllocating;
    batch_bytes_ += step.work.input_bytes();
    lock.unlock();
    step.work.allocate();
    lock.lock();
    step.state = Step::kOpen;
  }
  const std::size_t begin = step.taken;
  const std::size_t share = step.work.samples() / (2 * options_.threads);
  step.taken =
      std::min(step.work.samples(), begin + std::clamp<std::size_t>(share, 1, kMostSamplesAtOnce));
  const std::size_t end = step.taken;
  if (end == step.work.samples()) ++decode_step_;
  decode_wake_.notify_all();
  lock.unlock();
  if (options_.at_point) options_.at_point("decode", step.work.plan().step + 1);
  const std::uint64_t freed = step.work.decode(begin, end);
  lock.lock();
  last_sign_ = Clock::now();
  chunk_bytes_ -= freed;
  step.unfinished -= end - begin;
  fetch_wake_.notify_all();
  if (step.unfinished > 0) return;
  lock.unlock();
  step.batch = step.work.finish();
  lock.lock();
  step.done = true;
  ready_wake_.notify_all();
}

Pipeline::Pipeline(ObjectStore& store, const SampleDecoder& decoder, PlanSource source,
                   PipelineOptions options)
    : impl_(std::make_unique<Impl>(store, decoder, std::move(source), std::move(options))) {}

Pipeline::~Pipeline() = default;

Batch Pipeline::next(Deadline deadline) {
  return impl_->next(deadline);
}

double Pipeline::silent_seconds() const {
  return impl_->silent_seconds();
}

double Pipeline::waited_seconds() const {
  return impl_->waited_seconds();
}

}  // namespace musher
