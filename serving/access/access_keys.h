#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serving/access/policy.h"

namespace musher {

/// A caller's key with what it may do.
struct AccessKey {
  std::string id;        ///< 20 characters, "MSHR…"
  std::string user;      ///< whom it was made for
  std::string user_arn;  ///< arn:aws:iam::ACCOUNT:user/USER
  AccessPolicy policy;
  std::string secret;
};

/// The access keys of a folder that is its owner's alone (modes 0700 and 0600; others are refused
/// with what to type). SigV4 is an HMAC, so the verifier must know the secret itself: secrets are
/// stored encrypted (AES-256-GCM) by `secret.key` beside `access-keys.json`, so that a copy of the
/// latter tells nothing. A file is replaced whole or not at all; several processes may make keys at
/// once. Thread-safe.
class AccessKeys {
 public:
  /// Makes the folder where there is none. kFailedPrecondition where others may read in it.
  /// `account`: 12 digits, the account of the ARNs.
  explicit AccessKeys(std::string folder, std::string account = "000000000000");

  /// What is shown once and can never be read again.
  struct Created {
    std::string id;
    std::string secret;
  };
  /// kInvalidArgument for a user's name that IAM does not take, or a policy that is none.
  Created create(const std::string& user, const std::string& policy_json);

  struct Summary {
    std::string id, user, created;  ///< `created` in ISO 8601, UTC
    std::string policy_json;
  };
  std::vector<Summary> list() const;  ///< by id

  /// From then on nobody gets in with it, be it in another process. kNotFound.
  void remove(const std::string& id);

  /// Looks into the file again where it has changed. Empty where there is no such key.
  std::optional<AccessKey> find(const std::string& id);

 private:
  /// Tells one content of the file from another.
  using Stamp = std::pair<std::int64_t, std::pair<std::uint64_t, std::int64_t>>;

  std::string file() const { return folder_ + "/access-keys.json"; }
  std::string sealing_key() const;
  std::optional<Stamp> stamp() const;
  void load();

  const std::string folder_;
  const std::string account_;
  std::mutex mutex_;
  std::optional<Stamp> loaded_;
  std::map<std::string, AccessKey> keys_;
};

}  // namespace musher
