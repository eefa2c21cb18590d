#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "coordinator/endpoints/proxy_config.h"

namespace musher {

/// What an instance on another host wants to see, and has to show.
struct PingAccess {
  std::filesystem::path authority = {};  ///< file of the authority that its certificate must be of
  std::string token = {};
};

/// Whether the instance there is loaded and warmed up: GET /ping is answered with 200 in time. By
/// libcurl, without proxy or redirects.
bool answers_ping(const ProxyTarget& target, const PingAccess& access,
                  std::chrono::milliseconds timeout);

}  // namespace musher
