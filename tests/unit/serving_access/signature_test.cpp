#include "serving/access/signature.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "serving/access/cryptography.h"
#include "serving/access/replay_guard.h"

namespace musher {
namespace {

using testing::HasSubstr;

constexpr const char* kKey = "MSHRAAAABBBBCCCCDDDD";
constexpr const char* kSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SigningScope kSageMaker = {"eu-west-1", "sagemaker"};

/// A request that owns its bytes.
struct Recorded {
  std::string method, target, body;
  std::vector<std::pair<std::string, std::string>> headers;

  SignedRequest view() const { return {method, target, {headers.begin(), headers.end()}, body}; }
  std::string& header(const std::string& lower_name) {
    for (auto& [name, value] : headers) {
      if (lower_case(name) == lower_name) return value;
    }
    ADD_FAILURE() << "no header " << lower_name;
    return headers.front().second;
  }
  void drop(const std::string& lower_name) {
    std::erase_if(headers, [&](const auto& h) { return lower_case(h.first) == lower_name; });
  }
};

/// What botocore signs, made once.
const std::map<std::string, Recorded>& signed_by_botocore() {
  static const std::map<std::string, Recorded> requests = [] {
    std::map<std::string, Recorded> made;
    const std::string out = fmt::format("{}/signed-{}.json", testing::TempDir(), getpid());
    const std::string command =
        fmt::format("'{}' '{}' '{}' {} {}", SIGNING_PYTHON, SIGNING_SCRIPT, out, kKey, kSecret);
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream in(out);
    for (const auto& entry : nlohmann::json::parse(in)) {
      Recorded request;
      request.method = entry["method"];
      request.target = entry["target"];
      request.body = from_base64(entry["body"].get<std::string>());
      for (const auto& header : entry["headers"])
        request.headers.emplace_back(header[0], header[1]);
      made[entry["name"]] = request;
    }
    std::filesystem::remove(out);
    return made;
  }();
  return requests;
}

Recorded recorded(const std::string& name) {
  return signed_by_botocore().at(name);
}

SignatureClaim claim_of(const Recorded& request) {
  const auto read = read_claim(request.view());
  const auto* error = std::get_if<AccessError>(&read);
  EXPECT_EQ(error, nullptr) << (error ? error->message : "");
  return error ? SignatureClaim{} : std::get<SignatureClaim>(read);
}

/// Verified at the time that it was signed at, `later` than that.
std::optional<AccessError> verified(const Recorded& request, std::chrono::seconds later = {},
                                    const SigningScope& scope = kSageMaker,
                                    std::string_view secret = kSecret) {
  const auto read = read_claim(request.view());
  if (const auto* error = std::get_if<AccessError>(&read)) return *error;
  const auto& claim = std::get<SignatureClaim>(read);
  return check_claim(claim, request.view(), secret, scope, claim.time + later);
}

void expect_refused(const std::optional<AccessError>& error, int status, const std::string& code,
                    const std::string& part) {
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->status, status);
  EXPECT_EQ(error->code, code);
  EXPECT_THAT(error->message, HasSubstr(part));
}

TEST(Signature, WhateverBotocoreSignsIsRight) {
  EXPECT_GE(signed_by_botocore().size(), 9u);
  for (const auto& [name, request] : signed_by_botocore()) {
    SCOPED_TRACE(name);
    const SignatureClaim claim = claim_of(request);
    EXPECT_EQ(claim.access_key_id, kKey);
    const auto error = check_claim(claim, request.view(), kSecret, {"eu-west-1", claim.service},
                                   claim.time + std::chrono::seconds(3));
    EXPECT_FALSE(error.has_value()) << error->message << "\n"
                                    << canonical_request(request.view(), claim.signed_headers);
  }
}

/// From AWS's documentation (the suite of test vectors of Signature Version 4).
TEST(Signature, IsAwssOwnForItsPublishedVectors) {
  const auto vector = [](const std::string& method, const std::string& target,
                         std::vector<std::pair<std::string, std::string>> headers,
                         const std::string& body, const std::string& signed_headers,
                         const std::string& signature) {
    headers.emplace_back("Host", "example.amazonaws.com");
    headers.emplace_back("X-Amz-Date", "20150830T123600Z");
    headers.emplace_back("Authorization",
                         "AWS4-HMAC-SHA256 "
                         "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                         "SignedHeaders=" +
                             signed_headers + ", Signature=" + signature);
    return Recorded{method, target, body, headers};
  };
  const SigningScope scope = {"us-east-1", "service"};
  const Recorded vanilla =
      vector("GET", "/", {}, "", "host;x-amz-date",
             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_FALSE(verified(vanilla, {}, scope, kSecret).has_value());
  const Recorded ordered =
      vector("GET", "/?Param2=value2&Param1=value1", {}, "", "host;x-amz-date",
             "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_FALSE(verified(ordered, {}, scope, kSecret).has_value());
}

TEST(Signature, AnyChangeIsRefused) {
  const std::vector<std::pair<std::string, std::function<void(Recorded&)>>> changes = {
      {"method", [](Recorded& r) { r.method = "PUT"; }},
      {"path", [](Recorded& r) { r.target = "/endpoints/cats/invocations"; }},
      {"query", [](Recorded& r) { r.target += "?a=b"; }},
      {"body", [](Recorded& r) { r.body[3] ^= 1; }},
      {"body cut", [](Recorded& r) { r.body.pop_back(); }},
      {"host", [](Recorded& r) { r.header("host") = "elsewhere"; }},
      {"signed header", [](Recorded& r) { r.header("x-amzn-sagemaker-target-variant") = "B"; }},
      {"another value", [](Recorded& r) { r.headers.emplace_back("Content-Type", "image/png"); }},
  };
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    Recorded request = recorded("invoke");
    change(request);
    expect_refused(verified(request), 403, "InvalidSignatureException", "does not match");
  }
  expect_refused(verified(recorded("invoke"), {}, kSageMaker, "another"), 403,
                 "InvalidSignatureException", "does not match");
}

TEST(Signature, IsTakenFor15MinutesEitherWay) {
  using std::chrono::seconds;
  const Recorded request = recorded("invoke");
  for (const int good : {-900, 0, 900}) EXPECT_FALSE(verified(request, seconds(good)).has_value());
  expect_refused(verified(request, seconds(901)), 403, "InvalidSignatureException",
                 "Signature expired: ");
  expect_refused(verified(request, seconds(-901)), 403, "InvalidSignatureException",
                 "Signature not yet current: ");
}

TEST(Signature, IsForOneRegionAndService) {
  expect_refused(verified(recorded("invoke"), {}, {"us-east-1", "sagemaker"}), 403,
                 "InvalidSignatureException", "valid region");
  expect_refused(verified(recorded("invoke"), {}, {"eu-west-1", "lambda"}), 403,
                 "InvalidSignatureException", "correct service: 'lambda'");
}

TEST(Signature, HeadersThatMatterMustBeSigned) {
  for (const char* name : {"X-Amz-Something", "X-Amzn-SageMaker-Session-Id"}) {
    Recorded request = recorded("invoke");
    request.headers.emplace_back(name, "value");
    expect_refused(verified(request), 403, "InvalidSignatureException", "must be a 'SignedHeader'");
  }
  Recorded again = recorded("again");
  again.headers.emplace_back("Content-Type", "image/png");
  expect_refused(verified(again), 403, "InvalidSignatureException", "'content-type' must be");
  Recorded request = recorded("invoke");
  request.headers.emplace_back("X-Forwarded-For", "10.0.0.1");  // a proxy's
  EXPECT_FALSE(verified(request).has_value());
}

TEST(Signature, ThePayloadsHashMustBeThePayloads) {
  Recorded request = recorded("invoke");
  request.headers.emplace_back("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD");
  std::string& authorization = request.header("authorization");
  const std::size_t at = authorization.find(";x-amz-date");
  authorization.insert(at, ";x-amz-content-sha256");
  expect_refused(verified(request), 403, "InvalidSignatureException", "x-amz-content-sha256");
}

TEST(Signature, WhatIsMissingIsSaid) {
  Recorded none = recorded("invoke");
  none.drop("authorization");
  expect_refused(verified(none), 403, "MissingAuthenticationTokenException",
                 "Missing Authentication Token");
  Recorded no_date = recorded("invoke");
  no_date.drop("x-amz-date");
  expect_refused(verified(no_date), 400, "IncompleteSignatureException", "X-Amz-Date");
  Recorded far_day = recorded("invoke");
  far_day.header("x-amz-date") = "99990101T000000Z";
  expect_refused(verified(far_day), 400, "IncompleteSignatureException", "X-Amz-Date");
  Recorded other_day = recorded("invoke");
  other_day.header("x-amz-date") = "20150830T123600Z";
  expect_refused(verified(other_day), 403, "InvalidSignatureException", "scope");
  for (const char* odd :
       {"", "Basic abc", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=x",
        "AWS4-HMAC-SHA256 Credential=////aws4_request,SignedHeaders=;,Signature="}) {
    Recorded request = recorded("invoke");
    request.header("authorization") = odd;
    expect_refused(verified(request), 400, "IncompleteSignatureException", "Authorization header");
  }
  Recorded token = recorded("invoke");
  token.headers.emplace_back("X-Amz-Security-Token", "FQoGZXIvYXdzE");
  expect_refused(verified(token), 403, "UnrecognizedClientException", "security token");
}

/// Which is why ReplayGuard bears it.
TEST(Signature, BotocoreSignsTheSameCallInTheSameSecondAlike) {
  const SignatureClaim again = claim_of(recorded("again"));
  const SignatureClaim once_more = claim_of(recorded("and again"));
  EXPECT_EQ(again.signature == once_more.signature, again.date == once_more.date);
}

TEST(ReplayGuard, ASignatureIsTakenOnceForAsLongAsItsDateIs) {
  using Answer = ReplayGuard::Answer;
  ReplayGuard guard(std::chrono::seconds(0), 3);
  const SystemTime start = std::chrono::sys_days(std::chrono::year(2026) / 11 / 27);
  const auto signature = [](char c) { return std::string(64, c); };
  EXPECT_EQ(guard.take(signature('1'), start, start), Answer::kNew);
  EXPECT_EQ(guard.take(signature('1'), start, start), Answer::kSeen);
  EXPECT_EQ(guard.take(signature('1'), start, start + kSignatureWindow), Answer::kSeen);
  EXPECT_EQ(guard.take(signature('2'), start + kSignatureWindow, start), Answer::kNew);
  EXPECT_EQ(guard.take(signature('3'), start, start), Answer::kNew);
  EXPECT_EQ(guard.take(signature('4'), start, start), Answer::kFull);
  EXPECT_EQ(guard.take(signature('3'), start, start), Answer::kSeen);
  // Half an hour later the first and third are forgotten, the second from the future is not yet.
  const SystemTime later = start + 2 * kSignatureWindow;
  EXPECT_EQ(guard.take(signature('2'), start + kSignatureWindow, later), Answer::kSeen);
  EXPECT_EQ(guard.take(signature('4'), later, later), Answer::kNew);
  EXPECT_EQ(guard.take(signature('5'), later, later), Answer::kNew);
  EXPECT_EQ(guard.take(signature('6'), later, later), Answer::kFull);
}

TEST(ReplayGuard, BearsTheSameCallInTheSameSecond) {
  using Answer = ReplayGuard::Answer;
  using std::chrono::seconds;
  ReplayGuard guard(seconds(5));
  const SystemTime date = std::chrono::sys_days(std::chrono::year(2026) / 11 / 27);
  const SystemTime came = date + seconds(100);
  const std::string signature(64, 'a');
  EXPECT_EQ(guard.take(signature, date, came), Answer::kNew);
  EXPECT_EQ(guard.take(signature, date, came + seconds(4)), Answer::kNew);
  EXPECT_EQ(guard.take(signature, date, came + seconds(5)), Answer::kSeen);
  EXPECT_EQ(guard.take(signature, date, came + seconds(8)), Answer::kSeen);
}

}  // namespace
}  // namespace musher
