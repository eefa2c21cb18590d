#pragma once

#include <chrono>
#include <string>

namespace musher {

/// How to reach an object store; the same for all stores of a process. Filled once in `main` and
/// passed down. Credentials are not in it: each host finds its own by the AWS chain (environment,
/// profile, instance role by IMDSv2).
struct StorageConfig {
  std::string s3_endpoint;  ///< `http://127.0.0.1:8333`, `https://…`; empty for AWS itself
  std::string s3_region;    ///< empty: the AWS chain's, else us-east-1
  std::string ca_bundle;    ///< PEM file of the authorities trusted for https; empty: the system's
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds request_timeout{30'000};  ///< of one attempt with no byte moving
  std::chrono::milliseconds retry_limit{120'000};     ///< after the first failure of one call
  std::chrono::milliseconds first_backoff{
      100};  ///< doubles per attempt up to max_backoff, with full jitter
  std::chrono::milliseconds max_backoff{5'000};

  /// From what AWS's own tools read: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
  /// AWS_DEFAULT_REGION, AWS_CA_BUNDLE.
  static StorageConfig from_environment();
};

}  // namespace musher
