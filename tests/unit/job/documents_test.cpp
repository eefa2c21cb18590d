// What is written for people about jobs is what the code does.
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "job/job.h"
#include "job/request.h"

namespace musher {
namespace {

using testing::HasSubstr;

std::string read(const std::string& file) {
  std::ifstream in(std::string(MUSHER_SOURCE) + "/" + file);
  EXPECT_TRUE(in) << file;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(JobReference, HasEveryHyperparameter) {
  const std::string page = read("docs/job-reference.md");
  std::istringstream help(hyperparameter_help());
  int names = 0;
  for (std::string line; std::getline(help, line);) {
    if (line.starts_with(" ")) continue;
    EXPECT_THAT(page, HasSubstr("| `" + line + "` |"));
    ++names;
  }
  EXPECT_GT(names, 20);
}

void expect_fields(const google::protobuf::Descriptor& message, const std::string& page) {
  for (int i = 0; i < message.field_count(); ++i) {
    const auto& field = *message.field(i);
    EXPECT_THAT(page, HasSubstr(field.json_name()));
    if (field.message_type() != nullptr && !field.is_map())
      expect_fields(*field.message_type(), page);
  }
}

TEST(JobReference, HasEveryField) {
  expect_fields(*v1::CreateTrainingJobRequest::descriptor(), read("docs/job-reference.md"));
}

TEST(JobReference, ItsSmallestJobIsAJob) {
  const std::string page = read("docs/job-reference.md");
  const std::string open = "```json\n";
  const std::size_t begin = page.find(open) + open.size();
  const JobOrErrors result = parse_job(page.substr(begin, page.find("```", begin) - begin));
  EXPECT_TRUE(result.job) << to_text(result.errors);
}

TEST(Example, FashionMnistIsAJob) {
  const JobOrErrors result =
      parse_job(read("examples/fashion-mnist/job.json"), std::nullopt, "/data");
  ASSERT_TRUE(result.job) << to_text(result.errors);
  EXPECT_EQ(result.job->hyperparameters.model, "convnet");
  EXPECT_TRUE(result.job->validation);
}

TEST(Example, LanguageModelIsAJob) {
  const JobOrErrors result =
      parse_job(read("examples/language-model/job.json"), std::nullopt, "/data");
  ASSERT_TRUE(result.job) << to_text(result.errors);
  EXPECT_EQ(result.job->task, TaskKind::kLanguageModeling);
}

}  // namespace
}  // namespace musher
