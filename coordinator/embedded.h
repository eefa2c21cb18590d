#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "storage/config.h"

namespace musher {

/// How ranks on other hosts reach the coordinator that rank 0 holds.
struct EmbeddedNetwork {
  /// The folder of `musher certs`, whose `coordinator` and `worker` are used, at the same path on
  /// each host; empty: all ranks are on this machine, and it listens on loopback alone.
  std::string tls;
  std::string advertise;  ///< this host's name or address, for the others; empty: its host name
};

/// The coordinator of one job inside the process of rank 0, for `mpirun -n N musher-trainer --job
/// JOB.json`: its state is in a temporary folder that goes with it, and its one attempt's ranks run
/// already. Progress goes to stderr, a line each. Thread-safe.
class EmbeddedCoordinator {
 public:
  /// Throws kInvalidArgument with everything that is wrong with the job, a line each, or naming the
  /// file of the TLS folder.
  EmbeddedCoordinator(const std::string& job_json_path, int world_size,
                      const StorageConfig& storage, const EmbeddedNetwork& network = {});
  ~EmbeddedCoordinator();

  std::string address() const;  ///< for the ranks, as Endpoint (rpc/tls.h) has it
  const std::string& job_name() const;
  const std::string& token() const;
  std::uint64_t attempt() const;
  std::vector<std::string> file_channels() const;  ///< see job/input_mode.h
  std::int64_t metrics_every_steps() const;        ///< see job/metric_rate.h

  /// Returns when the job is over, or at the deadline.
  void wait_over(Deadline deadline);
  /// 0 Completed, 1 Failed or not over, 3 Stopped.
  int exit_code();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher
