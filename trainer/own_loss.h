#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/task.h"

namespace musher {

/// `task` with a loss of the user's instead of its own, and the user's metrics behind its own; see
/// model/loss_module.h for what the TorchScript file may return. `uri` is the file's, for messages.
/// It is tried with two samples of `input_shape`, as the task's decoder makes them, and outputs of
/// `output_shape`, all zeros. kInvalidArgument for a file that can't be used.
std::unique_ptr<Task> with_own_loss(std::unique_ptr<Task> task, std::span<const std::byte> file,
                                    const std::string& uri,
                                    const std::vector<std::int64_t>& input_shape,
                                    const std::vector<std::int64_t>& output_shape);

}  // namespace musher
