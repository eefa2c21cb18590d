#pragma once

#include <string>
#include <vector>

#include "common/deadline.h"

namespace musher {

/// How a program that was run to its end ended.
struct CommandResult {
  int exit_code = -1;  ///< 128 + N where signal N ended it
  bool timed_out = false;
  std::string out;  ///< the first megabytes
  std::string err;
};

/// Runs a program, argv[0] being its path, with `input` as its stdin; SIGKILL at the deadline.
/// Throws kInvalidArgument naming the program where it can't be run.
CommandResult run_command(const std::vector<std::string>& argv, const std::string& input,
                          Deadline deadline);

}  // namespace musher
