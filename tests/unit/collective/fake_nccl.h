#pragma once

#include <nccl.h>

/// A stand-in for the NCCL and CUDA runtime functions that trainer/collective/nccl*.cpp calls, over
/// host memory and the threads of one process: each rank is a thread. An operation runs when all
/// ranks of its communicator have issued it and what their streams wait for has happened. Link it
/// in place of libnccl and libcudart. Faults are injected per rank of the first communicator, the
/// number given to this_thread_is(); they hold until reset().
namespace fake_nccl {

void reset();
/// Which rank's CUDA calls this thread makes.
void this_thread_is(int rank);

/// Each of the rank's NCCL calls stays ncclInProgress for so many polls.
void stay_in_progress(int rank, int polls);
/// What ncclCommGetAsyncError says of communicators that the rank has now, or after their next
/// abort no more.
void set_async_error(int rank, ncclResult_t error);
/// The rank's kernels hang until their communicator is aborted.
void never_complete(int rank);
/// What ncclCommInitRankConfig, and what ncclCommShrink, answers the rank.
void fail_init(int rank, ncclResult_t error);
void fail_shrink(int rank, ncclResult_t error);
/// What cudaEventQuery answers the rank: a cudaError_t.
void fail_events(int rank, int cuda_error);

/// A stream on which something runs until finish_producer(), and only then writes `value` to
/// `*target`.
void* start_producer(float* target, float value);
void finish_producer(void* stream);

struct Counts {
  int made;           ///< communicators
  int aborted;        ///< of them, by ncclCommAbort
  int aborted_again;  ///< must be 0
  int shrunk;         ///< successful calls of ncclCommShrink
  int events;         ///< alive
  int streams;        ///< alive
  int operations;     ///< that ran
};
Counts counts();

}  // namespace fake_nccl
