#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include "job/request.h"
#include "job_text.h"

namespace musher {
namespace {

TEST(ToJson, GivesBackTheRequestThatWasRead) {
  const auto json = good_job();
  const RequestOrErrors read = request_from_json(json.dump());
  ASSERT_TRUE(read.errors.empty()) << to_text(read.errors);
  // As values, for the order is that of the .proto file.
  EXPECT_EQ(nlohmann::json::parse(to_json(read.request).dump()),
            nlohmann::json::parse(json.dump()));
}

TEST(ToJson, WritesSageMakersNamesNumbersAndTimes) {
  v1::DescribeTrainingJobResponse response;
  response.set_training_job_name("a");
  response.set_training_job_status(v1::TrainingJobStatus::InProgress);
  response.set_secondary_status(v1::SecondaryStatus::Downloading);
  *response.mutable_creation_time() =
      google::protobuf::util::TimeUtil::MillisecondsToTimestamp(1'700'000'000'250);
  auto& metric = *response.add_final_metric_data_list();
  metric.set_metric_name("validation:accuracy");
  metric.set_value(0.91F);
  response.add_final_metric_data_list()->set_metric_name("train:loss");
  response.set_training_time_in_seconds(7);
  EXPECT_EQ(
      to_json(response).dump(),
      R"({"TrainingJobName":"a","TrainingJobStatus":"InProgress","SecondaryStatus":"Downloading",)"
      R"("CreationTime":"2023-11-14T22:13:20.250Z","FinalMetricDataList":[)"
      R"({"MetricName":"validation:accuracy","Value":0.91},{"MetricName":"train:loss","Value":0.0}],)"
      R"("TrainingTimeInSeconds":7})");
}

TEST(ToJson, SixtyFourBitsAreANumber) {
  v1::ShuffleConfig config;
  config.set_seed(9'007'199'254'740'993);
  EXPECT_EQ(to_json(config).dump(), R"({"Seed":9007199254740993})");
}

TEST(ToJson, AListOfNoJobsIsStillAList) {
  EXPECT_EQ(to_json(v1::ListTrainingJobsResponse()).dump(), R"({"TrainingJobSummaries":[]})");
}

}  // namespace
}  // namespace musher
