#include "dataset/digest.h"

#include <cmath>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {

Digest epoch_digest(const Manifest& manifest, std::uint64_t epoch) {
  Digest digest;
  for (std::size_t shard = 0; shard < manifest.shards().size(); ++shard) {
    for (const Sample& sample : manifest.shard(shard)) digest.add(sample.key_hash, epoch);
  }
  return digest;
}

std::array<float, 8> split_digest(std::uint64_t sum) {
  std::array<float, 8> pieces;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i] = static_cast<float>((sum >> (8 * i)) & 0xff);
  }
  return pieces;
}

std::uint64_t join_digest(const std::array<float, 8>& pieces) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    // Below 2^24 float32 holds each whole number; written so that NaN fails too.
    if (!(pieces[i] >= 0 && pieces[i] < 0x1p24F) || pieces[i] != std::floor(pieces[i])) {
      throw Error(
          ErrorCode::kDataLoss,
          fmt::format("digest piece {} is {}, not a whole number below 2^24", i, pieces[i]));
    }
    sum += static_cast<std::uint64_t>(pieces[i]) << (8 * i);
  }
  return sum;
}

}  // namespace musher
