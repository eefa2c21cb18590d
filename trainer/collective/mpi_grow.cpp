// How a group takes in a process that was started after it.
//
// Rank 0 has started the process and so has a communicator with it alone. MPI_Intercomm_create
// makes of that a bridge between the group and the newcomer, MPI_Intercomm_merge one communicator.

// mpi-ext.h needs mpi.h before it.
// clang-format off
#include <mpi.h>
#include <mpi-ext.h>
// clang-format on

#include <fmt/format.h>

#include "common/error.h"
#include "trainer/collective/mpi_group.h"

namespace musher {
namespace {

constexpr int kBridgeTag = 1;

void require(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw PeerFailure(fmt::format("{}: {}", what, text));
}

}  // namespace

std::shared_ptr<MpiGroup> MpiGroup::merged(MPI_Comm local, MPI_Comm peer, int remote, bool last,
                                           const MpiOptions& options,
                                           std::atomic<MPI_Comm>& making) {
  MPI_Comm between = MPI_COMM_NULL, all = MPI_COMM_NULL;
  require(MPI_Intercomm_create(local, 0, peer, remote, kBridgeTag, &between),
          "the bridge to the newcomer");
  MPI_Comm_set_errhandler(between, MPI_ERRORS_RETURN);
  making = between;
  require(MPI_Intercomm_merge(between, last ? 1 : 0, &all), "the merge with the newcomer");
  MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
  making = all;
  std::shared_ptr<MpiGroup> group(new MpiGroup(all, options));
  group->run([&] { group->share_memory({}); });
  return group;
}

std::shared_ptr<MpiGroup> MpiGroup::with_newcomer(MPI_Comm peer) {
  return run([&] {
    std::shared_ptr<MpiGroup> group;
    std::string reason = "another rank could not take in the newcomer";
    try {
      group = merged(comm_, peer, 1, false, options_, growing_);
    } catch (const std::exception& error) {
      reason = error.what();
      fail(reason);  // so that nobody waits for this rank in the bridge
    }
    // Some ranks may have the new group and others not: all take it, or none. An agreement is the
    // one operation that a dead rank and a revoked communicator do not disturb.
    int all_have_it = group ? 1 : 0;
    MPIX_Comm_agree(comm_, &all_have_it);
    growing_ = MPI_COMM_NULL;
    if (all_have_it != 0) return group;
    if (group) group->fail(reason);
    throw PeerFailure(reason);
  });
}

std::shared_ptr<MpiGroup> MpiGroup::as_newcomer(MPI_Comm peer, const MpiOptions& options) {
  std::atomic<MPI_Comm> making{MPI_COMM_NULL};
  return merged(MPI_COMM_SELF, peer, 0, true, options, making);
}

}  // namespace musher
