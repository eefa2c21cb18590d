#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "serving/access/access_error.h"
#include "serving/access/signed_request.h"

/// AWS Signature Version 4 in the Authorization header, as the verifying side sees it.
/// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
namespace musher {

using SystemTime = std::chrono::system_clock::time_point;

/// Signatures this much older or younger than the verifier's clock are refused.
inline constexpr std::chrono::minutes kSignatureWindow{15};

/// What a request says about its signature; not yet checked.
struct SignatureClaim {
  std::string access_key_id;
  std::string day;  ///< 20261127
  std::string region;
  std::string service;
  std::vector<std::string> signed_headers;  ///< lower case, ascending
  std::string signature;                    ///< 64 hexadecimal digits
  std::string date;                         ///< X-Amz-Date: 20261127T160000Z
  SystemTime time;                          ///< the same
};

/// Reads Authorization and X-Amz-Date. Refused as well: a signature that leaves out a header that
/// changes what the request means (host, content-type, x-amz-*, x-amzn-sagemaker-*), temporary
/// credentials (there are none here), and a body whose hash is not the one that
/// X-Amz-Content-Sha256 gives.
std::variant<SignatureClaim, AccessError> read_claim(const SignedRequest& request);

/// What the verifier is: signatures are made for one region and service.
struct SigningScope {
  std::string region;
  std::string service;  ///< "sagemaker", "lambda"
};

/// Empty where the claim is right: in time, for this scope, and made with `secret` over exactly
/// this request.
std::optional<AccessError> check_claim(const SignatureClaim& claim, const SignedRequest& request,
                                       std::string_view secret, const SigningScope& scope,
                                       SystemTime now);

/// The signature that the claim should have, in hexadecimal digits.
std::string expected_signature(const SignatureClaim& claim, const SignedRequest& request,
                               std::string_view secret);

/// `20261127T160000Z`, in UTC.
std::string amz_date(SystemTime time);

}  // namespace musher
