#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <grpcpp/security/auth_metadata_processor.h>

#include "common/log.h"
#include "coordinator/refusals.h"
#include "rpc/certificates.h"

namespace musher {

/// Whose the methods at a path such as `/musher.v1.Workers/Join` are; absent: anybody's of this
/// authority, such as health.
std::optional<Role> caller_of_method(const std::string& path);

/// Looks at each call before any service sees it: UNAUTHENTICATED where the caller's certificate is
/// missing, another authority's or expired, PERMISSION_DENIED where its role is another than the
/// method's. Each refusal is counted, and a line in the log. Thread-safe.
class Gatekeeper final : public grpc::AuthMetadataProcessor {
 public:
  /// `authority`: a file. `refusals` must outlive this.
  Gatekeeper(const std::filesystem::path& authority, Refusals& refusals, Logger logger);

  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* consumed, OutputMetadata* response) override;

 private:
  grpc::Status refuse(Refusal refusal, grpc::StatusCode code, const std::string& path,
                      const std::string& why);

  const CertificateJudge judge_;
  Refusals& refusals_;
  const Logger logger_;
};

}  // namespace musher
