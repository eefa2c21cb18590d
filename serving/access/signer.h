#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serving/access/signature.h"

/// AWS Signature Version 4, as the calling side makes it.
namespace musher {

/// The key that a caller signs with. Its secret goes to no log and no command line.
struct SigningKey {
  std::string access_key_id;
  std::string secret;
};

/// The headers that sign `request` are X-Amz-Date and Authorization, to be sent beside those that
/// it has, all of which are signed. REQUIRES: `Host` among them, as it will be sent.
std::vector<std::pair<std::string, std::string>> sign(const SignedRequest& request,
                                                      const SigningKey& key,
                                                      const SigningScope& scope, SystemTime now);

/// The key in a file of its owner's alone, as `musher access create` prints it. kNotFound,
/// kFailedPrecondition where others may read the file, kInvalidArgument where it holds no key.
SigningKey read_signing_key(const std::string& path);

}  // namespace musher
