#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/deadline.h"
#include "coordinator/scheduler.h"
#include "launch/network.h"
#include "launch/ssh.h"

namespace musher {

/// How the hosts of jobs are reached, and what is where on them.
struct HostAccess {
  SshOptions ssh;
  std::string musher;  ///< this program, at the same path on every host
  std::string prefix;  ///< Open MPI's, likewise
  /// The one that ranks use; empty: by which the coordinator reaches each host.
  std::string network;
  /// A credentials file for the object store, as AWS's tools read it, where the ranks are to have
  /// this machine's; empty: hosts have their own, such as an instance's role.
  std::string store_credentials;
  /// Variables of this process that its ranks on other hosts get too, beside the job's own. Nothing
  /// secret: mpirun does not encrypt them.
  std::map<std::string, std::string> environment;
};

/// What ranks on another machine need of this one, by file name, to be put into a folder that the
/// user alone can read: an attempt's token, a certificate from the TLS folder `tls`, and
/// credentials for the object store.
std::map<std::string, std::string> rank_files(const std::string& token,
                                              const std::filesystem::path& tls,
                                              const HostAccess& access);

/// A host's answer, or why there is none.
struct HostAnswer {
  std::string host;
  nlohmann::json reply;
  std::string error;  ///< empty: it answered
  bool ok() const { return error.empty(); }
};

/// Asks all hosts at once what host_agent.h describes; this machine without ssh. In their order.
std::vector<HostAnswer> ask_hosts(const HostAccess& access, const std::vector<std::string>& hosts,
                                  const nlohmann::json& request, Deadline deadline);

/// Each host its own request. REQUIRES: as many as hosts.
std::vector<HostAnswer> ask_hosts(const HostAccess& access, const std::vector<std::string>& hosts,
                                  const std::vector<nlohmann::json>& requests, Deadline deadline);

std::vector<std::string> names_of(const std::vector<HostSlots>& hosts);

/// Whether any of them is another machine.
bool any_remote(const std::vector<HostSlots>& hosts);

/// A hostfile's hosts and slots. Throws kNotFound, or kInvalidArgument naming the line, a host that
/// is named twice, or that there is none.
std::vector<HostSlots> read_hostfile(const std::filesystem::path& file);

/// From their answers to `stage`.
std::vector<HostNetwork> networks_of(const std::vector<HostAnswer>& answers);

}  // namespace musher
