#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "coordinator/hosts.h"
#include "coordinator/process.h"
#include "endpoints.pb.h"

/// Instances on other hosts. Here each is the ssh by which it was started, with its log and a FIFO
/// by which it is told something, for the next coordinator too; there it is accompanied by what
/// coordinator/host_instance.h describes. It ends when ssh does.
namespace musher {

/// What an endpoint's instances need of this machine, as host_instance.h has it: `files` and, for
/// signed requests, `keys`. A secret. `tls`: the TLS folder whose certificate they show. kNotFound,
/// kInvalidArgument where a file can't be read.
nlohmann::json host_files(const std::string& token, const std::filesystem::path& tls,
                          const HostAccess& access, const std::string& keys);

/// Starts ssh, and hands it `order`, the first of host_instance.h. `control`: the FIFO, made anew;
/// `log`: where all output goes. kInvalidArgument where ssh can't be run, kUnavailable where it
/// takes nothing.
Process start_on_host(const HostAccess& access, const std::string& host,
                      const nlohmann::json& order, const std::filesystem::path& control,
                      const std::filesystem::path& log);

/// False where nobody takes it.
bool tell_host(const std::filesystem::path& control, const nlohmann::json& order);

}  // namespace musher
