#include "launch/rank_output.h"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::string_view kPrefix = "rank-";
constexpr std::string_view kOut = ".stdout";
constexpr std::string_view kError = ".stderr";
constexpr auto kLook = std::chrono::milliseconds(100);
constexpr std::uint64_t kAlignment = 1 << 20;  // whole blocks of any file system become holes

void redirect(const std::filesystem::path& file, int descriptor) {
  const int opened = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (opened < 0 || ::dup2(opened, descriptor) < 0) {
    throw Error(ErrorCode::kUnavailable,
                file.string() + " can't be written: " + std::strerror(errno));
  }
  ::close(opened);
}

/// Leaves the newer half of `most` where the file takes more.
void trim(int descriptor, std::uint64_t most) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return;
  if (static_cast<std::uint64_t>(status.st_blocks) * 512 <= most) return;
  const std::uint64_t size = static_cast<std::uint64_t>(status.st_size);
  if (size <= most / 2) return;
  const std::uint64_t end = (size - most / 2) / kAlignment * kAlignment;
  if (end == 0) return;
  // Where a file system has no holes the file stays as it is.
  ::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(end));
}

void keep_trimmed(const std::stop_token& stop, std::uint64_t most) {
  std::mutex mutex;
  std::condition_variable_any nothing;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    nothing.wait_for(lock, stop, kLook, [] { return false; });
    trim(STDOUT_FILENO, most);
    trim(STDERR_FILENO, most);
  }
}

}  // namespace

std::string rank_file_name(const RankStream& stream) {
  return std::string(kPrefix)
      .append(std::to_string(stream.rank))
      .append(stream.error ? kError : kOut);
}

std::optional<RankStream> parse_rank_file_name(std::string_view name) {
  RankStream stream;
  stream.error = name.ends_with(kError);
  if (!name.starts_with(kPrefix) || (!stream.error && !name.ends_with(kOut))) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kOut.size());
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), stream.rank);
  if (error != std::errc() || end != name.data() + name.size() || stream.rank < 0) {
    return std::nullopt;
  }
  return stream;
}

RankOutput::RankOutput(const std::filesystem::path& folder, int rank, std::uint64_t most) {
  redirect(folder / rank_file_name({rank, false}), STDOUT_FILENO);
  redirect(folder / rank_file_name({rank, true}), STDERR_FILENO);
  trim_ = Thread("trim-output", [most](const std::stop_token& stop) { keep_trimmed(stop, most); });
}

}  // namespace musher
