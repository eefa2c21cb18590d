#include "coordinator/attempt.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace musher {

namespace {

constexpr std::size_t kErrorLines = 5;
constexpr std::size_t kLongestLine = 1 << 20;  // what is beyond is dropped
constexpr std::size_t kLongestError = 2000;    // of FailureReason, which has 1024 bytes
constexpr std::uint64_t kFreedAtOnce = 8 << 20;
constexpr std::uint64_t kKept = 1 << 20;  // of what was read: a restarted coordinator looks there
constexpr auto kSignalCheck = std::chrono::milliseconds(500);
constexpr auto kDrainTime = std::chrono::seconds(2);     // from the ranks' SIGKILL to mpirun's
constexpr auto kCleanUpTime = std::chrono::seconds(10);  // for killed processes to be gone

/// PMIx tears down what it has open when the daemon goes; that is not the rank's own last word.
bool is_noise(const std::string& text) {
  return text.empty() || text.starts_with("----") || text.find("PMIX ERROR") != text.npos;
}

}  // namespace

Attempt::Attempt(std::optional<Process> mpirun, Paths paths, AttemptListener listener)
    : mpirun_(std::move(mpirun)),
      paths_(std::move(paths)),
      listener_(std::move(listener)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      file_(::open(paths_.output.c_str(), O_RDWR | O_CLOEXEC)),
      thread_("attempt", [this](const std::stop_token& stop) { watch(stop); }) {}

Attempt::~Attempt() {
  thread_.request_stop();
  ::eventfd_write(wake_.get(), 1);
}

void Attempt::ask_to_stop() {
  signal_by_argument(paths_.token, SIGTERM, mpirun_ ? mpirun_->identity().pid : 0);
}

void Attempt::kill() {
  signal_by_argument(paths_.token, SIGKILL, mpirun_ ? mpirun_->identity().pid : 0);
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
  if (mpirun_) watch_mpirun(stop);
  if (stop.stop_requested()) return;
  clean_up();
  if (listener_.clean_up) listener_.clean_up();
  read_output();
  listener_.ended();
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

/// Returns when it is gone, or at a stop.
void Attempt::watch_mpirun(const std::stop_token& stop) {
  const FileDescriptor changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ::inotify_add_watch(changes.get(), paths_.output.c_str(), IN_MODIFY);
  std::optional<Deadline> kill_mpirun_at;
  bool told = false;
  for (;;) {
    read_output();
    if (!told && mpirun_->has_pending(SIGTERM)) {
      told = true;
      listener_.told_to_end();
    }
    if (kill_wanted_ && !kill_mpirun_at) kill_mpirun_at = Deadline::after(kDrainTime);
    if (kill_mpirun_at && kill_mpirun_at->expired()) {
      mpirun_->signal(SIGKILL);
      signal_by_argument(paths_.token, SIGKILL);
    }
    std::array<pollfd, 3> events{
        {{mpirun_->descriptor(), POLLIN, 0}, {changes.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    // Nobody tells of a signal that another process has pending.
    int timeout = told ? -1 : static_cast<int>(kSignalCheck.count());
    if (kill_mpirun_at)
      timeout = std::max(10, static_cast<int>(kill_mpirun_at->remaining().count()));
    ::poll(events.data(), events.size(), timeout);
    if (stop.stop_requested()) return;
    std::array<char, 4096> dropped;
    if ((events[1].revents & POLLIN) != 0) {
      [[maybe_unused]] const auto n = ::read(changes.get(), dropped.data(), dropped.size());
    }
    if ((events[2].revents & POLLIN) != 0) {
      eventfd_t value = 0;
      ::eventfd_read(wake_.get(), &value);
    }
    if (events[0].revents != 0) break;
  }
  mpirun_->reap();
}

/// mpirun is gone; what it may have left is ended too, so that nothing writes to the job any more.
void Attempt::clean_up() {
  const Deadline deadline = Deadline::after(kCleanUpTime);
  while (signal_by_argument(paths_.token, SIGKILL) > 0 && !deadline.expired()) {
    ::poll(nullptr, 0, 5);  // the kernel tells nobody but the parent of a process's end
  }
  std::error_code ignored;
  std::filesystem::remove_all(paths_.session, ignored);
}

/// What ranks print must not fill the disk a second time: it is in the log.
void Attempt::free_read_output() {
  if (offset_ < freed_ + kFreedAtOnce + kKept) return;
  const std::uint64_t end = offset_ - kKept;
  // Where a file system has no holes the file stays as it is.
  ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(freed_),
              static_cast<off_t>(end - freed_));
  freed_ = end;
}

void Attempt::read_output() {
  std::array<char, 64 << 10> buffer;
  if (offset_ == 0) {
    // An earlier coordinator may have freed the beginning.
    const off_t data = ::lseek(file_.get(), 0, SEEK_DATA);
    if (data > 0) offset_ = freed_ = static_cast<std::uint64_t>(data);
  }
  for (;;) {
    const ssize_t n =
        ::pread(file_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset_));
    if (n <= 0) return;
    std::vector<OutputLine> lines;
    for (ssize_t i = 0; i < n; ++i) {
      ++offset_;
      if (buffer[i] == '\n') {
        take_line(std::exchange(partial_, {}), lines);
      } else if (partial_.size() < kLongestLine) {
        partial_ += buffer[i];
      }
    }
    if (lines.empty()) continue;
    listener_.output(lines);
    free_read_output();
    for (const OutputLine& line : lines) {
      RankExit exit = line.line.exit;
      if (line.line.kind == MpirunLine::Kind::kGone) gone_[{exit.job, exit.rank}] = exit.pid;
      if (line.line.kind != MpirunLine::Kind::kExit) continue;
      exit.pid = gone_[{exit.job, exit.rank}];
      listener_.rank_ended(exit);
    }
  }
}

void Attempt::take_line(const std::string& text, std::vector<OutputLine>& lines) {
  lines.push_back({parse_mpirun_line(text), offset_});
  const MpirunLine& line = lines.back().line;
  const bool rank_error = line.kind == MpirunLine::Kind::kRank && line.error;
  if ((!rank_error && line.kind != MpirunLine::Kind::kMpirun) || is_noise(line.text)) return;
  const std::lock_guard lock(mutex_);
  std::deque<std::string>& errors = errors_[line.rank];
  errors.push_back(line.text.substr(0, kLongestError));
  if (errors.size() > kErrorLines) errors.pop_front();
}

}  // namespace musher
