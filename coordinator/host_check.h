#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/hosts.h"

/// Whether hosts are fit for a job, from what they answered to `probe` (see host_probe.h). Pure.
namespace musher {

/// What a host must be like.
struct Expectations {
  std::string build;      ///< of this machine's programs; empty: any
  std::string libraries;  ///< the pinned environment's name; empty: any
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
  /// When the request was sent and its answer was there, by this machine's clock, milliseconds
  /// since the epoch: the host's clock must be between, or off by less than `clock_limit`.
  std::int64_t sent_ms = 0;
  std::int64_t received_ms = 0;
  std::chrono::milliseconds clock_limit{2'000};
};

/// NVIDIA's oldest driver for the CUDA of the pinned LibTorch, which is 13
/// (launch/requirements.txt): "CUDA 13.x: >= 580", table 1 of
/// https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
constexpr int kOldestDriver = 580;

/// All that is wrong with a host; none: it is fit. One that did not answer has just that.
std::vector<std::string> problems_of(const HostAnswer& answer, const Expectations& expected);

/// Seconds by which the host's clock is surely off; 0 where it may be right.
double clock_error(const HostAnswer& answer, const Expectations& expected);

/// In words: "none", "2, plugin", "1, no plugin".
std::string efa_text(const HostAnswer& answer);

}  // namespace musher
