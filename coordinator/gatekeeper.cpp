#include "coordinator/gatekeeper.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/grpcpp.h>

#include "rpc/tls.h"

namespace musher {

namespace {

std::string first(const std::vector<grpc::string_ref>& values) {
  return values.empty() ? "" : std::string(values.front().data(), values.front().size());
}

std::string path_of(const grpc::AuthMetadataProcessor::InputMetadata& metadata) {
  const auto path = metadata.find(":path");
  return path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
}

Refusal refusal_of(Flaw flaw) {
  switch (flaw) {
    case Flaw::kMissing:
      return Refusal::kNoCertificate;
    case Flaw::kExpired:
      return Refusal::kExpiredCertificate;
    default:
      return Refusal::kUntrustedCertificate;
  }
}

}  // namespace

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNoCertificate:
      return "without a certificate";
    case Refusal::kUntrustedCertificate:
      return "with a certificate of another authority";
    case Refusal::kExpiredCertificate:
      return "with an expired certificate";
    case Refusal::kWrongRole:
      return "with a certificate for something else";
    case Refusal::kWrongToken:
      return "with a wrong token";
  }
  return "unknown";
}

std::optional<Role> caller_of_method(const std::string& path) {
  if (path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.")) {
    return std::nullopt;
  }
  return path.starts_with("/musher.v1.Workers/") ? Role::kWorker : Role::kClient;
}

Gatekeeper::Gatekeeper(const std::filesystem::path& authority, Refusals& refusals, Logger logger)
    : judge_(read_text_file(authority)), refusals_(refusals), logger_(std::move(logger)) {}

grpc::Status Gatekeeper::refuse(Refusal refusal, grpc::StatusCode code, const std::string& path,
                                const std::string& why) {
  refusals_.count(refusal);
  logger_->warn("{} refused: {}", path, why);
  return {code, "the coordinator refuses the call: " + why};
}

grpc::Status Gatekeeper::Process(const InputMetadata& metadata, grpc::AuthContext* context,
                                 OutputMetadata*, OutputMetadata*) {
  const std::string path = path_of(metadata);
  const Finding finding =
      judge_.judge(first(context->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME)),
                   std::chrono::system_clock::now());
  if (finding.flaw != Flaw::kNone) {
    return refuse(refusal_of(finding.flaw), grpc::StatusCode::UNAUTHENTICATED, path, finding.why);
  }
  const auto wanted = caller_of_method(path);
  if (wanted && finding.name != common_name(*wanted)) {
    return refuse(Refusal::kWrongRole, grpc::StatusCode::PERMISSION_DENIED, path,
                  "it is for " + std::string(common_name(*wanted)) + ", and the certificate is " +
                      finding.name + "'s");
  }
  return grpc::Status::OK;
}

}  // namespace musher
