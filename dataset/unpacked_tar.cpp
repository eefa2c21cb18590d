#include "dataset/unpacked_tar.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <zlib.h>

#include "common/error.h"

namespace musher {
namespace {

/// One ranged read, as of a tar that is not packed.
constexpr std::uint64_t kRangeBytes = 4 << 20;
constexpr std::size_t kUnpackedBytes = 1 << 20;
/// zlib: the largest window, and a gzip header.
constexpr int kGzip = 16 + MAX_WBITS;

}  // namespace

bool is_packed_tar_name(std::string_view key) {
  return key.ends_with(".tar.gz") || key.ends_with(".tgz");
}

bool is_tar_name(std::string_view key) {
  return key.ends_with(".tar") || is_packed_tar_name(key);
}

struct UnpackedTar::Inflater {
  Inflater() {
    if (inflateInit2(&stream, kGzip) != Z_OK) {
      throw Error(ErrorCode::kResourceExhausted, "no memory to unpack a gzip tar");
    }
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream stream{};
  bool between_streams = false;  ///< one has ended whole
};

UnpackedTar::UnpackedTar(ObjectStore& store, std::string key, std::uint64_t size)
    : store_(store),
      key_(std::move(key)),
      size_(size),
      unpacked_(kUnpackedBytes),
      inflater_(std::make_unique<Inflater>()) {}

UnpackedTar::~UnpackedTar() = default;

void UnpackedTar::fail(std::string_view why) const {
  throw Error(ErrorCode::kDataLoss, fmt::format("{}/{}: its gzip stream {}, near byte {} of {}",
                                                store_.root().str(), key_, why, fetched_, size_));
}

/// False where the object has no more bytes.
bool UnpackedTar::refill() {
  const std::uint64_t length = std::min(kRangeBytes, size_ - fetched_);
  if (length == 0) return false;
  packed_ = {};  // at most one range is held
  packed_ = store_.read(key_, fetched_, length);
  fetched_ += length;
  inflater_->stream.next_in = reinterpret_cast<Bytef*>(packed_.data());
  inflater_->stream.avail_in = static_cast<uInt>(packed_.size());
  return true;
}

std::span<const std::byte> UnpackedTar::next() {
  z_stream& stream = inflater_->stream;
  stream.next_out = reinterpret_cast<Bytef*>(unpacked_.data());
  stream.avail_out = static_cast<uInt>(unpacked_.size());
  while (stream.avail_out > 0) {
    if (stream.avail_in == 0 && !refill()) {
      if (!inflater_->between_streams) fail("is cut off");
      break;
    }
    if (std::exchange(inflater_->between_streams, false)) inflateReset(&stream);
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      inflater_->between_streams = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(fmt::format("is damaged ({})", stream.msg == nullptr ? "no reason given" : stream.msg));
    }
  }
  return std::span<const std::byte>(unpacked_).first(unpacked_.size() - stream.avail_out);
}

std::vector<std::byte> UnpackedTar::read(std::uint64_t offset, std::uint64_t length) {
  if (offset < position_) {
    throw Error(ErrorCode::kInternal, fmt::format("{}/{}: byte {} of it was passed over already",
                                                  store_.root().str(), key_, offset));
  }
  std::vector<std::byte> bytes;
  while (bytes.size() < length) {
    if (rest_.empty()) rest_ = next();
    if (rest_.empty()) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("{}/{}: unpacked it has {} bytes, wanted {} from {}",
                              store_.root().str(), key_, position_, length, offset));
    }
    const std::uint64_t before = std::min<std::uint64_t>(
        bytes.empty() && offset > position_ ? offset - position_ : 0, rest_.size());
    const std::uint64_t taken =
        std::min<std::uint64_t>(length - bytes.size(), rest_.size() - before);
    const auto part = rest_.subspan(before, taken);
    bytes.insert(bytes.end(), part.begin(), part.end());
    rest_ = rest_.subspan(before + taken);
    position_ += before + taken;
  }
  return bytes;
}

}  // namespace musher
