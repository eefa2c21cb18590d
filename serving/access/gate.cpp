#include "serving/access/gate.h"

#include <fmt/format.h>

namespace musher {
namespace {

AccessError denied(const AccessKey& key, std::string_view action, std::string_view resource,
                   AccessPolicy::Verdict verdict) {
  const std::string why =
      verdict == AccessPolicy::Verdict::kExplicitDeny
          ? "with an explicit deny in an identity-based policy"
          : fmt::format("because no identity-based policy allows the {} action", action);
  return {403, "AccessDeniedException",
          fmt::format("User: {} is not authorized to perform: {} on resource: {} {}", key.user_arn,
                      action, resource, why)};
}

}  // namespace

std::variant<SignedCaller, AccessError> AccessGate::admit(const SignedRequest& request,
                                                          std::string_view action,
                                                          std::string_view resource,
                                                          SystemTime now) {
  const auto read = read_claim(request);
  if (const auto* wrong = std::get_if<AccessError>(&read)) return *wrong;
  const auto& claim = std::get<SignatureClaim>(read);
  const auto key = keys_.find(claim.access_key_id);
  if (!key) {
    return AccessError{403, "UnrecognizedClientException",
                       "The security token included in the request is invalid."};
  }
  if (auto wrong = check_claim(claim, request, key->secret, scope_, now)) return *std::move(wrong);
  switch (replays_.take(claim.signature, claim.time, now)) {
    case ReplayGuard::Answer::kNew:
      break;
    case ReplayGuard::Answer::kSeen:
      return AccessError{403, "InvalidSignatureException",
                         "The request signature has already been used: sign each request anew."};
    case ReplayGuard::Answer::kFull:
      return AccessError{429, "ThrottlingException", "Rate exceeded"};
  }
  const AccessPolicy::Verdict verdict = key->policy.decide(action, resource);
  if (verdict != AccessPolicy::Verdict::kAllowed) return denied(*key, action, resource, verdict);
  return SignedCaller{key->id, key->user_arn};
}

}  // namespace musher
