#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fleet/fleet.h"

namespace musher {

/// An instance as a host of jobs.
struct FleetHost {
  FleetInstance instance;
  std::string key;      ///< its public key for ssh; not empty: it has set itself up
  std::string failure;  ///< not empty: its set-up failed, and it will not be ready
  /// Not empty: EC2 calls it running, and it is no good all the same: why.
  std::string trouble = {};
  bool ready() const { return !key.empty() && trouble.empty(); }
};

/// Running instances that do not pass EC2's own checks: id → which check. EC2 needs some minutes to
/// find out. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
std::map<std::string, std::string> impaired_instances(const AwsAccess& access,
                                                      const std::vector<FleetInstance>& instances,
                                                      Deadline deadline);

/// What a coordinator needs of a fleet: who its hosts are, their keys, and the key that they let
/// in. The folder is its owner's alone. Files are replaced whole, `known_hosts` before `hosts`.
class FleetFolder {
 public:
  /// Makes the folder where it is not there. Throws kPermissionDenied naming it.
  explicit FleetFolder(std::filesystem::path folder);

  std::filesystem::path hosts() const { return folder_ / "hosts"; }
  std::filesystem::path known_hosts() const { return folder_ / "known_hosts"; }
  std::filesystem::path key() const { return folder_ / "key"; }

  /// The public part of key(), which is made with ssh-keygen where it is not there.
  std::string public_key(Deadline deadline) const;

  /// The instances with what is known of each: ready ones from known_hosts(), the others from their
  /// consoles, and what EC2 finds of all. The keys come through AWS, which answers nobody else, so
  /// that no first connection has to be trusted.
  std::vector<FleetHost> look_at(const AwsAccess& access,
                                 const std::vector<FleetInstance>& instances,
                                 Deadline deadline) const;

  /// Those that are ready, with `slots` each, as `musher serve --hosts` takes them; where there are
  /// none, this machine without slots.
  void write(const std::vector<FleetHost>& hosts, int slots) const;

 private:
  std::filesystem::path folder_;
};

/// known_hosts, a line for each that has told its key: `10.0.0.1 ssh-ed25519 AAAA… i-0f00`.
std::string known_hosts_text(const std::vector<FleetHost>& hosts);

}  // namespace musher
