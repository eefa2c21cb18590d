#include "trainer/input/batch_work.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/random.h"

namespace musher {
namespace {

/// Tells the chance of mixing from all other that hangs on the seed.
constexpr std::uint64_t kMixing = 0x6d69780000000001ULL;

std::uint64_t random_key(std::uint64_t seed, std::uint64_t epoch, std::uint64_t key_hash) {
  return mix64(mix64(mix64(seed) ^ epoch) ^ key_hash);
}

}  // namespace

BatchWork::BatchWork(StepPlan plan, const SampleDecoder& decoder, std::uint64_t seed,
                     MixOptions mix)
    : plan_(std::move(plan)),
      decoder_(decoder),
      seed_(seed),
      mix_(mix),
      shape_(decoder.input_shape()) {
  for (std::int64_t length : shape_) floats_ *= static_cast<std::size_t>(length);
}

void BatchWork::allocate() {
  inputs_.resize(samples() * floats_);
  failures_.resize(samples());
}

std::uint64_t BatchWork::decode(std::size_t begin, std::size_t end) {
  std::uint64_t freed = 0;
  for (std::size_t i = begin; i < end; ++i) {
    PlannedSample& planned = plan_.samples[i];
    const std::vector<std::byte> bytes = std::move(planned.chunk->pieces[planned.piece].bytes);
    planned.chunk.reset();
    freed += bytes.size();
    try {
      decoder_.decode(planned.sample, bytes,
                      random_key(seed_, plan_.epoch, planned.sample.key_hash),
                      inputs_.data() + i * floats_);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDataLoss) throw;
      failures_[i] = error.what();
    }
  }
  return freed;
}

Batch BatchWork::finish() {
  Batch batch;
  batch.step = plan_.step;
  batch.epoch = plan_.epoch;
  batch.input_shape = shape_;
  batch.targets.reserve(samples());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < samples(); ++i) {
    const Sample& sample = plan_.samples[i].sample;
    if (failures_[i]) {
      batch.undecodable.add(sample.key_hash, plan_.epoch);
      batch.undecodable_keys.push_back(sample.key + ": " + *failures_[i]);
      continue;
    }
    batch.digest.add(sample.key_hash, plan_.epoch);
    batch.keys.push_back(sample.key_hash);
    batch.targets.push_back(sample.label);
    if (kept != i)
      std::copy_n(inputs_.data() + i * floats_, floats_, inputs_.data() + kept * floats_);
    ++kept;
  }
  inputs_.resize(kept * floats_);
  batch.inputs = std::move(inputs_);
  if (mix_.any()) mix_parts(batch);
  return batch;
}

void BatchWork::mix_parts(Batch& batch) const {
  const auto length = [&](std::size_t from_end) {
    return shape_.size() < from_end ? 1 : static_cast<int>(shape_[shape_.size() - from_end]);
  };
  // Also where no part has two samples: whether targets are soft must not hang on the ranks.
  batch.other_targets = batch.targets;
  batch.target_shares.assign(batch.targets.size(), 1.0f);
  std::size_t planned = 0;
  std::size_t kept = 0;
  for (const StepPlan::Part& part : plan_.parts) {
    const std::size_t begin = kept;
    for (std::size_t i = 0; i < part.samples; ++i) kept += failures_[planned++] ? 0 : 1;
    Random random{seed_, kMixing, plan_.step, part.virtual_worker};
    mix(batch, begin, kept, choose_mix(mix_, length(2), length(1), random));
  }
}

}  // namespace musher
