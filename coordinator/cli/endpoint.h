#pragma once

#include "coordinator/cli/command.h"

namespace musher::cli {

extern const Command kEndpoint;

}  // namespace musher::cli
