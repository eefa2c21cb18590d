#include "serving/access/signer.h"

#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "serving/access/private_file.h"

namespace musher {

std::vector<std::pair<std::string, std::string>> sign(const SignedRequest& request,
                                                      const SigningKey& key,
                                                      const SigningScope& scope, SystemTime now) {
  const std::string date = amz_date(now);
  SignedRequest dated = request;
  dated.headers.emplace_back("x-amz-date", date);
  std::set<std::string> names;  // ascending, each once
  for (const auto& [name, value] : dated.headers) names.insert(lower_case(name));
  const SignatureClaim claim = {.access_key_id = key.access_key_id,
                                .day = date.substr(0, 8),
                                .region = scope.region,
                                .service = scope.service,
                                .signed_headers = {names.begin(), names.end()},
                                .signature = "",
                                .date = date,
                                .time = now};
  return {{"X-Amz-Date", date},
          {"Authorization",
           fmt::format("AWS4-HMAC-SHA256 Credential={}/{}/{}/{}/aws4_request, SignedHeaders={}, "
                       "Signature={}",
                       key.access_key_id, claim.day, scope.region, scope.service,
                       fmt::join(claim.signed_headers, ";"),
                       expected_signature(claim, dated, key.secret))}};
}

SigningKey read_signing_key(const std::string& path) {
  const auto text = read_private_file(path);
  if (!text) throw Error(ErrorCode::kNotFound, path + " does not exist");
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const auto found = json.is_object() ? json.find("AccessKey") : json.end();
  if (json.is_object() && found != json.end() && found->is_object()) {
    const auto id = found->find("AccessKeyId");
    const auto secret = found->find("SecretAccessKey");
    if (id != found->end() && id->is_string() && secret != found->end() && secret->is_string())
      return {id->get<std::string>(), secret->get<std::string>()};
  }
  throw Error(ErrorCode::kInvalidArgument,
              path + " holds no access key: it must be what `musher access create` printed");
}

}  // namespace musher
