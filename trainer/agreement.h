#pragma once

#include <cstdint>
#include <vector>

#include "common/deadline.h"
#include "trainer/collective/collective.h"

/// What the ranks of a new collective tell each other before they train: who they are and where
/// each stands. A rank may have finished an all-reduce that another saw fail, so that they differ
/// by the step that was under way; a newcomer has nothing yet.
namespace musher {

/// One rank's own, at a step boundary. Plain numbers, sent as they are.
struct Standpoint {
  std::int64_t member = 0;         ///< number within the attempt
  std::int64_t has_state = 0;      ///< 0: a newcomer, to be given all
  std::int64_t step = 0;           ///< committed
  std::int64_t closed_epochs = 0;  ///< epochs whose end (digest, validation, metrics) is done
  std::int64_t stopping = 0;       ///< has seen the step after which the job is to stop
  std::int64_t has_memory = 0;     ///< for gradients, shared with the others of its host
  std::int64_t regroup = 0;        ///< the coordinator has to be told of this membership
  std::int64_t device = -1;        ///< number of its GPU; -1: computes on the CPU
  std::uint64_t plan = 0;          ///< fingerprint of model and buckets, the same on all ranks
};

/// What follows, the same on every rank.
struct Agreement {
  std::vector<int> members;  ///< by rank of the collective, ascending
  std::vector<int> devices;  ///< likewise
  int source = 0;            ///< lowest rank that stands at `step`
  std::uint64_t step = 0;    ///< the newest that any rank has committed: all go on from there
  std::uint64_t closed_epochs = 0;  ///< that all at `step` have closed: the rest is done again
  bool stopping = false;
  bool level = false;     ///< somebody is behind: source broadcasts its state
  bool allocate = false;  ///< somebody has no memory: all allocate anew
  bool regroup = false;
};

/// Pure. kInternal naming the rank whose plan differs, kFailedPrecondition where nobody has a
/// state. REQUIRES: standpoints of all ranks, in their order.
Agreement conclude(const std::vector<Standpoint>& standpoints);

/// Collective over host memory. Throws what conclude() throws, and PeerFailure.
Agreement agree(Collective& host, const Standpoint& mine, Deadline deadline);

/// Whether this rank has to be given the state.
bool is_behind(const Standpoint& mine, const Agreement& agreement);

}  // namespace musher
