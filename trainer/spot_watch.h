#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "common/thread.h"
#include "trainer/metadata.h"

namespace musher {

/// EC2 takes the host back.
struct SpotNotice {
  std::string action;        ///< terminate, stop, hibernate
  std::string time;          ///< when, as EC2 has it: 2026-01-02T03:04:05Z
  std::int64_t time_ms = 0;  ///< the same, since the epoch; 0: it can't be read
};

/// The body of spot/instance-action; absent where it is none.
std::optional<SpotNotice> parse_instance_action(const std::string& body);
/// The noticeTime of events/recommendations/rebalance; absent where it is none.
std::optional<std::string> parse_rebalance(const std::string& body);

/// Called from the watch's thread.
struct SpotListener {
  std::function<void(const SpotNotice&)> interruption;            ///< once
  std::function<void(const std::string& notice_time)> rebalance;  ///< once for each time
  std::function<void(const std::string& what)> trouble;           ///< once for a row of failures
};

/// Asks a host's metadata service for EC2's notices every five seconds, in a thread of its own.
/// Where it can't be asked, training goes on.
class SpotWatch {
 public:
  SpotWatch(MetadataConfig config, SpotListener listener);

 private:
  void run(const std::stop_token& stop);
  bool look(MetadataService& service);

  const MetadataConfig config_;
  const SpotListener listener_;
  std::string rebalance_;  ///< the newest that was told
  bool troubled_ = false;
  Thread thread_;
};

}  // namespace musher
