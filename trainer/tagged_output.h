#pragma once

#include "common/thread.h"

namespace musher {

/// Marks what this process writes to stdout and stderr as mpirun marks the output of the ranks that
/// it started itself, `[1,RANK]<stdout>: …`: to that of a process that MPI_Comm_spawn started, Open
/// MPI 5.0 adds nothing. For as long as it lives, and in lines.
class TaggedOutput {
 public:
  explicit TaggedOutput(int rank);
  ~TaggedOutput();  ///< hands on what is there
  TaggedOutput(const TaggedOutput&) = delete;
  TaggedOutput& operator=(const TaggedOutput&) = delete;

 private:
  struct Stream {
    int descriptor = -1;  ///< 1 or 2
    int original = -1;    ///< what it was
    Thread thread;
  };
  static Stream tag(int descriptor, const char* prefix);
  void restore(Stream& stream);

  Stream out_;
  Stream error_;
};

}  // namespace musher
