#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "trainer/client/coordinator_client.h"

namespace musher {

/// What MPI is to a trainer, by files in one folder: ranks wait for each other at points, notice
/// that one has died because the lock that it held is free, go on without it, and take newcomers
/// in.
class FakeGroup {
 public:
  /// `start`: starts the newcomer with this rank.
  FakeGroup(std::filesystem::path folder, const RankIdentity& identity, CoordinatorClient& client,
            std::function<void(int rank)> start);
  ~FakeGroup();

  /// Of the first generation: all that mpirun started.
  void begin(std::uint64_t generation);
  /// Of a newcomer: waits until the members take it in; the point at which they are.
  std::uint64_t wait_to_be_member();

  enum class Met { kAll, kStop, kLeave };
  /// Waits until all members are at this point, and `open` says that it may go on.
  Met meet(std::uint64_t point, const std::function<bool()>& open);

  bool leads() const { return members_.front() == identity_.rank; }
  const std::vector<int>& members() const { return members_; }
  std::uint64_t generation() const { return generation_; }

 private:
  std::filesystem::path file(const std::string& what, int rank) const;
  bool lives(int rank) const;
  std::uint64_t point_of(int rank, const char* what = "point") const;
  std::vector<int> living() const;
  void write(const std::filesystem::path& path, const std::string& text) const;
  bool follow();
  void regroup(const std::vector<int>& members, std::uint64_t point, const std::string& cause);
  void take_newcomers_in(std::uint64_t point);

  const std::filesystem::path folder_;
  const RankIdentity identity_;
  CoordinatorClient& client_;
  const std::function<void(int)> start_;
  int lock_ = -1;
  std::uint64_t generation_ = 0;
  std::vector<int> members_;
  std::set<int> started_;      // newcomers
  std::optional<int> coming_;  // the last of them, until it is a member
};

}  // namespace musher
