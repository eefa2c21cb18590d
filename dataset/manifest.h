#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// One training sample: where its bytes are and what it is called.
struct Sample {
  std::string key;     ///< unique in the channel; for a folder the object's key, for a tar
                       ///< `<tar>/<member without extension>`
  std::string object;  ///< key of the object that holds the bytes, relative to the channel's root
  std::uint64_t offset = 0;    ///< of the first byte in that object
  std::uint64_t size = 0;      ///< bytes
  std::int64_t label = 0;      ///< index into Manifest::classes; of a table's row its NumberType
  std::uint64_t key_hash = 0;  ///< hash64(key): what the digest is made of
};

/// A run of samples that are listed, dealt and fetched together: a run of consecutive objects of a
/// folder, or one tar.
struct ShardInfo {
  std::uint64_t samples = 0;
  std::uint64_t bytes = 0;  ///< sum of the samples' sizes
};

/// The samples of a channel, sorted, in shards. Made once at the start of a job by the coordinator.
/// Each shard's samples are kept encoded (front-coded keys, varints; `docs/formats.md`), so that 10
/// million samples fit in a few hundred MB; the same block is what a worker is sent. Immutable once
/// built; const calls are thread-safe.
class Manifest {
 public:
  /// Names: of what labels are indexes to, or of a table's columns.
  const std::vector<std::string>& classes() const { return classes_; }
  const std::vector<ShardInfo>& shards() const { return shards_; }
  std::uint64_t samples() const { return samples_; }
  std::uint64_t bytes() const { return bytes_; }

  /// The encoded samples of a shard. REQUIRES: shard < shards().size().
  std::span<const std::byte> block(std::size_t shard) const;
  /// block() decoded.
  std::vector<Sample> shard(std::size_t shard) const;

  /// A hash of everything in it: two manifests with the same digest hold the same samples in the
  /// same order.
  std::uint64_t fingerprint() const;

  /// Appending, in order; then it is not changed any more.
  explicit Manifest(std::vector<std::string> classes = {}) : classes_(std::move(classes)) {}
  void add_shard(std::span<const Sample> samples);

 private:
  std::vector<std::string> classes_;
  std::vector<ShardInfo> shards_;
  std::vector<std::vector<std::byte>> blocks_;
  std::uint64_t samples_ = 0;
  std::uint64_t bytes_ = 0;
};

/// One shard's samples to and from the block form. decode throws kDataLoss for a block that is
/// damaged.
std::vector<std::byte> encode_shard(std::span<const Sample> samples);
std::vector<Sample> decode_shard(std::span<const std::byte> block);

}  // namespace musher
