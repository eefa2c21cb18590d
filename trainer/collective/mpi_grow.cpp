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
constexpr int kCommunicatorsOfBridge = 3;

void require(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw PeerFailure(fmt::format("{}: {}", what, text));
}

/// After a step towards a new communicator: all ranks of `local` have done it, or all throw. One
/// that could not revokes `used`, in which the others may wait for it. What the step has made may
/// be revoked only after that: where a rank was still making it, that rank was seen to end by a
/// segmentation fault.
void together(MPI_Comm local, MPI_Comm used, int code, const char* what) {
  if (code != MPI_SUCCESS) MPIX_Comm_revoke(used);
  int all_did = code == MPI_SUCCESS ? 1 : 0;
  MPIX_Comm_agree(local, &all_did);
  require(code, what);
  if (all_did == 0) throw PeerFailure(fmt::format("{}: another rank failed", what));
}

/// One end of the bridge: the same ranks, with Open MPI's plainest collectives. Within
/// MPI_Intercomm_create its tuned ones were seen to divide by zero, in all ranks, where the other
/// end dies meanwhile.
int make_bridge_end(MPI_Comm ranks, MPI_Comm& end) {
  MPI_Info info = MPI_INFO_NULL;
  MPI_Info_create(&info);
  MPI_Info_set(info, "ompi_comm_coll_preference", "basic");
  const int code = MPI_Comm_dup_with_info(ranks, info, &end);
  MPI_Info_free(&info);
  return code;
}

}  // namespace

/// What is made on the way stays until the process ends: to free it is collective, and who is gone
/// by then would be waited for.
std::shared_ptr<MpiGroup> MpiGroup::merged(MPI_Comm local, MPI_Comm peer, int remote, bool last,
                                           const Context& context, std::atomic<MPI_Comm>& making) {
  context.communicators->add(kCommunicatorsOfBridge);
  MPI_Comm end = MPI_COMM_NULL, between = MPI_COMM_NULL, all = MPI_COMM_NULL;
  together(local, local, make_bridge_end(local, end), "an end for the bridge to the newcomer");
  MPI_Comm_set_errhandler(end, MPI_ERRORS_RETURN);
  making = end;
  together(local, end, MPI_Intercomm_create(end, 0, peer, remote, kBridgeTag, &between),
           "the bridge to the newcomer");
  MPI_Comm_set_errhandler(between, MPI_ERRORS_RETURN);
  making = between;
  together(local, between, MPI_Intercomm_merge(between, last ? 1 : 0, &all),
           "the merge with the newcomer");
  MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
  making = all;
  std::shared_ptr<MpiGroup> group(new MpiGroup(all, context));
  group->run([&] { group->found({}); });
  return group;
}

/// The leader has made communicators with newcomers that the others have not.
void MpiGroup::come_level() {
  std::int64_t most = context_.communicators->value();
  const int code = MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, comm_);
  together(comm_, comm_, code, "the count of communicators");
  context_.communicators->raise_to(most);
}

std::shared_ptr<MpiGroup> MpiGroup::with_newcomer(MPI_Comm peer) {
  return run([&] {
    std::shared_ptr<MpiGroup> group;
    std::string reason = "another rank could not take in the newcomer";
    try {
      come_level();
      group = merged(comm_, peer, 1, false, context_, growing_);
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

std::shared_ptr<MpiGroup> MpiGroup::as_newcomer(MPI_Comm peer, const Context& context) {
  std::atomic<MPI_Comm> making{MPI_COMM_NULL};
  return merged(MPI_COMM_SELF, peer, 0, true, context, making);
}

}  // namespace musher
