#include "trainer/step_vector.h"

#include <algorithm>
#include <cmath>

namespace musher {
namespace {

constexpr std::size_t kDigest = 3;
constexpr std::size_t kUndecodable = 11;
constexpr std::size_t kUndecodableDigest = 12;
constexpr std::size_t kStop = 20;
constexpr std::size_t kCheckpoint = 21;
constexpr std::size_t kCheckpointBusy = 22;
constexpr std::size_t kLeave = 23;
constexpr std::size_t kNewcomer = 24;

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
  vector.correct = std::lround(reduced[kCorrect]);
  vector.stop = static_cast<int>(reduced[kStop]);
  vector.checkpoint = static_cast<int>(reduced[kCheckpoint]);
  vector.checkpoint_busy = static_cast<int>(reduced[kCheckpointBusy]);
  vector.leave = static_cast<int>(reduced[kLeave]);
  vector.newcomer = static_cast<int>(reduced[kNewcomer]);
  return vector;
}

}  // namespace musher
