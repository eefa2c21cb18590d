#include "coordinator/attempt.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

namespace musher {

namespace {

constexpr std::size_t kErrorLines = 5;
constexpr std::size_t kLongestLine = 1 << 20;  // what is beyond is dropped
constexpr std::size_t kLongestError = 2000;    // of FailureReason, which has 1024 bytes
constexpr std::uint64_t kFreedAtOnce = 8 << 20;
constexpr std::uint64_t kKept = 1 << 20;  // of what was read: a restarted coordinator looks there
constexpr auto kSignalCheck = std::chrono::milliseconds(500);
constexpr auto kDrainTime = std::chrono::seconds(2);  // from the ranks' SIGKILL to mpirun's

/// PMIx tears down what it has open when the daemon goes; that is not the rank's own last word.
bool is_noise(const std::string& text) {
  return text.empty() || text.starts_with("----") || text.find("PMIX ERROR") != text.npos;
}

/// Where the next data of a file lies, at `offset` or behind a hole; `offset` at its end.
std::uint64_t next_data(int file, std::uint64_t offset) {
  const off_t data = ::lseek(file, static_cast<off_t>(offset), SEEK_DATA);
  return data < 0 ? offset : static_cast<std::uint64_t>(data);
}

/// What ranks print must not fill the disk a second time: it is in the log.
void free_what_was_read(int file, std::uint64_t offset, std::uint64_t& freed) {
  if (offset < freed + kFreedAtOnce + kKept) return;
  const std::uint64_t end = offset - kKept;
  // Where a file system has no holes the file stays as it is.
  ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(freed),
              static_cast<off_t>(end - freed));
  freed = end;
}

}  // namespace

Attempt::Attempt(std::shared_ptr<AttemptProcesses> processes, Paths paths, SourceEnds logged,
                 AttemptListener listener)
    : processes_(std::move(processes)),
      paths_(std::move(paths)),
      listener_(std::move(listener)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      logged_(std::move(logged)),
      thread_("attempt", [this](const std::stop_token& stop) { watch(stop); }) {}

Attempt::~Attempt() {
  thread_.request_stop();
  ::eventfd_write(wake_.get(), 1);
}

void Attempt::kill() {
  processes_->kill_ranks();
  kill_wanted_ = true;
  ::eventfd_write(wake_.get(), 1);
}

bool Attempt::wait_ended(Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline.when(), [&] { return ended_; });
}

std::vector<std::string> Attempt::last_errors(int rank) {
  const std::lock_guard lock(mutex_);
  const auto found = errors_.find(rank);
  if (found == errors_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

void Attempt::watch(const std::stop_token& stop) {
  if (processes_->descriptor() >= 0) watch_processes(stop);
  if (stop.stop_requested()) return;
  processes_->clean_up();
  if (listener_.clean_up) listener_.clean_up();
  read_to_the_end();
  listener_.ended();
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

/// Returns when they are gone, or at a stop.
void Attempt::watch_processes(const std::stop_token& stop) {
  const FileDescriptor changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ::inotify_add_watch(changes.get(), paths_.folder.c_str(), IN_MODIFY | IN_CREATE);
  find_sources();
  std::optional<Deadline> kill_all_at;
  bool told = false;
  for (;;) {
    const bool more = read_turn();
    if (!told && processes_->told_to_end()) {
      told = true;
      listener_.told_to_end();
    }
    if (kill_wanted_ && !kill_all_at) kill_all_at = Deadline::after(kDrainTime);
    if (kill_all_at && kill_all_at->expired()) {
      processes_->kill_all();
      kill_all_at = Deadline::after(kDrainTime);
    }
    std::array<pollfd, 3> events{{{processes_->descriptor(), POLLIN, 0},
                                  {changes.get(), POLLIN, 0},
                                  {wake_.get(), POLLIN, 0}}};
    // Nobody tells of a signal that another process has pending, nor of what another machine
    // writes.
    int timeout = told ? -1 : static_cast<int>(kSignalCheck.count());
    if (kill_all_at) timeout = std::max(10, static_cast<int>(kill_all_at->remaining().count()));
    if (more) timeout = 0;
    ::poll(events.data(), events.size(), timeout);
    if (stop.stop_requested()) return;
    std::array<char, 4096> dropped;
    if ((events[1].revents & POLLIN) != 0) {
      [[maybe_unused]] const auto n = ::read(changes.get(), dropped.data(), dropped.size());
      find_sources();
    } else if (sources_.empty()) {
      find_sources();
    }
    if ((events[2].revents & POLLIN) != 0) {
      eventfd_t value = 0;
      ::eventfd_read(wake_.get(), &value);
    }
    if (events[0].revents != 0) break;
  }
}

/// One that is there already stays as it is.
void Attempt::open_source(const RankStream& stream, const std::filesystem::path& path) {
  if (sources_.contains(stream)) return;
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return;
  Source& source = sources_[stream];
  source.stream = stream;
  source.file = std::move(file);
  const auto logged = logged_.find(stream);
  if (logged != logged_.end()) source.logged = logged->second;
}

void Attempt::find_sources() {
  open_source({}, paths_.output);
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(paths_.folder, gone)) {
    const auto stream = parse_rank_file_name(entry.path().filename().native());
    if (stream) open_source(*stream, entry.path());
  }
}

/// A piece of each; whether there is more.
bool Attempt::read_turn() {
  bool more = false;
  for (auto& [stream, source] : sources_) more |= read_some(source);
  return more;
}

/// Of processes that are gone. Before how they ended is told.
void Attempt::read_ranks_to_their_ends() {
  find_sources();
  for (auto& [stream, source] : sources_) {
    struct stat status {};
    if (stream.rank < 0 || ::fstat(source.file.get(), &status) != 0) continue;
    while (source.offset < static_cast<std::uint64_t>(status.st_size) && read_some(source)) {
    }
  }
}

void Attempt::read_to_the_end() {
  find_sources();
  while (read_turn()) {
  }
  for (auto& [stream, source] : sources_) {
    if (source.partial.empty() || source.cut) continue;
    std::vector<OutputLine> lines;
    take_line(source, std::exchange(source.partial, {}), lines);
    hand_on(source, std::move(lines));
  }
}

/// What nobody took in time was freed by the rank (RankOutput), or by an earlier coordinator, which
/// had it in the log.
void Attempt::skip_hole(Source& source, std::vector<OutputLine>& lines) {
  const std::uint64_t data = next_data(source.file.get(), source.offset);
  if (data == source.offset) return;
  const std::uint64_t known = std::max(source.offset, source.logged);
  source.offset = source.freed = data;
  source.partial.clear();
  source.cut = true;
  if (data <= known) return;
  MpirunLine line{MpirunLine::Kind::kRank, source.stream.rank, source.stream.error, {}, {}};
  line.text = fmt::format(
      "{} bytes that this rank printed are gone: it prints faster than they can be read",
      data - known);
  lines.push_back({std::move(line), source.stream.rank >= 0, data});
}

/// False at the end.
bool Attempt::read_some(Source& source) {
  std::array<char, 64 << 10> buffer;
  std::vector<OutputLine> lines;
  skip_hole(source, lines);
  const ssize_t n =
      ::pread(source.file.get(), buffer.data(), buffer.size(), static_cast<off_t>(source.offset));
  // What was freed meanwhile reads as zeros.
  if (n > 0 && next_data(source.file.get(), source.offset) != source.offset) {
    hand_on(source, std::move(lines));
    return true;
  }
  for (ssize_t i = 0; i < n; ++i) {
    ++source.offset;
    if (buffer[static_cast<std::size_t>(i)] != '\n') {
      if (source.partial.size() < kLongestLine) {
        source.partial += buffer[static_cast<std::size_t>(i)];
      }
    } else if (!std::exchange(source.cut, false)) {
      take_line(source, std::exchange(source.partial, {}), lines);
    } else {
      source.partial.clear();
    }
  }
  hand_on(source, std::move(lines));
  free_what_was_read(source.file.get(), source.offset, source.freed);
  return n > 0;
}

void Attempt::hand_on(const Source& source, std::vector<OutputLine> lines) {
  std::vector<RankExit> exits;
  for (const OutputLine& line : lines) {
    const RankExit& exit = line.line.exit;
    if (line.line.kind == MpirunLine::Kind::kGone) gone_[{exit.job, exit.rank}] = exit.pid;
    if (line.line.kind == MpirunLine::Kind::kExit) exits.push_back(exit);
  }
  std::erase_if(lines, [&](const OutputLine& line) { return line.end <= source.logged; });
  if (!lines.empty()) listener_.output(lines);
  for (RankExit& exit : exits) {
    exit.pid = gone_[{exit.job, exit.rank}];
    read_ranks_to_their_ends();
    listener_.rank_ended(exit);
  }
}

void Attempt::take_line(Source& source, std::string text, std::vector<OutputLine>& lines) {
  const bool own = source.stream.rank >= 0;
  if (own) {
    if (!text.empty() && text.back() == '\r') text.pop_back();
    lines.push_back(
        {{MpirunLine::Kind::kRank, source.stream.rank, source.stream.error, std::move(text), {}},
         own,
         source.offset});
  } else {
    lines.push_back({parse_mpirun_line(text), own, source.offset});
  }
  const MpirunLine& line = lines.back().line;
  const bool rank_error = line.kind == MpirunLine::Kind::kRank && line.error;
  if ((!rank_error && line.kind != MpirunLine::Kind::kMpirun) || is_noise(line.text)) return;
  const std::lock_guard lock(mutex_);
  std::deque<std::string>& errors = errors_[line.rank];
  errors.push_back(line.text.substr(0, kLongestError));
  if (errors.size() > kErrorLines) errors.pop_front();
}

}  // namespace musher
