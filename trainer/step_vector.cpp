#include "trainer/step_vector.h"

#include <algorithm>

namespace musher {
namespace {

constexpr std::size_t kDigest = StepVector::kMeasures + StepVector::kMostMeasures;
constexpr std::size_t kUndecodable = kDigest + 8;
constexpr std::size_t kUndecodableDigest = kUndecodable + 1;
constexpr std::size_t kStop = kUndecodableDigest + 8;
constexpr std::size_t kCheckpoint = kStop + 1;
constexpr std::size_t kCheckpointBusy = kStop + 2;
constexpr std::size_t kLeave = kStop + 3;
constexpr std::size_t kNewcomer = kStop + 4;
static_assert(kNewcomer < StepVector::kElements);

void write_sum(std::uint64_t sum, std::span<float> out) {
  const auto pieces = split_digest(sum);
  std::copy(pieces.begin(), pieces.end(), out.begin());
}

std::uint64_t read_sum(std::span<const float> in) {
  std::array<float, 8> pieces{};
  std::copy_n(in.begin(), pieces.size(), pieces.begin());
  return join_digest(pieces);
}

}  // namespace

void StepVector::write(std::span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0F);
  out[kSamples] = static_cast<float>(digest.samples);
  write_sum(digest.sum, out.subspan(kDigest));
  out[kUndecodable] = static_cast<float>(undecodable.samples);
  write_sum(undecodable.sum, out.subspan(kUndecodableDigest));
  out[kStop] = static_cast<float>(stop);
  out[kCheckpoint] = static_cast<float>(checkpoint);
  out[kCheckpointBusy] = static_cast<float>(checkpoint_busy);
  out[kLeave] = static_cast<float>(leave);
  out[kNewcomer] = static_cast<float>(newcomer);
}

StepVector StepVector::read(std::span<const float> reduced) {
  StepVector vector;
  vector.digest = {static_cast<std::uint64_t>(reduced[kSamples]),
                   read_sum(reduced.subspan(kDigest))};
  vector.undecodable = {static_cast<std::uint64_t>(reduced[kUndecodable]),
                        read_sum(reduced.subspan(kUndecodableDigest))};
  vector.loss_sum = reduced[kLoss];
  for (std::size_t i = 0; i < vector.measures.size(); ++i)
    vector.measures[i] = reduced[kMeasures + i];
  vector.stop = static_cast<int>(reduced[kStop]);
  vector.checkpoint = static_cast<int>(reduced[kCheckpoint]);
  vector.checkpoint_busy = static_cast<int>(reduced[kCheckpointBusy]);
  vector.leave = static_cast<int>(reduced[kLeave]);
  vector.newcomer = static_cast<int>(reduced[kNewcomer]);
  return vector;
}

}  // namespace musher
