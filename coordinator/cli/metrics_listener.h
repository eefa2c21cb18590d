#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/coordinator.h"

namespace musher::cli {

/// Answers GET /metrics of a coordinator, which must outlive it, in threads of its own.
class MetricsListener {
 public:
  /// HOST:PORT, where HOST is loopback: what it shows is nobody's secret, but no stranger's either.
  /// kInvalidArgument for another; kUnavailable where the port is taken.
  MetricsListener(Coordinator& coordinator, const std::string& listen);
  ~MetricsListener();
  std::uint16_t port() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher::cli
