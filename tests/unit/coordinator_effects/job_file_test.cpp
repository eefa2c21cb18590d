#include "coordinator/job_file.h"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "coordinator/temporary_folder.h"

namespace musher {
namespace {

using std::chrono::sys_days;
using namespace std::chrono_literals;

const auto kNow = sys_days(std::chrono::year(2026) / 11 / 23) + 9h + 5min + 7s;

std::string named(const std::string& text) {
  return nlohmann::json::parse(with_name(text, kNow))["TrainingJobName"];
}

TEST(JobFile, AJobWithoutANameIsCalledByModelAndTime) {
  EXPECT_EQ(named(R"({"HyperParameters": {"model": "multilayer_perceptron"}})"),
            "multilayer-perceptron-20261123-090507");
  EXPECT_EQ(named(R"({"HyperParameters": {"model": "s3://b/my net.pt"}})"),
            "my-net-20261123-090507");
  EXPECT_EQ(named("{}"), "job-20261123-090507");
}

TEST(JobFile, ANameAndWhatIsNoJsonStay) {
  EXPECT_EQ(named(R"({"TrainingJobName": "mine"})"), "mine");
  EXPECT_EQ(with_name("{\"a\": ", kNow), "{\"a\": ") << "the parser says where it is wrong";
}

TEST(JobFile, EachErrorNamesTheFile) {
  const TemporaryFolder folder("musher-test");
  const auto path = folder.path() / "bad.json";
  std::ofstream(path) << R"({"TrainingJobName": "x", "Nonsense": 1})";
  try {
    read_job_file(path, std::nullopt);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    const std::string text = error.what();
    EXPECT_EQ(text.rfind(path.string(), 0), 0u) << text;
    EXPECT_NE(text.find("Nonsense"), std::string::npos);
  }
  EXPECT_THROW(read_job_file(folder.path() / "none.json", std::nullopt), Error);
  EXPECT_THROW(read_job_file(folder.path(), std::nullopt), Error) << "a folder";
}

}  // namespace
}  // namespace musher
