#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/log.h"
#include "coordinator/endpoints/places.h"

namespace musher {

/// The hosts that instances may run on, as all endpoints of a coordinator know them. Thread-safe.
class EndpointHosts {
 public:
  /// `hostfile`: may be empty, and is then this machine alone. `may_be_remote`: hosts on other
  /// machines can be used, since there are certificates. Throws as read_hostfile().
  EndpointHosts(std::filesystem::path hostfile, bool may_be_remote, Logger logger);

  /// The file is read again where it has changed; what is not right there changes nothing.
  std::vector<HostSlots> hosts();
  Places places_for(const std::string& endpoint, std::int64_t now_ms);

  /// Which hosts its instances are on.
  void note(const v1::EndpointRecord& record);
  void forget(const std::string& endpoint);

  /// It gets no more instances for a minute, or until the hostfile changes.
  void lose(const std::string& host, const std::string& why, std::int64_t now_ms);

 private:
  struct Lost {
    std::int64_t until_ms;
    std::string why;
  };

  void read_again();

  const std::filesystem::path hostfile_;
  const bool may_be_remote_;
  const Logger logger_;
  std::mutex mutex_;
  std::vector<HostSlots> hosts_;
  std::filesystem::file_time_type read_{};
  std::map<std::string, Lost> lost_;
  std::map<std::string, std::map<std::string, int>> instances_;  // by endpoint, then host
};

}  // namespace musher
