#include "dataset/index_cache.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "dataset/byte_codec.h"

namespace musher {
namespace {

constexpr Format kIndex{"index file", "MSHI", 2};

std::optional<std::vector<std::byte>> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::max<std::streamoff>(0, file.tellg())));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) return std::nullopt;
  return bytes;
}

bool write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  return true;
}

/// Under a name of its own first, so that no reader ever sees half a file. Not synced: after a
/// power cut the checksum finds what is missing.
bool replace_file(const std::string& path, std::span<const std::byte> bytes) {
  std::string temporary = path + ".XXXXXX";
  const int descriptor = ::mkstemp(temporary.data());
  if (descriptor < 0) return false;
  const bool written = write_all(descriptor, bytes);
  const bool closed = ::close(descriptor) == 0;
  if (written && closed && ::rename(temporary.c_str(), path.c_str()) == 0) return true;
  ::unlink(temporary.c_str());
  return false;
}

}  // namespace

std::string IndexCache::identity(const ObjectInfo& tar) const {
  return fmt::format("{}\n{}\n{}\n{}", root_, tar.key, tar.size, tar.modified);
}

std::string IndexCache::path(const std::string& identity) const {
  return fmt::format("{}/{}.index", folder_, hex64(hash64(identity)));
}

std::optional<TarIndex> IndexCache::find(const ObjectInfo& tar) const {
  if (!usable(tar)) return std::nullopt;
  const std::string wanted = identity(tar);
  const auto file = read_file(path(wanted));
  if (!file) return std::nullopt;
  try {
    ByteReader in(kIndex, *file);
    if (in.text("identity") != wanted) return std::nullopt;
    TarIndex index;
    index.largest_label = in.zigzag("largest label");
    index.keys_without_image = in.varint("keys without image");
    for (std::uint64_t left = in.varint("number of names"); left > 0; --left) {
      index.names.push_back(in.text("name"));
    }
    const auto block = in.rest();
    index.block.assign(block.begin(), block.end());
    decode_shard(index.block);  // an older version's block is as good as none
    return index;
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool IndexCache::keep(const ObjectInfo& tar, const TarIndex& index) const {
  if (!usable(tar)) return true;
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::string name = identity(tar);
  ByteWriter out(kIndex);
  out.text(name);
  out.zigzag(index.largest_label);
  out.varint(index.keys_without_image);
  out.varint(index.names.size());
  for (const std::string& class_name : index.names) out.text(class_name);
  out.bytes(index.block);
  return replace_file(path(name), std::move(out).seal());
}

}  // namespace musher
