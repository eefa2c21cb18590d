#include <csignal>
#include <cstdlib>
#include <future>
#include <thread>

// mpi-ext.h needs mpi.h before it.
// clang-format off
#include <mpi.h>
#include <mpi-ext.h>
// clang-format on

#include "common/error.h"
#include "trainer/collective/mpi.h"
#include "trainer/collective/mpi_messages.h"

namespace musher {

MpiRuntime::MpiRuntime() {
  // A message to a peer that just died, over TCP, must be an error code and not the end of this
  // process too.
  std::signal(SIGPIPE, SIG_IGN);
  // Open MPI's hierarchical collectives (coll/han) choose their algorithm by what each rank knows
  // of the others' hosts; in a communicator with a process that was started later, ranks were seen
  // to choose differently and to wait for each other for good. Ours know the hosts themselves.
  ::setenv("OMPI_MCA_coll", "^han", /*overwrite=*/0);
  send_messages_eagerly();
  // Ranks learn each other's addresses while all of them live. Open MPI otherwise asks for one when
  // first it has something for that rank, which may be the news of its own death: then nobody
  // answers, and whoever asked hangs for good (PMIx_Get below mca_btl_tcp_add_procs).
  ::setenv("OMPI_MCA_mpi_add_procs_cutoff", "1000000", /*overwrite=*/1);
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
    throw Error(ErrorCode::kFailedPrecondition,
                "MPI does not start: run under the environment's own mpirun");
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    throw Error(ErrorCode::kFailedPrecondition, "this MPI is built without MPI_THREAD_MULTIPLE");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size_);

  MPI_Comm parent = MPI_COMM_NULL;
  MPI_Comm_get_parent(&parent);
  is_newcomer_ = parent != MPI_COMM_NULL;

  int* enabled = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPIX_FT, &enabled, &found);
  fault_tolerant_ = found != 0 && *enabled != 0;

  MPI_Comm host = MPI_COMM_NULL;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_rank_, MPI_INFO_NULL,
                          &host) == MPI_SUCCESS) {
    MPI_Comm_rank(host, &local_rank_);
    MPI_Comm_size(host, &local_size_);
    MPI_Comm_free(&host);
  }
  communicators_ = std::make_shared<CommunicatorCount>();
}

MpiRuntime::~MpiRuntime() {
  if (!finalized_) finalize(Deadline::after(std::chrono::seconds(5)));
}

bool MpiRuntime::finalize(Deadline deadline) {
  finalized_ = true;
  std::packaged_task<void()> task([] { MPI_Finalize(); });
  auto ended = task.get_future();
  std::thread thread(std::move(task));
  if (ended.wait_until(deadline.when()) != std::future_status::ready) {
    thread.detach();
    return false;
  }
  thread.join();
  return true;
}

}  // namespace musher
