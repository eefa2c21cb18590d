// AWS's command line as a script that answers what a test wants.

#include "fleet/aws.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;

class Aws : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("musher-aws-test-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    access_.program = folder_ / "aws";
    access_.region = "us-east-1";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void answers(const std::string& script) {
    std::ofstream(access_.program) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(access_.program, fs::perms::owner_all);
  }
  nlohmann::json call(std::chrono::milliseconds time = std::chrono::seconds(30)) {
    return aws_call(access_, "ec2", "run-instances", {{"MinCount", 1}}, Deadline::after(time));
  }

  fs::path folder_;
  AwsAccess access_;
};

TEST_F(Aws, TheRequestGoesInAsJsonAndTheAnswerComesOutSo) {
  answers(R"sh(printf '{"said": "%s %s %s %s"}' "$1" "$2" "$3" "$(echo "$4" | tr -d '"')")sh");
  EXPECT_EQ(call().at("said"), "ec2 run-instances --cli-input-json {MinCount:1}");
  answers("true");
  EXPECT_TRUE(call().is_null());
}

TEST_F(Aws, ARefusalHasAwssCodeAndMessageInOneLine) {
  const std::string says =
      "echo 'An error occurred (%) when calling the RunInstances operation: "
      "no\nmore' >&2; exit 254";
  for (const auto& [aws_code, code] :
       {std::pair("InsufficientInstanceCapacity", ErrorCode::kUnavailable),
        std::pair("UnauthorizedOperation", ErrorCode::kPermissionDenied),
        std::pair("VcpuLimitExceeded", ErrorCode::kResourceExhausted),
        std::pair("InvalidGroup.NotFound", ErrorCode::kNotFound),
        std::pair("DependencyViolation", ErrorCode::kFailedPrecondition)}) {
    std::string script = says;
    answers(script.replace(script.find('%'), 1, aws_code));
    try {
      call();
      FAIL() << aws_code;
    } catch (const AwsError& error) {
      EXPECT_EQ(error.code(), code) << aws_code;
      EXPECT_EQ(error.aws_code(), aws_code);
      EXPECT_EQ(std::string(error.what()),
                std::string("aws ec2 run-instances: no more (") + aws_code + ")");
    }
  }
}

TEST_F(Aws, WhatIsNoAnswerIsAnError) {
  answers("echo no json");
  EXPECT_THROW(call(), Error);
  answers("echo 'Could not connect to the endpoint URL' >&2; exit 255");
  try {
    call();
    FAIL();
  } catch (const AwsError& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_EQ(error.aws_code(), "");
  }
  answers("exec sleep 60");
  EXPECT_THROW(call(std::chrono::milliseconds(100)), Error);
  access_.program = folder_ / "none";
  EXPECT_THROW(call(), Error);
}

}  // namespace
}  // namespace musher
