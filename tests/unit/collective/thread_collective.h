#pragma once

#include <memory>
#include <vector>

#include "trainer/collective/collective.h"

namespace musher {

/// A collective whose ranks are threads of this process, with deaths on demand: what MPI is to
/// NCCL, in tests.
class ThreadRanks {
 public:
  explicit ThreadRanks(int size);
  ~ThreadRanks();
  std::unique_ptr<Collective> collective(int rank);
  /// The last rank of the group that grow() makes, once it stands.
  std::unique_ptr<Collective> newcomer();
  /// The rank, as first numbered, is dead from now on.
  void kill(int rank);

  struct Hub;

 private:
  std::shared_ptr<Hub> hub_;
};

}  // namespace musher
