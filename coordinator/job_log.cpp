#include "coordinator/job_log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {

namespace {

constexpr std::size_t kLongestLine = 1 << 20;

std::string encode(const LogEntry& entry) {
  std::ostringstream line;
  line << entry.time_ms << ' ' << entry.attempt << ' ' << entry.source << ' ' << entry.rank << ' '
       << (entry.error ? 'e' : 'o') << ' ';
  std::string text = entry.text.substr(0, kLongestLine);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return line.str() + text + '\n';
}

LogEntry decode(const std::string& line) {
  LogEntry entry;
  std::istringstream fields(line);
  char stream = 'o';
  fields >> entry.time_ms >> entry.attempt >> entry.source >> entry.rank >> stream;
  entry.error = stream == 'e';
  fields.get();  // the space
  std::getline(fields, entry.text);
  return entry;
}

std::string read_at(const std::filesystem::path& file, std::uint64_t offset, std::size_t most) {
  const FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) return {};
  std::string bytes(most, '\0');
  std::size_t got = 0;
  while (got < most) {
    const ssize_t n =
        ::pread(descriptor.get(), bytes.data() + got, most - got, static_cast<off_t>(offset + got));
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

}  // namespace

JobLog::JobLog(const std::filesystem::path& file)
    : path_(file), file_(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) {
  if (!file_) {
    throw Error(ErrorCode::kUnavailable, path_ + " can't be opened: " + std::strerror(errno));
  }
  struct stat status {};
  ::fstat(file_.get(), &status);
  off_t end = status.st_size;
  for (char last = 0; end > 0; --end) {
    if (::pread(file_.get(), &last, 1, end - 1) != 1 || last == '\n') break;
  }
  if (end != status.st_size && ::ftruncate(file_.get(), end) != 0) {
    throw Error(ErrorCode::kUnavailable, path_ + " can't be mended: " + std::strerror(errno));
  }
}

void JobLog::append(const std::vector<LogEntry>& entries) {
  std::string text;
  for (const LogEntry& entry : entries) text += encode(entry);
  const std::lock_guard lock(mutex_);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(file_.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    // A full disk must not end a job: its log then has a hole.
    if (n < 0) return;
    done += static_cast<std::size_t>(n);
  }
}

std::uint64_t JobLog::source_end(std::uint64_t attempt) const {
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  for (LogPage page = read_log(path_, 0, std::nullopt); page.next_offset != offset;
       page = read_log(path_, offset, std::nullopt)) {
    for (const LogEntry& entry : page.entries) {
      if (entry.attempt == attempt) end = std::max(end, entry.source);
    }
    offset = page.next_offset;
  }
  return end;
}

LogPage read_log(const std::filesystem::path& file, std::uint64_t offset, std::optional<int> rank,
                 std::size_t most_bytes) {
  LogPage page{{}, offset};
  std::string bytes = read_at(file, offset, most_bytes);
  std::size_t end = bytes.rfind('\n');
  if (end == bytes.npos && bytes.size() == most_bytes) {  // one line that is longer than a page
    bytes = read_at(file, offset, 2 * kLongestLine);
    end = bytes.find('\n');
  }
  if (end == bytes.npos) return page;
  page.next_offset += end + 1;
  std::istringstream lines(bytes.substr(0, end));
  for (std::string line; std::getline(lines, line);) {
    LogEntry entry = decode(line);
    if (!rank || entry.rank == *rank) page.entries.push_back(std::move(entry));
  }
  return page;
}

}  // namespace musher
