// Killed, or failed by the store, at every write of checkpoints and of the artifact: the last good
// checkpoint loads, an unfinished one never does, and the artifact is whole or absent.
#include <csignal>
#include <fstream>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "checkpoint_testing.h"
#include "common/error.h"
#include "model/artifact.h"
#include "support/fault_store.h"

namespace musher::test {
namespace {

constexpr std::uint64_t kSteps = 4;
constexpr int kRanks = 2;
constexpr std::size_t kKept = 2;
constexpr const char* kArtifact = "job/output/model.tar.gz";

/// A job's writes, in their order; `committed` is told of each checkpoint once it stands.
void write_all(ObjectStore& store, const std::function<void(std::uint64_t step)>& committed) {
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    const auto slices = save(store, step, kRanks);
    if (slices.size() < kRanks) continue;  // the store refused one: the job goes on
    try {
      commit_slices(store, slices);
    } catch (const std::exception&) {
      continue;
    }
    committed(step);
    try {
      prune(store, "job", step, kKept);
    } catch (const std::exception&) {
    }
  }
  Rank rank;
  rank.fill(kSteps);
  write_artifact(store, kArtifact, *rank.model,
                 {"convnet", {1, 16, 16}, {"a", "b", "c"}, "{}", "{}"});
}

class KilledAt : public testing::Test {
 protected:
  KilledAt() { at::set_num_threads(1); }  // no thread pool that a fork would break

  /// What is in the store, whatever happened: at least the checkpoint of `committed` can be loaded.
  void expect_good(const ScratchFolder& folder, std::uint64_t committed, const std::string& when) {
    const Uri root = Uri::parse("file://" + folder.path().string());
    const auto store = open_store(root, {});
    std::vector<std::string> candidates;
    for (const std::string& name : test::committed(*store))
      candidates.push_back(root.join(name).str());
    if (committed == 0 && candidates.empty()) return;
    ASSERT_FALSE(candidates.empty()) << when;
    Rank rank, other;
    const LoadedCheckpoint loaded = load_newest_checkpoint(candidates, {}, identity(), {0, kRanks},
                                                           rank.tensors(), rank.optimizer);
    EXPECT_TRUE(loaded.notices.empty()) << when << ": " << loaded.notices.front();
    for (const std::string& one : candidates) {  // the older ones are whole too
      EXPECT_NO_THROW(load_newest_checkpoint({one}, {}, identity(), {0, kRanks}, other.tensors(),
                                             other.optimizer))
          << when << ": " << one;
    }
    EXPECT_GE(loaded.state.step, committed) << when;
    EXPECT_TRUE(rank.is(static_cast<double>(loaded.state.step))) << when;
  }

  static std::size_t files_in(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) return 0;
    const std::filesystem::directory_iterator files(path);
    return static_cast<std::size_t>(std::distance(begin(files), end(files)));
  }

  static std::string text(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(KilledAt, EveryWriteByASignal) {
  ScratchFolder whole;
  {
    const auto store = open_store(Uri::parse("file://" + whole.path().string()), {});
    write_all(*store, [](std::uint64_t) {});
  }
  const std::string artifact = text(whole.path() / kArtifact);
  ASSERT_FALSE(artifact.empty());
  int point = 0;
  for (bool killed = true; killed;) {
    ++point;
    ScratchFolder folder;
    const std::filesystem::path progress = folder.path() / "progress";
    const pid_t child = fork();
    if (child == 0) {
      const auto store = open_store(Uri::parse("file://" + folder.path().string()), {});
      FaultStore fault(*store, [point](int at, const std::string&) {
        if (at == point) kill(getpid(), SIGKILL);
      });
      write_all(fault, [&](std::uint64_t step) { std::ofstream(progress) << step << std::flush; });
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    ASSERT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << status;
    std::uint64_t committed = 0;
    std::ifstream(progress) >> committed;
    const std::string when = "killed at write " + std::to_string(point);
    expect_good(folder, committed, when);
    const bool there = std::filesystem::exists(folder.path() / kArtifact);
    EXPECT_TRUE(!there || text(folder.path() / kArtifact) == artifact) << when;
    EXPECT_TRUE(killed || there);
    // What the next attempt does first.
    const auto store = open_store(Uri::parse("file://" + folder.path().string()), {});
    sweep(*store, "job");
    expect_good(folder, committed, when + ", swept");
    store->remove_unfinished("job/output");
    EXPECT_EQ(checkpoint_folders(*store), test::committed(*store).size()) << when;
    EXPECT_EQ(files_in(folder.path() / "job/output"), there ? 1U : 0U) << when;
  }
  EXPECT_GT(point, 60) << "far fewer writes than a job makes";
}

TEST_F(KilledAt, EveryWriteByAStoreThatFails) {
  bool reached = true;
  int point = 0;
  while (reached) {
    ++point;
    reached = false;
    ScratchFolder folder;
    const auto store = open_store(Uri::parse("file://" + folder.path().string()), {});
    FaultStore fault(*store, [&](int at, const std::string& what) {
      if (at != point) return;
      reached = true;
      throw Error(ErrorCode::kResourceExhausted, what + ": no space left");
    });
    std::uint64_t committed = 0;
    bool published = true;
    try {
      write_all(fault, [&](std::uint64_t step) { committed = step; });
    } catch (const Error&) {
      published = false;
    }
    const std::string when = "failed at write " + std::to_string(point);
    EXPECT_GE(committed, kSteps - 1) << when << ": one failure costs one checkpoint at most";
    expect_good(folder, committed, when);
    EXPECT_TRUE(!published || std::filesystem::exists(folder.path() / kArtifact)) << when;
  }
}

}  // namespace
}  // namespace musher::test
