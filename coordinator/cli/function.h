#pragma once

#include "coordinator/cli/command.h"

namespace musher::cli {

extern const Command kFunction;

}  // namespace musher::cli
