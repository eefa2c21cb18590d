#include "storage/local_cache.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <ctime>
#include <mutex>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "storage/cache_space.h"

namespace musher {
namespace {

/// What follows content and identity: the identity's length (4 bytes), this, and XXH3 of all before
/// it (8 bytes).
constexpr std::string_view kMagic = "MSHD\x01";
constexpr std::size_t kTail = 4 + kMagic.size() + 8;
constexpr std::uint32_t kLongestIdentity = 16'384;
/// A use is noted this often at most.
constexpr std::time_t kUseSeconds = 60;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

void append_number(std::vector<std::byte>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

std::uint64_t number_at(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
  }
  return value;
}

std::vector<std::byte> seal(std::span<const std::byte> content, std::string_view identity) {
  std::vector<std::byte> file;
  file.reserve(content.size() + identity.size() + kTail);
  file.insert(file.end(), content.begin(), content.end());
  const auto name = bytes_of(identity);
  file.insert(file.end(), name.begin(), name.end());
  append_number(file, identity.size(), 4);
  const auto magic = bytes_of(kMagic);
  file.insert(file.end(), magic.begin(), magic.end());
  append_number(file, hash64(std::span<const std::byte>(file)), 8);
  return file;
}

/// Whether the file is whole and is that; then it is cut to its content.
bool unseal(std::vector<std::byte>& file, std::string_view identity) {
  if (file.size() < kTail + identity.size()) return false;
  const std::span<const std::byte> all(file);
  const auto body = all.first(all.size() - 8);
  if (hash64(body) != number_at(all.last(8))) return false;
  const auto magic = body.last(kMagic.size());
  const std::size_t content = file.size() - kTail - identity.size();
  const bool is_it =
      std::ranges::equal(magic, bytes_of(kMagic)) &&
      number_at(body.subspan(body.size() - kMagic.size() - 4, 4)) == identity.size() &&
      std::ranges::equal(body.subspan(content, identity.size()), bytes_of(identity));
  if (is_it) file.resize(content);
  return is_it;
}

bool read_all(int descriptor, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::read(descriptor, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw std::system_error(errno, std::generic_category(), path);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
}

}  // namespace

class LocalCache::Impl {
 public:
  Impl(std::string folder, std::uint64_t limit, std::function<void(const std::string&)> notice)
      : folder_(std::move(folder)),
        limit_(limit),
        notice_(std::move(notice)),
        space_(folder_, limit) {}

  std::optional<std::vector<std::byte>> find(std::string_view identity) const;
  bool keep(std::string_view identity, std::span<const std::byte> content);

  std::string path(std::string_view identity) const {
    const std::string name = hex64(hash64(identity));
    return fmt::format("{}/{}/{}", folder_, name.substr(0, 2), name);
  }

  const std::string folder_;
  const std::uint64_t limit_;
  std::atomic<bool> keeps_ = true;

 private:
  bool write(std::string_view identity, std::span<const std::byte> content);
  void give_up(const std::string& why);

  const std::function<void(const std::string&)> notice_;
  std::mutex mutex_;  ///< of space_: within this process
  CacheSpace space_;
};

std::optional<std::vector<std::byte>> LocalCache::Impl::find(std::string_view identity) const {
  const std::string name = path(identity);
  const OpenFile file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  if (!read_all(file.get(), bytes) || !unseal(bytes, identity)) {
    ::unlink(name.c_str());  // so that a whole one can take its place
    return std::nullopt;
  }
  // Not noted where the file is another user's: then that user's uses decide.
  if (std::time(nullptr) - info.st_mtim.tv_sec >= kUseSeconds) ::futimens(file.get(), nullptr);
  return bytes;
}

bool LocalCache::Impl::keep(std::string_view identity, std::span<const std::byte> content) {
  if (!keeps_ || identity.size() > kLongestIdentity) return false;
  try {
    return write(identity, content);
  } catch (const std::system_error& error) {
    give_up(error.code().message());
  }
  return false;
}

bool LocalCache::Impl::write(std::string_view identity, std::span<const std::byte> content) {
  const std::vector<std::byte> file = seal(content, identity);
  const CacheSpace::Partial partial = [&] {
    const std::lock_guard lock(mutex_);
    return space_.reserve(file.size());
  }();
  if (!partial.file) return false;
  try {
    write_all(partial.file.get(), file, partial.path);
    space_.publish(partial, path(identity));
  } catch (const std::system_error&) {
    space_.abandon(partial);
    throw;
  }
  return true;
}

void LocalCache::Impl::give_up(const std::string& why) {
  if (!keeps_.exchange(false) || !notice_) return;
  notice_(fmt::format(
      "the data cache {} can't be written ({}): what is not in it comes from the store each time",
      folder_, why));
}

LocalCache::LocalCache(std::string folder, std::uint64_t limit,
                       std::function<void(const std::string&)> notice)
    : impl_(std::make_unique<Impl>(std::move(folder), limit, std::move(notice))) {}

LocalCache::~LocalCache() = default;

const std::string& LocalCache::folder() const {
  return impl_->folder_;
}

std::uint64_t LocalCache::limit() const {
  return impl_->limit_;
}

bool LocalCache::keeps() const {
  return impl_->keeps_;
}

std::optional<std::vector<std::byte>> LocalCache::find(std::string_view identity) {
  return impl_->find(identity);
}

bool LocalCache::keep(std::string_view identity, std::span<const std::byte> content) {
  return impl_->keep(identity, content);
}

std::uint64_t parse_bytes(std::string_view text, std::string_view what) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                            {"B", 1},
                                            {"KiB", 0x1p10},
                                            {"MiB", 0x1p20},
                                            {"GiB", 0x1p30},
                                            {"TiB", 0x1p40},
                                            {"kB", 1e3},
                                            {"MB", 1e6},
                                            {"GB", 1e9},
                                            {"TB", 1e12}}};
  double number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const auto* found = std::ranges::find(kUnits, unit, &Unit::name);
  if (error != std::errc() || found == kUnits.end() ||
      !(number >= 0 && number * found->bytes < 1e18)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} must be a number of bytes, such as 20GiB or 500MB, not \"{}\"",
                            what, text));
  }
  return static_cast<std::uint64_t>(std::llround(number * found->bytes));
}

}  // namespace musher
