#include "fake_group.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {
namespace {

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

void pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));  // files can't wake us
}

/// A test holds the leader between the answer to Regroup and its next report.
void wait_for(const char* variable) {
  const char* path = std::getenv(variable);
  while (path != nullptr && !std::filesystem::exists(path)) pause();
}

}  // namespace

FakeGroup::FakeGroup(std::filesystem::path folder, const RankIdentity& identity,
                     CoordinatorClient& client, std::function<void(int)> start)
    : folder_(std::move(folder)),
      identity_(identity),
      client_(client),
      start_(std::move(start)),
      lock_(::open(file("lock", identity.rank).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) throw Error(ErrorCode::kInternal, "the lock is held");
}

FakeGroup::~FakeGroup() {
  ::close(lock_);
}

std::filesystem::path FakeGroup::file(const std::string& what, int rank) const {
  return folder_ / (std::to_string(identity_.attempt) + "-" + std::to_string(rank) + "." + what);
}

void FakeGroup::write(const std::filesystem::path& path, const std::string& text) const {
  const std::filesystem::path part = path.string() + "." + std::to_string(identity_.rank);
  std::ofstream(part) << text;
  std::filesystem::rename(part, path);
}

bool FakeGroup::lives(int rank) const {
  if (rank == identity_.rank) return true;
  const int other = ::open(file("lock", rank).c_str(), O_RDWR | O_CLOEXEC);
  if (other < 0) return false;
  const bool held = ::flock(other, LOCK_SH | LOCK_NB) != 0;
  ::close(other);
  return held;
}

std::uint64_t FakeGroup::point_of(int rank, const char* what) const {
  std::ifstream in(file(what, rank));
  std::uint64_t point = 0;
  in >> point;
  return point;
}

std::vector<int> FakeGroup::living() const {
  std::vector<int> result;
  for (const int rank : members_) {
    if (lives(rank)) result.push_back(rank);
  }
  return result;
}

void FakeGroup::begin(std::uint64_t generation) {
  generation_ = generation;
  write(file("ready", identity_.rank), "");
  for (int rank = 0; rank < identity_.world_size; ++rank) {
    members_.push_back(rank);
    while (!std::filesystem::exists(file("ready", rank))) pause();  // its lock is held from then on
  }
}

/// Takes over what the leader has agreed on with the coordinator; false: nothing new.
bool FakeGroup::follow() {
  std::ifstream in(file("generation", 0));
  std::uint64_t generation = 0;
  if (!(in >> generation) || generation <= generation_) return false;
  std::vector<int> members;
  for (int rank = 0; in >> rank;) members.push_back(rank);
  if (std::find(members.begin(), members.end(), identity_.rank) == members.end()) return false;
  generation_ = generation;
  members_ = members;
  client_.enter_generation(generation);
  return true;
}

std::uint64_t FakeGroup::wait_to_be_member() {
  write(file("ready", identity_.rank), "");
  while (!follow()) {
    if (client_.directives().stale) throw Error(ErrorCode::kFailedPrecondition, "not wanted");
    pause();
  }
  return point_of(members_.front());
}

void FakeGroup::regroup(const std::vector<int>& members, std::uint64_t point,
                        const std::string& cause) {
  client_.begin_regroup();
  if (members.front() != identity_.rank) return;  // the leader's file tells
  const GenerationPlan plan = client_.regroup(members, point, cause, soon());
  std::ostringstream text;
  text << plan.generation;
  for (const int rank : members) text << " " << rank;
  write(file("generation", 0), text.str());
  generation_ = plan.generation;
  members_ = members;
  wait_for("FAKE_HOLD_RECOVERY");
  client_.enter_generation(generation_);
  client_.recovered({generation_, point + 1, !cause.empty(), 0.1, 0.05});
}

void FakeGroup::take_newcomers_in(std::uint64_t point) {
  if (coming_) {
    if (!std::filesystem::exists(file("ready", *coming_))) return;
    std::vector<int> members = members_;
    members.push_back(*std::exchange(coming_, std::nullopt));
    return regroup(members, point, "");
  }
  // One at a time, so that they come in the order of their numbers.
  for (const int rank : client_.directives().start) {
    if (!started_.insert(rank).second) continue;
    coming_ = rank;
    return start_(rank);
  }
}

FakeGroup::Met FakeGroup::meet(std::uint64_t point, const std::function<bool()>& open) {
  write(file("point", identity_.rank), std::to_string(point));
  bool regrouping = false;
  for (;; pause()) {
    const Directives directives = client_.directives();
    if (directives.stale) throw Error(ErrorCode::kFailedPrecondition, "stale");
    if (!directives.failure.empty()) throw Error(ErrorCode::kInternal, directives.failure);
    // The leader says when all go on, so that nobody does while it regroups.
    const bool go = point_of(members_.front(), "go") >= point;
    if (follow()) regrouping = false;
    if (go) return Met::kAll;
    const bool all = std::all_of(members_.begin(), members_.end(),
                                 [&](int rank) { return point_of(rank) >= point; });
    if (leads() && all && open()) {
      write(file("go", identity_.rank), std::to_string(point));
      return Met::kAll;
    }
    if (directives.stop) return Met::kStop;
    const std::vector<int> alive = living();
    if (alive != members_) {
      bool left = true;
      for (const int rank : members_) {
        left = left && (lives(rank) || std::filesystem::exists(file("left", rank)));
      }
      if (!regrouping || leads() || alive.front() == identity_.rank) {
        regroup(alive, point, left ? "" : "a lock is free");
        regrouping = alive.front() != identity_.rank;
      }
      continue;
    }
    if (directives.leave) {
      write(file("left", identity_.rank), "");
      return Met::kLeave;
    }
    if (directives.regroup) {
      regroup(members_, point, "told to");
      if (!leads()) {
        while (!follow()) pause();
      }
      continue;
    }
    if (leads() && all) take_newcomers_in(point);
  }
}

}  // namespace musher
