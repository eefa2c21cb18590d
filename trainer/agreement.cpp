#include "trainer/agreement.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace musher {

Agreement conclude(const std::vector<Standpoint>& standpoints) {
  Agreement agreement;
  std::int64_t newest = -1;
  for (std::size_t rank = 0; rank < standpoints.size(); ++rank) {
    const Standpoint& one = standpoints[rank];
    if (one.plan != standpoints[0].plan) {
      throw Error(ErrorCode::kInternal, "rank " + std::to_string(one.member) +
                                            " has another model or bucket plan than rank " +
                                            std::to_string(standpoints[0].member) +
                                            "; are all hosts on the same version?");
    }
    agreement.members.push_back(static_cast<int>(one.member));
    agreement.devices.push_back(static_cast<int>(one.device));
    agreement.stopping |= one.stopping != 0;
    agreement.allocate |= one.has_memory == 0;
    agreement.regroup |= one.regroup != 0;
    if (one.has_state != 0 && one.step > newest) {
      newest = one.step;
      agreement.source = static_cast<int>(rank);
    }
  }
  if (newest < 0) {
    throw Error(ErrorCode::kFailedPrecondition,
                "no rank is left that has the state of the training");
  }
  agreement.step = static_cast<std::uint64_t>(newest);
  std::int64_t closed = standpoints[static_cast<std::size_t>(agreement.source)].closed_epochs;
  for (const Standpoint& one : standpoints) {
    if (is_behind(one, agreement)) {
      agreement.level = true;
    } else {
      closed = std::min(closed, one.closed_epochs);
    }
  }
  agreement.closed_epochs = static_cast<std::uint64_t>(closed);
  return agreement;
}

Agreement agree(Collective& host, const Standpoint& mine, Deadline deadline) {
  std::vector<Standpoint> all(static_cast<std::size_t>(host.size()));
  Standpoint own = mine;
  host.all_gather({&own, sizeof own, DType::kUInt8},
                  {all.data(), all.size() * sizeof own, DType::kUInt8}, deadline);
  return conclude(all);
}

bool is_behind(const Standpoint& mine, const Agreement& agreement) {
  return mine.has_state == 0 || static_cast<std::uint64_t>(mine.step) < agreement.step;
}

}  // namespace musher
