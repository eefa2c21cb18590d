// A rank that trains nothing: it talks to the coordinator as a trainer does, over the same client,
// and misbehaves as its environment says (FAKE_*, which a job sets in its Environment).

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "fake_group.h"
#include "launch/rank_output.h"
#include "storage/object_store.h"
#include "trainer/client/coordinator_client.h"

namespace musher {
namespace {

std::atomic<bool> asked_to_stop = false;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

/// FAKE_<what>, e.g. FAKE_DIE=1: the rank that it is for; absent: none.
bool is_for(const char* what, int rank) {
  const char* value = std::getenv(what);
  return value != nullptr && std::atoi(value) == rank;
}

/// Waits for a file that the test makes; this is how a test holds a run at a point.
void wait_for_file(const char* what, CoordinatorClient& client) {
  const char* path = std::getenv(what);
  if (path == nullptr) return;
  while (!std::filesystem::exists(path) && !asked_to_stop && !client.directives().stop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::map<std::string, std::string> arguments(int argc, char** argv) {
  std::map<std::string, std::string> result;
  for (int i = 1; i + 1 < argc; i += 2) result[argv[i]] = argv[i + 1];
  return result;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What all ranks together have when each has read what it was assigned; every rank can say so, as
/// it can ask for its own part alone, so rank 0 reports the expected whole.
Digest read_epoch(CoordinatorClient& client, const EpochAssignment& assignment,
                  std::uint64_t epoch) {
  Digest own;
  for (const VirtualWorkerRuns& share : assignment.shares) {
    for (const Run& run : share.runs) {
      const auto samples = client.shards("train", {run.shard}, soon()).front();
      for (std::uint64_t i = run.first; i < run.first + run.count; ++i)
        own.add(samples.at(i).key_hash, epoch);
    }
  }
  return own;
}

void write_slice(CoordinatorClient& client, const Membership& membership,
                 const RankIdentity& identity, std::uint64_t step) {
  const std::string folder = "step-" + std::to_string(step) + "." + identity.job + "." +
                             std::to_string(identity.attempt) + ".1";
  const std::string key = "rank-" + std::to_string(identity.rank);
  const std::string text = "state of rank " + std::to_string(identity.rank);
  const auto store = open_store(*membership.job.checkpoints, membership.storage);
  const auto bytes = std::as_bytes(std::span(text));
  store->put(folder + "/" + key, bytes);
  client.slice_written({folder, step, identity.rank, identity.world_size, key, bytes.size(),
                        hash64(bytes), R"({"fake": true})"},
                       soon());
}

/// FAKE_FLOOD=BYTES: rank 0 prints as many, in lines, as fast as it can; in the epoch
/// FAKE_FLOOD_EPOCH, or the first.
void flood(int rank, std::uint64_t epoch) {
  const char* bytes = std::getenv("FAKE_FLOOD");
  const char* when = std::getenv("FAKE_FLOOD_EPOCH");
  if (bytes == nullptr || rank != 0) return;
  if (epoch != static_cast<std::uint64_t>(when == nullptr ? 0 : std::atoi(when))) return;
  const std::string line = std::string(99, 'x') + "\n";
  for (long long left = std::atoll(bytes); left > 0; left -= static_cast<long long>(line.size())) {
    std::cout << line;
  }
  std::cout << "the last of the flood" << std::endl;
}

void misbehave(const RankIdentity& identity, std::uint64_t epoch) {
  const char* at = std::getenv("FAKE_AT_EPOCH");
  if (epoch != static_cast<std::uint64_t>(at == nullptr ? 0 : std::atoi(at))) return;
  const char* only = std::getenv("FAKE_ATTEMPT");
  if (only != nullptr && identity.attempt != static_cast<std::uint64_t>(std::atoi(only))) return;
  if (is_for("FAKE_DIE", identity.rank)) {
    std::cerr << "about to die" << std::endl;
    ::raise(SIGKILL);
  }
  if (is_for("FAKE_EXIT", identity.rank)) {
    std::cerr << "out of luck" << std::endl;
    ::_exit(7);
  }
  if (is_for("FAKE_HANG", identity.rank)) ::raise(SIGSTOP);
  if (is_for("FAKE_DIE_TOO", identity.rank)) ::raise(SIGKILL);
  if (is_for("FAKE_THROW", identity.rank))
    throw Error(ErrorCode::kDataLoss, "the fake's own failure");
}

void report_epoch(CoordinatorClient& client, const EpochAssignment& assignment, std::uint64_t step,
                  std::uint64_t epoch) {
  EpochResult result{epoch, assignment.expected, {}, {}};
  if (std::getenv("FAKE_WRONG_DIGEST") != nullptr) result.digest.sum += 1;
  if (const char* lost = std::getenv("FAKE_UNDECODABLE")) {
    const Sample sample = client.shards("train", {0}, soon()).front().at(0);
    for (int i = 0; i < std::atoi(lost); ++i) result.undecodable.add(sample.key_hash, epoch);
    result.digest -= result.undecodable;
    result.undecodable_keys.push_back(sample.key + ": a test says so");
  }
  client.epoch(result);
  client.metric({"train:loss", 1.0 / static_cast<double>(epoch + 1), step, epoch});
  for (const auto& [name, seconds] :
       std::map<std::string, double>{{"train:step_seconds", 0.1},
                                     {"train:data_seconds", 0.01},
                                     {"train:forward_seconds", 0.03},
                                     {"train:backward_seconds", 0.04},
                                     {"train:reduce_seconds", 0.01},
                                     {"train:optimizer_seconds", 0.005}}) {
    client.metric({name, seconds, step, epoch});
  }
}

bool gate_is_open() {
  const char* path = std::getenv("FAKE_GATE");
  return path == nullptr || std::filesystem::exists(path);
}

/// With FAKE_GROUP a rank goes on with others as a trainer does; otherwise each is on its own.
std::optional<Outcome> meet(FakeGroup* group, CoordinatorClient& client, std::uint64_t point) {
  if (group == nullptr) {
    wait_for_file("FAKE_GATE", client);
    const Directives directives = client.directives();
    if (!directives.failure.empty()) throw Error(ErrorCode::kInternal, directives.failure);
    if (directives.stop || asked_to_stop) return Outcome::kStopped;
    return std::nullopt;
  }
  switch (group->meet(point, gate_is_open)) {
    case FakeGroup::Met::kStop:
      return Outcome::kStopped;
    case FakeGroup::Met::kLeave:
      return Outcome::kLeft;
    default:
      return std::nullopt;
  }
}

Outcome train(CoordinatorClient& client, const RankIdentity& identity, const Membership& membership,
              FakeGroup* group, std::uint64_t first_step) {
  const auto epochs = static_cast<std::uint64_t>(membership.job.hyperparameters.epochs);
  std::uint64_t step = first_step;
  const std::string resume_from =
      membership.resume_candidates.empty() ? "" : membership.resume_candidates.front();
  const std::size_t dash = resume_from.rfind("/step-");
  if (dash != std::string::npos) {
    step = std::strtoull(resume_from.c_str() + dash + 6, nullptr, 10);
    client.notice("resumed at step " + std::to_string(step));
  }
  for (std::uint64_t epoch = step; epoch < epochs; ++epoch) {
    misbehave(identity, epoch);
    flood(identity.rank, epoch);
    client.progress({Phase::kTraining, step, epochs, epoch, 100, 0.5, 0.01});
    const EpochAssignment assignment = client.assignment("train", epoch, soon());
    const Digest own = read_epoch(client, assignment, epoch);
    std::cout << "epoch " << epoch << ": " << own.samples << " samples in "
              << assignment.shares.size() << " virtual workers" << std::endl;

    const auto leads = [&] { return group == nullptr ? identity.rank == 0 : group->leads(); };
    const bool reported = leads();
    if (reported) report_epoch(client, assignment, step, epoch);
    step = epoch + 1;
    client.progress({Phase::kTraining, step, epochs, epoch, 100, 0.5, 0.01});
    if (membership.job.checkpoints) write_slice(client, membership, identity, step);
    client.flush(soon());
    if (const auto end = meet(group, client, step)) return *end;
    // The leader may have died before the coordinator had this.
    if (leads() && !reported) report_epoch(client, assignment, step, epoch);
  }
  return Outcome::kCompleted;
}

/// What MPI_Comm_spawn is to a trainer.
void start_newcomer(const std::vector<std::string>& words, int rank) {
  std::vector<std::string> copy = words;
  copy.insert(copy.end(), {"--newcomer", std::to_string(rank)});
  std::vector<char*> argv;
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (::fork() != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

int run(const RankIdentity& identity, const std::string& address, bool newcomer,
        const std::vector<std::string>& words) {
  CoordinatorClient client(address, identity);
  if (is_for("FAKE_NEVER_JOIN", identity.rank)) std::this_thread::sleep_for(std::chrono::hours(1));
  const Membership membership =
      newcomer ? client.join_as_newcomer("localhost", soon()) : client.join("localhost", soon());
  try {
    std::unique_ptr<FakeGroup> group;
    std::uint64_t step = 0;
    if (const char* folder = std::getenv("FAKE_GROUP")) {
      std::filesystem::create_directories(folder);
      group = std::make_unique<FakeGroup>(folder, identity, client,
                                          [&](int rank) { start_newcomer(words, rank); });
      if (newcomer) {
        step = group->wait_to_be_member();
      } else {
        group->begin(membership.generation);
      }
    }
    std::cout << "joined as " << identity.rank << " of " << identity.world_size << std::endl;
    std::cerr << "a word on stderr" << std::endl;
    const Outcome outcome = train(client, identity, membership, group.get(), step);
    if (is_for("FAKE_IGNORE_STOP", identity.rank))
      std::this_thread::sleep_for(std::chrono::hours(1));
    const bool first = group == nullptr ? identity.rank == 0 : group->leads();
    client.finish(
        outcome, "", first || group != nullptr ? membership.job.artifact().str() : "",
        first ? std::vector<MetricPoint>{{"train:loss", 0.25, 4, 3}} : std::vector<MetricPoint>{},
        soon());
    return 0;
  } catch (const Error& error) {
    std::cerr << "fake worker: " << error.what() << std::endl;
    client.finish(Outcome::kFailed, error.what(), "", {}, soon());
    return 1;
  }
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  using namespace musher;
  std::signal(SIGTERM, [](int) { asked_to_stop = true; });
  auto given = arguments(argc, argv);
  const bool newcomer = given.contains("--newcomer");
  const RankIdentity identity{
      given["--job-name"], std::stoull(given["--attempt"]),
      newcomer ? std::stoi(given["--newcomer"]) : std::atoi(std::getenv("OMPI_COMM_WORLD_RANK")),
      std::atoi(std::getenv("OMPI_COMM_WORLD_SIZE")), first_line(given["--token-file"])};
  try {
    std::optional<RankOutput> output;
    if (std::getenv("FAKE_THROUGH_MPIRUN") == nullptr) {
      output.emplace(given["--output-folder"], identity.rank);
    }
    return run(identity, given["--coordinator"], newcomer, {argv, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "fake worker: " << error.what() << std::endl;
    return 1;
  }
}
