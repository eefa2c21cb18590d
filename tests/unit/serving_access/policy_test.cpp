#include "serving/access/policy.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;
using Verdict = AccessPolicy::Verdict;

constexpr const char* kDogs = "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/dogs";

std::string statement(const std::string& effect, const std::string& action,
                      const std::string& resource) {
  return R"({"Effect": ")" + effect + R"(", "Action": )" + action + R"(, "Resource": )" + resource +
         "}";
}

AccessPolicy policy(const std::string& statements) {
  return AccessPolicy::parse(R"({"Version": "2012-10-17", "Statement": [)" + statements + "]}");
}

TEST(AccessPolicy, AllowsWhatItNamesAndNothingElse) {
  const AccessPolicy one =
      policy(statement("Allow", R"("sagemaker:InvokeEndpoint")", std::string("\"") + kDogs + "\""));
  EXPECT_EQ(one.decide("sagemaker:InvokeEndpoint", kDogs), Verdict::kAllowed);
  EXPECT_EQ(one.decide("SageMaker:invokeendpoint", kDogs), Verdict::kAllowed);
  EXPECT_EQ(one.decide("sagemaker:DeleteEndpoint", kDogs), Verdict::kNoAllow);
  EXPECT_EQ(one.decide("sagemaker:InvokeEndpointAsync", kDogs), Verdict::kNoAllow);
  for (const char* other : {"arn:aws:sagemaker:eu-west-1:000000000000:endpoint/dogs2",
                            "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/Dogs",
                            "arn:aws:sagemaker:eu-west-1:000000000001:endpoint/dogs",
                            "arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs", "", "*"}) {
    EXPECT_EQ(one.decide("sagemaker:InvokeEndpoint", other), Verdict::kNoAllow) << other;
  }
}

TEST(AccessPolicy, AnExplicitDenyWinsWhateverTheOrder) {
  const std::string allow = statement("Allow", R"("*")", R"("*")");
  const std::string deny =
      statement("Deny", R"(["lambda:*", "sagemaker:Delete*"])", R"("arn:aws:*:*:*:endpoint/d*")");
  for (const auto& both : {fmt::format("{},{}", allow, deny), fmt::format("{},{}", deny, allow)}) {
    const AccessPolicy mixed = policy(both);
    EXPECT_EQ(mixed.decide("sagemaker:InvokeEndpoint", kDogs), Verdict::kAllowed);
    EXPECT_EQ(mixed.decide("sagemaker:DeleteEndpoint", kDogs), Verdict::kExplicitDeny);
    EXPECT_EQ(mixed.decide("sagemaker:DeleteEndpoint",
                           "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/cats"),
              Verdict::kAllowed);
  }
}

TEST(AccessPolicy, AWildcardStaysInItsSegmentOfTheArn) {
  const AccessPolicy any_region = policy(statement(
      "Allow", R"("lambda:Invoke?unction")", R"("arn:aws:lambda:*:000000000000:function:dog*")"));
  const auto decide = [&](const char* arn) {
    return any_region.decide("lambda:InvokeFunction", arn);
  };
  EXPECT_EQ(decide("arn:aws:lambda:eu-west-1:000000000000:function:dogs"), Verdict::kAllowed);
  EXPECT_EQ(decide("arn:aws:lambda:eu-west-1:000000000000:function:dogs:7"), Verdict::kAllowed);
  EXPECT_EQ(decide("arn:aws:lambda:eu-west-1:9:000000000000:function:dogs"), Verdict::kNoAllow);
  EXPECT_EQ(decide("arn:aws:lambda:eu-west-1:000000000000:function:cats"), Verdict::kNoAllow);
}

TEST(AccessPolicy, TakesOneStatementWithoutAList) {
  const AccessPolicy one =
      AccessPolicy::parse(R"({"Statement": )" + statement("Allow", R"("a:b")", R"("*")") + "}");
  EXPECT_EQ(one.decide("a:b", kDogs), Verdict::kAllowed);
}

TEST(AccessPolicy, WhatItDoesNotKnowIsRefusedByItsPath) {
  const auto refused = [](const std::string& text, const char* part) {
    expect_error(ErrorCode::kInvalidArgument, {"policy: ", part},
                 [&] { AccessPolicy::parse(text); });
  };
  refused("", "JSON object");
  refused("[]", "JSON object");
  refused(R"({"Version": "2020-01-01", "Statement": []})", "2020-01-01");
  refused(R"({"Version": "2012-10-17"})", "Statement is missing");
  refused(R"({"Statement": []})", "Statement must not be empty");
  refused(R"({"Statement": [1]})", "Statement[0]");
  refused(R"({"Statements": []})", "Statements");
  refused(R"({"Statement": {"Effect": "allow", "Action": "a:b", "Resource": "*"}})",
          "Statement.Effect");
  refused(R"({"Statement": [{"Effect": "Allow", "Resource": "*"}]})", "Statement[0].Action");
  refused(R"({"Statement": [{"Effect": "Allow", "Action": [], "Resource": "*"}]})", "Action");
  refused(R"({"Statement": [{"Effect": "Allow", "Action": "Invoke", "Resource": "*"}]})",
          "SERVICE:ACTION");
  refused(R"({"Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "endpoint/dogs"}]})",
          "ARN");
  for (const char* member : {"Condition", "NotAction", "NotResource", "Principal"}) {
    refused(R"({"Statement": [{"Effect": "Deny", "Action": "a:b", "Resource": "*", ")" +
                std::string(member) + R"(": {}}]})",
            member);
  }
}

TEST(Wildcards, MatchInLinearMemoryAndBoundedTime) {
  EXPECT_TRUE(matches_wildcards("", ""));
  EXPECT_TRUE(matches_wildcards("*", ""));
  EXPECT_TRUE(matches_wildcards("a*b*c", "a--b-b--c"));
  EXPECT_FALSE(matches_wildcards("a*b*c", "a--b-b--"));
  EXPECT_TRUE(matches_wildcards("?", "a"));
  EXPECT_FALSE(matches_wildcards("?", ""));
  EXPECT_FALSE(matches_wildcards("a", "ab"));
  EXPECT_FALSE(matches_wildcards("ab", "a"));
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(matches_wildcards(pattern + "b", std::string(20'000, 'a')));
}

}  // namespace
}  // namespace musher
