#pragma once

#include <string>

#include <c10/core/Device.h>

namespace musher {

/// Where this rank computes. "auto": the GPU of number `local_rank` where the host has GPUs, else
/// the CPU; "gpu": kFailedPrecondition where there is none. LibTorch's CUDA half is loaded here,
/// and only where a GPU is to be used: a rank on a CPU starts faster and smaller without it. Call
/// before anything else asks LibTorch about CUDA.
c10::Device choose_device(const std::string& wanted, int local_rank);

}  // namespace musher
