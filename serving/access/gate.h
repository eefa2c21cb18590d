#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "serving/access/access_error.h"
#include "serving/access/access_keys.h"
#include "serving/access/replay_guard.h"
#include "serving/access/signature.h"

namespace musher {

/// Whom a request is from, once that is certain.
struct SignedCaller {
  std::string access_key_id;
  std::string user_arn;
};

/// Lets a request in, or says with AWS's words why not: the signature, its time and that it is new,
/// then the policy of its key. Thread-safe.
class AccessGate {
 public:
  /// `keys` must outlive it.
  AccessGate(AccessKeys& keys, SigningScope scope) : keys_(keys), scope_(std::move(scope)) {}

  /// `action` e.g. "sagemaker:InvokeEndpoint", `resource` an ARN. Throws only where the keys can't
  /// be read.
  std::variant<SignedCaller, AccessError> admit(const SignedRequest& request,
                                                std::string_view action, std::string_view resource,
                                                SystemTime now);

 private:
  AccessKeys& keys_;
  const SigningScope scope_;
  ReplayGuard replays_;
};

}  // namespace musher
