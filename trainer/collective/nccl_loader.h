#pragma once

#include <filesystem>
#include <memory>

#include "trainer/collective/nccl.h"

namespace musher {

/// The NCCL module's place: beside this program, or beside the shared library that has this code.
std::filesystem::path nccl_module();

/// make_nccl_collective() out of the module, which is loaded now, with NCCL and the CUDA runtime,
/// and never unloaded. A process that trains on CPUs does not call this and never loads them.
/// Throws Error (failed precondition), which names the file and what the loader missed.
std::unique_ptr<Collective> load_nccl_collective(const std::filesystem::path& module,
                                                 std::unique_ptr<Collective> bootstrap,
                                                 const NcclOptions& options, Deadline deadline);

}  // namespace musher
