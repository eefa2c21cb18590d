#include "coordinator/job_log.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {

namespace {

constexpr std::size_t kLongestLine = 1 << 20;

/// The fifth word of a line.
char kind_of(const LogEntry& entry, bool mark) {
  if (mark) return entry.own ? (entry.error ? 't' : 's') : 'm';
  return entry.own ? (entry.error ? 'e' : 'o') : (entry.error ? 'E' : 'O');
}

void encode(const LogEntry& entry, std::string& out, bool mark = false) {
  fmt::format_to(std::back_inserter(out), "{} {} {} {} {} ", entry.time_ms, entry.attempt,
                 entry.source, entry.rank, kind_of(entry, mark));
  const std::size_t begin = out.size();
  out.append(entry.text, 0, kLongestLine);
  std::replace(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), '\n', ' ');
  out += '\n';
}

/// The number that a line begins with, which is moved past it and the space behind.
template <typename Number>
Number take(std::string_view& line) {
  Number value = 0;
  const char* end = std::from_chars(line.data(), line.data() + line.size(), value).ptr;
  line.remove_prefix(
      std::min<std::size_t>(line.size(), static_cast<std::size_t>(end - line.data()) + 1));
  return value;
}

struct Decoded {
  LogEntry entry;
  bool mark = false;
};

Decoded decode(std::string_view line) {
  Decoded decoded;
  LogEntry& entry = decoded.entry;
  entry.time_ms = take<std::int64_t>(line);
  entry.attempt = take<std::uint64_t>(line);
  entry.source = take<std::uint64_t>(line);
  entry.rank = take<int>(line);
  const char kind = line.empty() ? 'O' : line.front();
  entry.error = kind == 'e' || kind == 'E' || kind == 't';
  entry.own = kind == 'o' || kind == 'e' || kind == 's' || kind == 't';
  decoded.mark = kind == 's' || kind == 't' || kind == 'm';
  entry.text = line.substr(std::min<std::size_t>(line.size(), 2));
  return decoded;
}

/// The parts that are there: where each begins, and its file.
std::map<std::uint64_t, std::filesystem::path> parts_of(const std::filesystem::path& file) {
  std::map<std::uint64_t, std::filesystem::path> parts;
  std::error_code gone;
  if (std::filesystem::exists(file, gone)) parts[0] = file;
  const std::string prefix = file.filename().string() + ".";
  for (const auto& entry : std::filesystem::directory_iterator(file.parent_path(), gone)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(prefix)) continue;
    std::uint64_t begin = 0;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + prefix.size(), end, begin);
    if (read.ec == std::errc() && read.ptr == end) parts[begin] = entry.path();
  }
  return parts;
}

std::filesystem::path part_path(const std::filesystem::path& file, std::uint64_t begin) {
  return begin == 0 ? file : std::filesystem::path(file.string() + "." + std::to_string(begin));
}

std::string read_at(int descriptor, std::uint64_t offset, std::size_t most) {
  std::string bytes(most, '\0');
  std::size_t got = 0;
  while (got < most) {
    const ssize_t n =
        ::pread(descriptor, bytes.data() + got, most - got, static_cast<off_t>(offset + got));
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

/// Whole lines from an offset of one part; `next_offset` counts within it.
LogPage read_part(const std::filesystem::path& part, std::uint64_t offset, std::optional<int> rank,
                  std::size_t most_bytes, bool with_marks = false) {
  LogPage page{{}, offset};
  const FileDescriptor file(::open(part.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return page;
  std::string bytes = read_at(file.get(), offset, most_bytes);
  std::size_t end = bytes.rfind('\n');
  if (end == bytes.npos && bytes.size() == most_bytes) {  // one line that is longer than a page
    bytes = read_at(file.get(), offset, 2 * kLongestLine);
    end = bytes.find('\n');
  }
  if (end == bytes.npos) return page;
  page.next_offset += end + 1;
  const std::string_view text(bytes.data(), end + 1);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t stop = text.find('\n', begin);
    Decoded line = decode(text.substr(begin, stop - begin));
    if ((with_marks || !line.mark) && (!rank || line.entry.rank == *rank)) {
      page.entries.push_back(std::move(line.entry));
    }
    begin = stop + 1;
  }
  return page;
}

/// Bytes of a part up to and with its last newline.
std::uint64_t whole_lines(int descriptor) {
  struct stat status {};
  ::fstat(descriptor, &status);
  off_t end = status.st_size;
  for (char last = 0; end > 0; --end) {
    if (::pread(descriptor, &last, 1, end - 1) != 1 || last == '\n') break;
  }
  return static_cast<std::uint64_t>(end);
}

}  // namespace

JobLog::JobLog(const std::filesystem::path& file, LogLimits limits) : path_(file), limits_(limits) {
  const auto parts = parts_of(file);
  open_part(parts.empty() ? 0 : parts.rbegin()->first);
  if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
    throw Error(ErrorCode::kUnavailable,
                path_.string() + " can't be mended: " + std::strerror(errno));
  }
  find_ends();
  if (begin_ > 0 && size_ == 0) write_marks();
}

/// The newest part that has lines says it for all of them.
void JobLog::find_ends() {
  const auto parts = parts_of(path_);
  for (auto part = parts.rbegin(); part != parts.rend() && ends_.empty(); ++part) {
    std::uint64_t offset = 0;
    for (;;) {
      const LogPage page =
          read_part(part->second, offset, std::nullopt, 1 << 20, /*with_marks=*/true);
      if (page.next_offset == offset) break;
      for (const LogEntry& entry : page.entries) note_end(entry);
      offset = page.next_offset;
    }
  }
}

void JobLog::note_end(const LogEntry& entry) {
  if (entry.source == 0 || entry.attempt < attempt_) return;
  if (entry.attempt > attempt_) ends_.clear();
  attempt_ = entry.attempt;
  ends_[entry.stream()] = entry.source;
}

void JobLog::open_part(std::uint64_t begin) {
  const std::filesystem::path path = part_path(path_, begin);
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file) {
    throw Error(ErrorCode::kUnavailable,
                path.string() + " can't be opened: " + std::strerror(errno));
  }
  file_ = std::move(file);
  begin_ = begin;
  size_ = whole_lines(file_.get());
}

void JobLog::drop_old_parts() {
  const auto parts = parts_of(path_);
  std::uint64_t whole = size_;
  std::error_code stays;
  for (const auto& [begin, path] : parts) {
    if (begin != begin_) whole += std::filesystem::file_size(path, stays);
  }
  for (const auto& [begin, path] : parts) {
    if (whole <= limits_.whole) return;
    if (begin == 0 || begin == begin_) continue;
    const std::uint64_t size = std::filesystem::file_size(path, stays);
    if (std::filesystem::remove(path, stays)) whole -= size;
  }
}

/// A full disk must not end a job: its log then has a hole.
void JobLog::write(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(file_.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    done += static_cast<std::size_t>(n);
    size_ += static_cast<std::uint64_t>(n);
  }
}

void JobLog::write_marks() {
  std::string text;
  for (const auto& [stream, end] : ends_) {
    LogEntry mark{0, stream.rank, stream.error, "", attempt_, end};
    mark.own = stream.rank >= 0;
    encode(mark, text, /*mark=*/true);
  }
  write(text);
}

void JobLog::append(const std::vector<LogEntry>& entries) {
  std::string text;
  for (const LogEntry& entry : entries) encode(entry, text);
  const std::lock_guard lock(mutex_);
  for (const LogEntry& entry : entries) note_end(entry);
  write(text);
  if (size_ < limits_.part) return;
  try {
    open_part(begin_ + size_);
  } catch (const Error&) {  // no more files, say: this part then grows
    return;
  }
  if (size_ == 0) write_marks();
  drop_old_parts();
}

SourceEnds JobLog::source_ends(std::uint64_t attempt) const {
  const std::lock_guard lock(mutex_);
  return attempt == attempt_ ? ends_ : SourceEnds{};
}

LogPage read_log(const std::filesystem::path& file, std::uint64_t offset, std::optional<int> rank,
                 std::size_t most_bytes) {
  const auto parts = parts_of(file);
  LogPage page{{}, offset};
  auto next = parts.upper_bound(offset);
  if (next != parts.begin()) {
    const auto& [begin, path] = *std::prev(next);
    page = read_part(path, offset - begin, rank, most_bytes);
    page.next_offset += begin;
    if (page.next_offset != offset || next == parts.end()) return page;
    // This part has no more lines, and there is a newer one: its end was reached, or lies in what
    // is gone.
  } else if (next == parts.end()) {
    return page;
  }
  const std::uint64_t missing = next->first - offset;
  LogPage rest = read_part(next->second, 0, rank, most_bytes);
  rest.next_offset += next->first;
  if (missing > 0 && (!rank || *rank < 0)) {
    const std::int64_t time = rest.entries.empty() ? 0 : rest.entries.front().time_ms;
    rest.entries.insert(
        rest.entries.begin(),
        {time, -1, false,
         fmt::format("{} bytes of the log are gone: it had become too large", missing)});
  }
  return rest;
}

}  // namespace musher
