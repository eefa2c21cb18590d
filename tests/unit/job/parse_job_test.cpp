#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "job/input_mode.h"
#include "job/job.h"
#include "job/request.h"
#include "job_text.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Job parsed(const Json& json, std::optional<int> workers = std::nullopt) {
  const JobOrErrors result = parse_job(json.dump(), workers);
  EXPECT_TRUE(result.job) << to_text(result.errors);
  return result.job.value_or(Job{});
}

std::vector<std::string> paths(const JobOrErrors& result) {
  std::vector<std::string> paths;
  for (const JobError& error : result.errors) paths.push_back(error.path);
  return paths;
}

TEST(ParseJob, TakesEveryFieldOver) {
  Json json = good_job();
  json["Environment"] = {{"NCCL_DEBUG", "INFO"}};
  json["RetryStrategy"] = {{"MaximumRetryAttempts", 3}};
  json["InputDataConfig"][0]["ShuffleConfig"] = {{"Seed", 0}};
  const Job job = parsed(json);
  EXPECT_EQ(job.name, "fashion-mnist");
  EXPECT_EQ(job.train.name, "train");
  EXPECT_EQ(job.train.uri.str(), "s3://data/train");
  EXPECT_EQ(job.train.shuffle_seed, 0);
  ASSERT_TRUE(job.validation);
  EXPECT_EQ(job.validation->uri.str(), "s3://data/validation");
  EXPECT_FALSE(job.validation->shuffle_seed);
  EXPECT_EQ(job.artifact().str(), "s3://jobs/fashion-mnist/output/model.tar.gz");
  EXPECT_EQ(job.checkpoints->str(), "s3://jobs/checkpoints");
  EXPECT_EQ(job.ranks, 2);
  EXPECT_EQ(job.retries, 3);
  EXPECT_EQ(job.max_runtime, std::chrono::seconds(3600));
  EXPECT_EQ(job.environment.at("NCCL_DEBUG"), "INFO");
  EXPECT_EQ(job.hyperparameters.model, "convnet");
  EXPECT_EQ(job.hyperparameters.image_size, 28);
  EXPECT_EQ(job.hyperparameters.epochs, 8);
  EXPECT_EQ(job.hyperparameters.virtual_workers, 8);
  EXPECT_DOUBLE_EQ(job.hyperparameters.learning_rate, 0.1);
  EXPECT_THAT(job.hyperparameters.normalize_mean, ElementsAre(0.286));
  EXPECT_THAT(job.hyperparameters.normalize_std, ElementsAre(0.353));
}

TEST(ParseJob, ASpotJobHasATimeToWait) {
  Json json = good_job();
  json["EnableManagedSpotTraining"] = true;
  json["StoppingCondition"]["MaxWaitTimeInSeconds"] = 3600;
  const Job job = parsed(json);
  EXPECT_TRUE(job.spot);
  EXPECT_EQ(job.max_wait, std::chrono::seconds(3600));
  json = good_job();
  json["EnableManagedSpotTraining"] = false;
  EXPECT_FALSE(parsed(json).spot);
  EXPECT_FALSE(parsed(json).max_wait);
  json["EnableManagedSpotTraining"] = true;
  json["StoppingCondition"]["MaxWaitTimeInSeconds"] = 3599;
  const JobOrErrors shorter = parse_job(json.dump());
  EXPECT_THAT(paths(shorter), ElementsAre("StoppingCondition.MaxWaitTimeInSeconds"));
  EXPECT_THAT(to_text(shorter.errors), HasSubstr("at least MaxRuntimeInSeconds, 3600, not 3599"));
}

TEST(ParseJob, TheSmallestJobHasSensibleDefaults) {
  const Job job = parsed(Json::parse(R"({
    "TrainingJobName": "a",
    "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": {"S3Uri": "file:///data"}}}],
    "OutputDataConfig": {"S3OutputPath": "file:///jobs"}})"));
  EXPECT_EQ(job.train.name, "train");
  EXPECT_FALSE(job.validation);
  EXPECT_FALSE(job.checkpoints);
  EXPECT_EQ(job.ranks, 1);
  EXPECT_EQ(job.retries, 0);
  EXPECT_EQ(job.max_runtime, std::chrono::hours(24));
  EXPECT_EQ(job.hyperparameters.model, "resnet50");
  EXPECT_EQ(job.hyperparameters.normalize_mean.size(), 3);
}

TEST(ParseJob, NullIsAsGoodAsAbsent) {
  Json json = good_job();
  json["CheckpointConfig"] = nullptr;
  json["ResourceConfig"]["InstanceCount"] = nullptr;
  const Job job = parsed(json);
  EXPECT_FALSE(job.checkpoints);
  EXPECT_EQ(job.ranks, 1);
}

TEST(ParseJob, AllErrorsAtOnceInTheOrderOfTheFile) {
  const JobOrErrors result = parse_job(R"({
    "HyperParameters": {"epochs": "0", "epoch": "1"},
    "TrainingJobName": "-",
    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": 5, "S3DataTyp": ""}}}],
    "Nonsense": true})");
  EXPECT_THAT(paths(result),
              ElementsAre("HyperParameters.epochs", "HyperParameters.epoch", "TrainingJobName",
                          "InputDataConfig[0].DataSource.S3DataSource.S3Uri",
                          "InputDataConfig[0].DataSource.S3DataSource.S3DataTyp", "Nonsense",
                          "OutputDataConfig"));
}

TEST(ParseJob, SyntaxErrorsHaveLineAndColumn) {
  const JobOrErrors result = parse_job("{\n  \"TrainingJobName\": \"a\",\n}");
  ASSERT_EQ(result.errors.size(), 1);
  EXPECT_EQ(result.errors[0].path, "line 3, column 1");
  EXPECT_THAT(to_text(result.errors), HasSubstr("line 3, column 1: syntax error"));
}

TEST(ParseJob, WhatIsNoJobAtAllHasOneError) {
  for (const char* text : {"", "[]", "3", "null", "{\"a\":", "{\"a\": \"\xff\"}"}) {
    const JobOrErrors result = parse_job(text);
    EXPECT_EQ(result.errors.size(), 1) << text << "\n" << to_text(result.errors);
  }
}

TEST(ParseJob, ANameThatIsThereTwiceIsAnError) {
  const JobOrErrors result =
      parse_job(R"({"TrainingJobName": "a", "HyperParameters": {"epochs": "1", "epochs": "2"},
    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "file:///data"}}}],
    "OutputDataConfig": {"S3OutputPath": "file:///jobs"}})");
  ASSERT_EQ(result.errors.size(), 1) << to_text(result.errors);
  EXPECT_THAT(result.errors[0].path, HasSubstr("epochs"));
  EXPECT_THAT(result.errors[0].message, HasSubstr("twice"));
}

TEST(ParseJob, RelativeUrisCountFromTheFolderOfTheJobFile) {
  Json json = good_job();
  json["OutputDataConfig"]["S3OutputPath"] = "file://./jobs";
  json["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "file://./../data";
  json["HyperParameters"]["initial_weights"] = "file://./w.safetensors";
  const JobOrErrors result = parse_job(json.dump(), std::nullopt, "/home/me/jobs");
  ASSERT_TRUE(result.job) << to_text(result.errors);
  EXPECT_EQ(result.job->output.str(), "file:///home/me/jobs/jobs");
  EXPECT_EQ(result.job->train.uri.str(), "file:///home/me/data");
  EXPECT_EQ(result.job->hyperparameters.initial_weights, "file:///home/me/jobs/w.safetensors");
}

TEST(ParseJob, ValuesAsSageMakersPythonSdkWritesThem) {
  Json json = good_job();
  json["HyperParameters"]["model"] = "\"resnet18\"";
  json["HyperParameters"]["epochs"] = "\"3\"";
  json["HyperParameters"]["normalize_mean"] = "[0.5]";
  const Job job = parsed(json);
  EXPECT_EQ(job.hyperparameters.model, "resnet18");
  EXPECT_EQ(job.hyperparameters.epochs, 3);
  EXPECT_THAT(job.hyperparameters.normalize_mean, ElementsAre(0.5));
}

TEST(Ranks, AreInstancesTimesProcessesUnlessWorkersSaysOtherwise) {
  Json json = good_job();
  json["HyperParameters"]["processes_per_instance"] = "4";
  EXPECT_EQ(parsed(json).ranks, 8);
  EXPECT_EQ(parsed(json, 3).ranks, 3);
  EXPECT_THAT(to_text(parse_job(json.dump(), 0).errors), HasSubstr("--workers: must be 1 to"));
}

TEST(VirtualWorkers, DefaultDividesTheBatchAndFitsTheRanks) {
  struct Case {
    int batch, ranks, expected;
  };
  for (const Case& c : {Case{256, 1, 8},
                        {256, 2, 8},
                        {256, 8, 8},
                        {256, 9, 16},
                        {64, 33, 64},
                        {6, 1, 6},
                        {6, 4, 6},
                        {100, 1, 10},
                        {97, 2, 97},
                        {1, 1, 1},
                        {12, 3, 12}}) {
    Json json = good_job();
    json["HyperParameters"].erase("virtual_workers");
    json["HyperParameters"]["batch_size"] = std::to_string(c.batch);
    EXPECT_EQ(parsed(json, c.ranks).hyperparameters.virtual_workers, c.expected)
        << c.batch << " on " << c.ranks;
  }
}

TEST(ValidateRequest, IsEnoughForARequestThatCameOverTheWire) {
  const RequestOrErrors read = request_from_json(good_job().dump());
  ASSERT_TRUE(read.errors.empty());
  const JobOrErrors result = validate_request(read.request);
  ASSERT_TRUE(result.job) << to_text(result.errors);
  EXPECT_EQ(result.job->ranks, 2);
  EXPECT_THAT(paths(validate_request({})),
              ElementsAre("TrainingJobName", "InputDataConfig", "OutputDataConfig"));
}

TEST(ValidateRequest, AnEnumNumberThatNobodyKnowsIsNoDefault) {
  v1::CreateTrainingJobRequest request = request_from_json(good_job().dump()).request;
  request.mutable_algorithm_specification()->set_training_input_mode(
      static_cast<v1::AlgorithmSpecification::InputMode>(77));
  request.mutable_input_data_config(1)
      ->mutable_data_source()
      ->mutable_s3_data_source()
      ->set_s3_data_distribution_type(static_cast<v1::S3DataSource::Distribution>(-1));
  const JobOrErrors result = validate_request(request);
  EXPECT_THAT(paths(result),
              ElementsAre("AlgorithmSpecification.TrainingInputMode",
                          "InputDataConfig[1].DataSource.S3DataSource.S3DataDistributionType"));
  EXPECT_THAT(to_text(result.errors), HasSubstr("must be one of Pipe, File, FastFile, not an enum "
                                                "value of number 77"));
}

TEST(FileModeChannels, AChannelsOwnModeGoesBeforeTheAlgorithms) {
  using Algorithm = v1::AlgorithmSpecification;
  v1::CreateTrainingJobRequest request = request_from_json(good_job().dump()).request;
  for (const auto mode : {Algorithm::INPUT_MODE_UNSPECIFIED, Algorithm::FastFile}) {
    request.mutable_algorithm_specification()->set_training_input_mode(mode);
    EXPECT_THAT(file_mode_channels(request), IsEmpty());
  }
  request.mutable_algorithm_specification()->set_training_input_mode(Algorithm::File);
  EXPECT_THAT(file_mode_channels(request), ElementsAre("train", "validation"));
  request.mutable_input_data_config(0)->set_channel_name("training");
  request.mutable_input_data_config(1)->set_input_mode(Algorithm::FastFile);
  EXPECT_THAT(file_mode_channels(request), ElementsAre("train"));
  request.mutable_algorithm_specification()->set_training_input_mode(Algorithm::FastFile);
  request.mutable_input_data_config(1)->set_input_mode(Algorithm::File);
  EXPECT_THAT(file_mode_channels(request), ElementsAre("validation"));
}

TEST(ValidateRequest, AFieldThatOnlyANewerClientKnowsIsNotLeftOut) {
  v1::CreateTrainingJobRequest request = request_from_json(good_job().dump()).request;
  auto& config = *request.mutable_resource_config();
  config.GetReflection()->MutableUnknownFields(&config)->AddVarint(9, 1);
  const JobOrErrors result = validate_request(request);
  EXPECT_THAT(paths(result), ElementsAre("ResourceConfig"));
  EXPECT_THAT(to_text(result.errors), HasSubstr("a field, number 9,"));
}

TEST(ValidateRequest, ABatchLargerThanMemoryCostsNothingToRefuse) {
  Json json = good_job();
  json["HyperParameters"]["batch_size"] = "9999991";  // a prime
  json["HyperParameters"].erase("virtual_workers");
  EXPECT_EQ(parsed(json).hyperparameters.virtual_workers, 9'999'991);
}

TEST(HyperparameterHelp, NamesEachWithItsDefault) {
  const std::string help = hyperparameter_help();
  EXPECT_THAT(help, HasSubstr("learning_rate\n    number (above 0 to 1000), default 0.1\n"));
  EXPECT_THAT(help,
              HasSubstr("optimizer\n    one of (sgd, adam, adamw, lamb, lars), default sgd\n"));
}

}  // namespace
}  // namespace musher
