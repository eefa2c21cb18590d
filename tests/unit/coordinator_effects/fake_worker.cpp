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
#include <string>
#include <thread>

#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
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
  const std::string folder =
      "step-" + std::to_string(step) + "." + std::to_string(identity.attempt);
  const std::string key = "rank-" + std::to_string(identity.rank);
  const std::string text = "state of rank " + std::to_string(identity.rank);
  const auto store = open_store(*membership.job.checkpoints, membership.storage);
  const auto bytes = std::as_bytes(std::span(text));
  store->put(folder + "/" + key, bytes);
  client.slice_written({folder, step, identity.rank, identity.world_size, key, bytes.size(),
                        hash64(bytes), R"({"fake": true})"},
                       soon());
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
  if (is_for("FAKE_THROW", identity.rank))
    throw Error(ErrorCode::kDataLoss, "the fake's own failure");
}

Outcome train(CoordinatorClient& client, const RankIdentity& identity,
              const Membership& membership) {
  const auto epochs = static_cast<std::uint64_t>(membership.job.hyperparameters.epochs);
  std::uint64_t step = 0;
  const std::string resume_from =
      membership.resume_candidates.empty() ? "" : membership.resume_candidates.front();
  const std::size_t dash = resume_from.rfind("/step-");
  if (dash != std::string::npos) {
    step = std::strtoull(resume_from.c_str() + dash + 6, nullptr, 10);
    client.notice("resumed at step " + std::to_string(step));
  }
  for (std::uint64_t epoch = step; epoch < epochs; ++epoch) {
    misbehave(identity, epoch);
    client.progress({Phase::kTraining, step, epochs, epoch, 100, 0.5, 0.01});
    const EpochAssignment assignment = client.assignment("train", epoch, soon());
    const Digest own = read_epoch(client, assignment, epoch);
    std::cout << "epoch " << epoch << ": " << own.samples << " samples in "
              << assignment.shares.size() << " virtual workers" << std::endl;

    if (identity.rank == 0) {
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
    }
    step = epoch + 1;
    client.progress({Phase::kTraining, step, epochs, epoch, 100, 0.5, 0.01});
    if (membership.job.checkpoints) write_slice(client, membership, identity, step);
    client.flush(soon());
    wait_for_file("FAKE_GATE", client);
    const Directives directives = client.directives();
    if (!directives.failure.empty()) throw Error(ErrorCode::kInternal, directives.failure);
    if (directives.stop || asked_to_stop) return Outcome::kStopped;
  }
  return Outcome::kCompleted;
}

int run(const RankIdentity& identity, const std::string& address) {
  CoordinatorClient client(address, identity);
  if (is_for("FAKE_NEVER_JOIN", identity.rank)) std::this_thread::sleep_for(std::chrono::hours(1));
  const Membership membership = client.join("localhost", soon());
  try {
    std::cout << "joined as " << identity.rank << " of " << identity.world_size << std::endl;
    std::cerr << "a word on stderr" << std::endl;
    const Outcome outcome = train(client, identity, membership);
    if (is_for("FAKE_IGNORE_STOP", identity.rank))
      std::this_thread::sleep_for(std::chrono::hours(1));
    const bool first = identity.rank == 0;
    client.finish(
        outcome, "", first ? membership.job.artifact().str() : "",
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
  const RankIdentity identity{given["--job-name"], std::stoull(given["--attempt"]),
                              std::atoi(std::getenv("OMPI_COMM_WORLD_RANK")),
                              std::atoi(std::getenv("OMPI_COMM_WORLD_SIZE")),
                              first_line(given["--token-file"])};
  try {
    return run(identity, given["--coordinator"]);
  } catch (const std::exception& error) {
    std::cerr << "fake worker: " << error.what() << std::endl;
    return 1;
  }
}
