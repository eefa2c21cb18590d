#include "dataset/tokens.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

/// Windows that are listed and dealt together.
constexpr std::size_t kShardWindows = 256;

/// The tokens of one object.
struct Stream {
  NumberType type = NumberType::kUInt16;
  std::uint64_t offset = 0;
  std::uint64_t tokens = 0;
};

bool is_whole(NumberType type) {
  return type != NumberType::kText && type != NumberType::kFloat32 && type != NumberType::kFloat64;
}

Stream npy_stream(ObjectStore& store, const ObjectInfo& object) {
  const NpyHeader header = read_npy_header(store, object);
  if (header.shape.size() != 1 || !is_whole(header.type)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: must be an array of one dimension of whole numbers, the tokens one "
                    "after the other",
                    store.root().join(object.key).str()));
  }
  return {header.type, header.data_offset, header.shape[0]};
}

Stream raw_stream(ObjectStore& store, const ObjectInfo& object, NumberType type) {
  if (object.size % number_size(type) != 0) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} has {} bytes, which is no whole number of tokens of {} bytes each; "
                            "the hyperparameter token_type says of which type they are",
                            store.root().join(object.key).str(), object.size, number_size(type)));
  }
  return {type, 0, object.size / number_size(type)};
}

/// Windows side by side, each beginning with the last token of the one before: every token but the
/// first is predicted once. Returns how many tokens at the end are predicted by none.
std::uint64_t add_windows(Manifest& manifest, const std::string& object, const Stream& stream,
                          std::uint64_t context) {
  const std::uint64_t each = number_size(stream.type);
  const std::uint64_t windows = stream.tokens == 0 ? 0 : (stream.tokens - 1) / context;
  std::vector<Sample> shard;
  for (std::uint64_t i = 0; i < windows; ++i) {
    Sample& sample = shard.emplace_back();
    sample.key = fmt::format("{}/{}", object, i);
    sample.object = object;
    sample.offset = stream.offset + i * context * each;
    sample.size = (context + 1) * each;
    sample.label = static_cast<std::int64_t>(stream.type);
    if (shard.size() < kShardWindows && i + 1 < windows) continue;
    manifest.add_shard(shard);
    shard.clear();
  }
  return stream.tokens == 0 ? 0 : stream.tokens - 1 - windows * context;
}

}  // namespace

Manifest token_manifest(ObjectStore& store, const std::vector<ObjectInfo>& objects,
                        const ManifestOptions& options) {
  const auto& layout = std::get<TokenLayout>(options.layout);
  Manifest manifest;
  std::uint64_t others = 0;
  std::uint64_t left = 0;
  for (const ObjectInfo& object : objects) {
    if (object.key.ends_with(".npy")) {
      left += add_windows(manifest, object.key, npy_stream(store, object), layout.context);
    } else if (object.key.ends_with(".bin")) {
      left += add_windows(manifest, object.key, raw_stream(store, object, layout.raw_type),
                          layout.context);
    } else if (!object.key.empty() && !object.key.ends_with('/')) {
      ++others;
    }
  }
  const std::string root = store.root().str();
  if (manifest.samples() == 0) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{} has no samples: looked for {} tokens or more in *.npy and *.bin; "
                            "other files: {}",
                            root, layout.context + 1, others));
  }
  if (!options.notice) return manifest;
  if (others > 0)
    options.notice(fmt::format("{}: left out {} files that are no .npy or .bin", root, others));
  if (left > 0) {
    options.notice(
        fmt::format("{}: {} tokens at the ends of files fill no window of {} and are "
                    "not predicted",
                    root, left, layout.context));
  }
  return manifest;
}

void read_tokens(std::span<const std::byte> bytes, NumberType type, std::int64_t vocabulary,
                 std::span<float> out) {
  if (type == NumberType::kText || bytes.size() != out.size() * number_size(type))
    throw Error(ErrorCode::kDataLoss, "is not as long as a window of tokens");
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double token = number_at(bytes, type, i);
    if (token < 0 || token >= static_cast<double>(vocabulary)) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("token {} is {}, which is not below vocabulary_size, {}", i, token,
                              vocabulary));
    }
    out[i] = static_cast<float>(token);
  }
}

}  // namespace musher
