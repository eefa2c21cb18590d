#include "trainer/collective/communicator_count.h"

namespace musher {

CommunicatorCount::CommunicatorCount() {
  MPI_Comm_dup(MPI_COMM_SELF, &own_);
  MPI_Comm_set_errhandler(own_, MPI_ERRORS_RETURN);
  value_ = 1;
}

std::int64_t CommunicatorCount::value() const {
  std::lock_guard lock(mutex_);
  return value_;
}

void CommunicatorCount::add(std::int64_t made) {
  std::lock_guard lock(mutex_);
  value_ += made;
}

void CommunicatorCount::raise_to(std::int64_t count) {
  std::lock_guard lock(mutex_);
  for (; value_ < count; ++value_) {
    MPI_Comm made = MPI_COMM_NULL;
    if (MPI_Comm_dup(own_, &made) == MPI_SUCCESS) MPI_Comm_free(&made);
  }
}

}  // namespace musher
