#include "serving/access/signature.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "serving/access/cryptography.h"

namespace musher {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

AccessError incomplete(std::string message) {
  return {400, "IncompleteSignatureException", std::move(message)};
}

AccessError invalid(std::string message) {
  return {403, "InvalidSignatureException", std::move(message)};
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// The parts of `text` between separators; the whole where there is none.
std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(trimmed(text.substr(0, end)));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<SystemTime> parse_amz_date(const std::string& text) {
  constexpr std::string_view kForm = "00000000T000000Z";
  if (text.size() != kForm.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == '0' ? !is_digit : text[i] != kForm[i]) return std::nullopt;
  }
  const auto number = [&](std::size_t at, std::size_t digits) {
    return std::stoi(text.substr(at, digits));
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(4, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(6, 2)))};
  // The system clock counts nanoseconds in 64 bits: until 2262.
  if (number(0, 4) < 1970 || number(0, 4) > 2200) return std::nullopt;
  if (!day.ok() || number(9, 2) > 23 || number(11, 2) > 59 || number(13, 2) > 60)
    return std::nullopt;
  return std::chrono::sys_days(day) + std::chrono::hours(number(9, 2)) +
         std::chrono::minutes(number(11, 2)) + std::chrono::seconds(number(13, 2));
}

struct Credential {
  std::string key, day, region, service;
};

std::optional<Credential> parse_credential(std::string_view text) {
  const std::vector<std::string> parts = split(text, '/');
  if (parts.size() != 5 || parts[4] != "aws4_request") return std::nullopt;
  if (std::ranges::any_of(parts, [](const auto& part) { return part.empty(); })) return {};
  return Credential{parts[0], parts[1], parts[2], parts[3]};
}

bool is_hex_digest(std::string_view text) {
  return text.size() == 2 * sizeof(Sha256) &&
         text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// The three parts of the Authorization header; what is missing is empty.
struct Authorization {
  std::string credential, signed_headers, signature;
};

Authorization parse_authorization(std::string_view parameters) {
  Authorization parts;
  for (const std::string& part : split(parameters, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == part.npos) continue;
    const std::string name = part.substr(0, equals);
    const std::string value = part.substr(equals + 1);
    if (name == "Credential") parts.credential = value;
    if (name == "SignedHeaders") parts.signed_headers = value;
    if (name == "Signature") parts.signature = value;
  }
  return parts;
}

bool must_be_signed(std::string_view header) {
  return header == "host" || header == "content-type" || header.starts_with("x-amz-") ||
         header.starts_with("x-amzn-sagemaker-");
}

std::optional<AccessError> check_signed_headers(const SignedRequest& request,
                                                const std::vector<std::string>& names) {
  if (!std::ranges::is_sorted(names) || std::ranges::adjacent_find(names) != names.end()) {
    return incomplete("Authorization header requires 'SignedHeaders' in ascending order.");
  }
  for (const std::string& name : names) {
    if (!request.has_header(name)) {
      return invalid(
          fmt::format("'{}' is in 'SignedHeaders' but is no header of the request.", name));
    }
  }
  if (!request.has_header("host")) return incomplete("The request has no 'Host' header.");
  for (const auto& [given, value] : request.headers) {
    const std::string name = lower_case(given);
    if (must_be_signed(name) && !std::ranges::binary_search(names, name)) {
      return invalid(fmt::format("'{}' must be a 'SignedHeader' in the Authorization.", name));
    }
  }
  return std::nullopt;
}

std::optional<AccessError> check_payload_hash(const SignedRequest& request) {
  if (!request.has_header("x-amz-content-sha256")) return std::nullopt;
  if (request.canonical_header("x-amz-content-sha256") == hex(sha256(request.body))) return {};
  return invalid(
      "The value passed in for 'x-amz-content-sha256' does not match the SHA-256 of the body "
      "(UNSIGNED-PAYLOAD and chunked signatures are not taken).");
}

std::optional<AccessError> check_time(const SignatureClaim& claim, SystemTime now) {
  if (claim.time < now - kSignatureWindow) {
    return invalid(fmt::format("Signature expired: {} is now earlier than {} ({} - 15 min.)",
                               claim.date, amz_date(now - kSignatureWindow), amz_date(now)));
  }
  if (claim.time > now + kSignatureWindow) {
    return invalid(
        fmt::format("Signature not yet current: {} is still later than {} ({} + 15 min.)",
                    claim.date, amz_date(now + kSignatureWindow), amz_date(now)));
  }
  return std::nullopt;
}

std::string_view view(const Sha256& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

std::string amz_date(SystemTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  std::string text(sizeof "20261127T160000Z", '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &utc));
  return text;
}

std::variant<SignatureClaim, AccessError> read_claim(const SignedRequest& request) {
  if (!request.has_header("authorization"))
    return AccessError{403, "MissingAuthenticationTokenException", "Missing Authentication Token"};
  const std::string authorization = request.canonical_header("authorization");
  if (!authorization.starts_with(std::string(kAlgorithm) + " ")) {
    return incomplete("Authorization header must begin with 'AWS4-HMAC-SHA256'.");
  }
  const Authorization parts =
      parse_authorization(std::string_view(authorization).substr(kAlgorithm.size() + 1));
  const auto credential = parse_credential(parts.credential);
  if (!credential) {
    return incomplete(
        "Authorization header requires 'Credential' parameter of the form "
        "KEY/DATE/REGION/SERVICE/aws4_request.");
  }
  if (parts.signed_headers.empty())
    return incomplete("Authorization header requires 'SignedHeaders' parameter.");
  if (!is_hex_digest(parts.signature)) {
    return incomplete(
        "Authorization header requires 'Signature' parameter of 64 hexadecimal digits.");
  }
  SignatureClaim claim = {.access_key_id = credential->key,
                          .day = credential->day,
                          .region = credential->region,
                          .service = credential->service,
                          .signed_headers = split(parts.signed_headers, ';'),
                          .signature = parts.signature,
                          .date = request.canonical_header("x-amz-date"),
                          .time = {}};
  const auto time = parse_amz_date(claim.date);
  if (!time) {
    return incomplete(
        "Authorization header requires existence of an 'X-Amz-Date' header of the form "
        "YYYYMMDD'T'HHMMSS'Z'.");
  }
  claim.time = *time;
  if (claim.date.substr(0, claim.day.size()) != claim.day || claim.day.size() != 8) {
    return invalid(
        fmt::format("Date in Credential scope does not match YYYYMMDD from ISO-8601 "
                    "version of date from HTTP: '{}' != '{}'.",
                    claim.day, claim.date.substr(0, 8)));
  }
  if (request.has_header("x-amz-security-token")) {
    return AccessError{403, "UnrecognizedClientException",
                       "The security token included in the request is invalid."};
  }
  if (const auto wrong = check_signed_headers(request, claim.signed_headers)) return *wrong;
  if (const auto wrong = check_payload_hash(request)) return *wrong;
  return claim;
}

std::string expected_signature(const SignatureClaim& claim, const SignedRequest& request,
                               std::string_view secret) {
  const std::string scope =
      fmt::format("{}/{}/{}/aws4_request", claim.day, claim.region, claim.service);
  const std::string canonical = canonical_request(request, claim.signed_headers);
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, claim.date, scope, hex(sha256(canonical)));
  Sha256 key = hmac_sha256("AWS4" + std::string(secret), claim.day);
  for (const std::string_view part :
       {std::string_view(claim.region), std::string_view(claim.service),
        std::string_view("aws4_request")}) {
    key = hmac_sha256(view(key), part);
  }
  return hex(hmac_sha256(view(key), to_sign));
}

std::optional<AccessError> check_claim(const SignatureClaim& claim, const SignedRequest& request,
                                       std::string_view secret, const SigningScope& scope,
                                       SystemTime now) {
  if (claim.region != scope.region) {
    return invalid(fmt::format("Credential should be scoped to a valid region, not '{}'. ('{}')",
                               claim.region, scope.region));
  }
  if (claim.service != scope.service) {
    return invalid(
        fmt::format("Credential should be scoped to correct service: '{}'.", scope.service));
  }
  if (auto wrong = check_time(claim, now)) return wrong;
  if (!equal_in_constant_time(claim.signature, expected_signature(claim, request, secret))) {
    return invalid(
        "The request signature we calculated does not match the signature you provided. Check your "
        "AWS Secret Access Key and signing method. Consult the service documentation for details.");
  }
  return std::nullopt;
}

}  // namespace musher
