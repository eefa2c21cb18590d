#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace musher {
class MetricsPage;
}

namespace musher::cli {

/// Answers GET /metrics, in threads of its own.
class MetricsListener {
 public:
  /// Adds what the server tells of itself, as it is now; what the process uses is added to it.
  /// Called on the listener's threads, as long as it lives.
  using Fill = std::function<void(MetricsPage&)>;

  /// HOST:PORT, where HOST is loopback: what it shows is nobody's secret, but no stranger's either.
  /// kInvalidArgument for another; kUnavailable where the port is taken.
  MetricsListener(const std::string& listen, Fill fill);
  ~MetricsListener();
  std::uint16_t port() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher::cli
