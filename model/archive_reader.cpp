#include "model/archive_reader.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <zlib.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr la_int64_t kMaxFile = la_int64_t{16} << 30;
constexpr std::size_t kPiece = 1 << 20;

/// libarchive's own gzip filter does not look at the checksum in the trailer; zlib does.
class Inflater {
 public:
  explicit Inflater(std::span<const std::byte> bytes) : rest_(bytes), piece_(kPiece) {
    constexpr int kGzip = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzip) != Z_OK)
      throw Error(ErrorCode::kResourceExhausted, "no memory to unpack a gzip file");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// The next bytes, empty at the end; null for what is damaged.
  const std::vector<std::byte>* next() {
    std::size_t filled = 0;
    piece_.resize(kPiece);
    while (filled < kPiece && !ended_) {
      if (stream_.avail_in == 0) {  // zlib counts in 32 bits
        const std::size_t given = std::min<std::size_t>(rest_.size(), kPiece);
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest_.data()));
        stream_.avail_in = static_cast<uInt>(given);
        rest_ = rest_.subspan(given);
      }
      stream_.next_out = reinterpret_cast<Bytef*>(piece_.data() + filled);
      stream_.avail_out = static_cast<uInt>(kPiece - filled);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END) return nullptr;  // the end of input too
      filled = kPiece - stream_.avail_out;
      ended_ = result == Z_STREAM_END;
    }
    piece_.resize(filled);
    return &piece_;
  }

 private:
  z_stream stream_ = {};
  std::span<const std::byte> rest_;
  std::vector<std::byte> piece_;
  bool ended_ = false;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& name)
      : name_(name), inflater_(bytes), archive_(archive_read_new(), archive_read_free) {
    if (!archive_) throw Error(ErrorCode::kResourceExhausted, "no memory for a tar.gz reader");
    check(archive_read_support_format_tar(archive_.get()));
    const auto read = [](archive* handle, void* inflater, const void** data) -> la_ssize_t {
      const auto* piece = static_cast<Inflater*>(inflater)->next();
      if (piece == nullptr) {
        archive_set_error(handle, EIO, "the gzip stream is damaged or cut off");
        return -1;
      }
      *data = piece->data();
      return static_cast<la_ssize_t>(piece->size());
    };
    check(archive_read_open(archive_.get(), &inflater_, nullptr, read, nullptr));
  }

  /// The header of the next file; null at the end.
  archive_entry* next() {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(archive_.get(), &entry);
    if (result == ARCHIVE_EOF) {
      check_rest();
      return nullptr;
    }
    check(result);
    return entry;
  }

  /// Grows with what really comes: the size in a header may be a lie.
  std::vector<std::byte> content(const std::string& file) {
    std::vector<std::byte> bytes;
    while (true) {
      const std::size_t before = bytes.size();
      bytes.resize(before + kPiece);
      const la_ssize_t got = archive_read_data(archive_.get(), bytes.data() + before, kPiece);
      check(got);
      bytes.resize(before + static_cast<std::size_t>(got));
      if (got == 0) return bytes;
      if (static_cast<la_int64_t>(bytes.size()) > kMaxFile) {
        throw Error(ErrorCode::kResourceExhausted,
                    fmt::format("{}: {} is larger than 16 GiB", name_, file));
      }
    }
  }

 private:
  void check(la_ssize_t result) const {
    if (result >= ARCHIVE_OK) return;
    const char* why = archive_error_string(archive_.get());
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is no whole tar.gz: {}", name_, why ? why : "unknown reason"));
  }

  /// The tar may end before the gzip stream, whose end tells whether all of it was whole.
  void check_rest() {
    const std::vector<std::byte>* piece = inflater_.next();
    while (piece != nullptr && !piece->empty()) piece = inflater_.next();
    if (piece == nullptr) {
      throw Error(ErrorCode::kDataLoss, fmt::format("{} is no whole tar.gz: its gzip stream is "
                                                    "damaged or cut off",
                                                    name_));
    }
  }

  const std::string& name_;
  Inflater inflater_;
  std::unique_ptr<archive, decltype(&archive_read_free)> archive_;
};

}  // namespace

ArchiveFiles read_tar_gz(std::span<const std::byte> archive, const std::set<std::string>& wanted,
                         const std::string& name) {
  Reader reader(archive, name);
  ArchiveFiles files;
  while (archive_entry* entry = reader.next()) {
    const char* path = archive_entry_pathname(entry);
    std::string file = path == nullptr ? "" : path;
    if (file.starts_with("./")) file.erase(0, 2);
    if (archive_entry_filetype(entry) != AE_IFREG || !wanted.contains(file) ||
        files.contains(file)) {
      continue;
    }
    std::vector<std::byte> content = reader.content(file);
    files.emplace(std::move(file), std::move(content));
  }
  return files;
}

}  // namespace musher
