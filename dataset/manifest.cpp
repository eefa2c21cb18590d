#include "dataset/manifest.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/checksum.h"
#include "common/random.h"
#include "dataset/byte_codec.h"

namespace musher {
namespace {

constexpr Format kBlock{"manifest block", "MSHB", 1};

/// How a block tells where its samples' bytes are. The numbers are in the format.
enum class Objects : std::uint8_t {
  kWhole =
      0,  ///< each sample is an object of its own, and its key is the object's: nothing is stored
  kOne = 1,    ///< all lie in one object, stored once
  kMixed = 2,  ///< an object each, front-coded
};

/// The fewest bytes that a sample takes: two for the key, one each for size and label.
constexpr std::size_t kLeastSampleBytes = 4;

Objects objects_of(std::span<const Sample> samples) {
  const auto whole = [](const Sample& sample) {
    return sample.offset == 0 && sample.object == sample.key;
  };
  if (std::ranges::all_of(samples, whole)) return Objects::kWhole;
  const auto same = [&](const Sample& sample) { return sample.object == samples[0].object; };
  return std::ranges::all_of(samples, same) ? Objects::kOne : Objects::kMixed;
}

Objects read_objects(ByteReader& in) {
  const std::uint8_t value = in.byte("kind of objects");
  if (value > static_cast<std::uint8_t>(Objects::kMixed)) {
    in.fail(fmt::format("kind of objects {}, where this program knows 0 to 2", value));
  }
  return static_cast<Objects>(value);
}

/// The difference modulo 2^64, so that every pair of values has one.
std::int64_t difference(std::uint64_t value, std::uint64_t base) {
  return static_cast<std::int64_t>(value - base);
}

/// Turns the sample before into the next one.
void read_sample(ByteReader& in, Objects objects, Sample& sample) {
  in.front_coded(sample.key, "key");
  if (objects == Objects::kWhole) {
    sample.object = sample.key;
    sample.offset = 0;
  } else {
    if (objects == Objects::kMixed) in.front_coded(sample.object, "object");
    sample.offset += sample.size + static_cast<std::uint64_t>(in.zigzag("offset"));
  }
  sample.size = in.varint("size");
  sample.label = static_cast<std::int64_t>(static_cast<std::uint64_t>(sample.label) +
                                           static_cast<std::uint64_t>(in.zigzag("label")));
  sample.key_hash = hash64(sample.key);
}

}  // namespace

std::vector<std::byte> encode_shard(std::span<const Sample> samples) {
  const Objects objects = objects_of(samples);
  ByteWriter out(kBlock);
  out.varint(samples.size());
  out.byte(static_cast<std::uint8_t>(objects));
  if (objects == Objects::kOne) out.text(samples[0].object);
  const Sample none;
  const Sample* previous = &none;
  for (const Sample& sample : samples) {
    out.front_coded(previous->key, sample.key);
    if (objects == Objects::kMixed) out.front_coded(previous->object, sample.object);
    if (objects != Objects::kWhole) {
      out.zigzag(difference(sample.offset, previous->offset + previous->size));
    }
    out.varint(sample.size);
    out.zigzag(difference(static_cast<std::uint64_t>(sample.label),
                          static_cast<std::uint64_t>(previous->label)));
    previous = &sample;
  }
  return std::move(out).seal();
}

std::vector<Sample> decode_shard(std::span<const std::byte> block) {
  ByteReader in(kBlock, block);
  const std::uint64_t count = in.varint("number of samples");
  const Objects objects = read_objects(in);
  Sample sample;
  if (objects == Objects::kOne) sample.object = in.text("object");
  if (count > in.left() / kLeastSampleBytes) {
    in.fail(fmt::format("{} samples do not fit the {} bytes that are left", count, in.left()));
  }
  std::vector<Sample> samples;
  samples.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    read_sample(in, objects, sample);
    samples.push_back(sample);
  }
  in.expect_end();
  return samples;
}

void Manifest::add_shard(std::span<const Sample> samples) {
  ShardInfo info{.samples = samples.size()};
  for (const Sample& sample : samples) info.bytes += sample.size;
  blocks_.push_back(encode_shard(samples));
  shards_.push_back(info);
  samples_ += info.samples;
  bytes_ += info.bytes;
}

std::span<const std::byte> Manifest::block(std::size_t shard) const {
  return blocks_[shard];
}

std::vector<Sample> Manifest::shard(std::size_t shard) const {
  return decode_shard(blocks_[shard]);
}

std::uint64_t Manifest::fingerprint() const {
  std::uint64_t print = mix64(classes_.size());
  for (const std::string& name : classes_) print = hash64(name, print);
  for (const auto& block : blocks_) print = hash64(block, print);
  return print;
}

}  // namespace musher
