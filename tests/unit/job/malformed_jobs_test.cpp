// Jobs that are wrong in one place each: the error names the place and says what would be right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "job/job.h"
#include "job_text.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

struct Wrong {
  std::string name;
  std::string pointer;  ///< JSON pointer to what is replaced or added
  std::string value;    ///< JSON; empty: the field is removed
  std::string path;
  std::string says;
};

void PrintTo(const Wrong& wrong, std::ostream* out) {
  *out << wrong.name;
}

class MalformedJob : public testing::TestWithParam<Wrong> {};

TEST_P(MalformedJob, HasOneErrorThatNamesThePlace) {
  const Wrong& wrong = GetParam();
  Json job = good_job();
  const Json::json_pointer pointer(wrong.pointer);
  if (wrong.value.empty()) {
    ASSERT_TRUE(job.contains(pointer));
    job[pointer.parent_pointer()].erase(pointer.back());
  } else {
    job[pointer] = Json::parse(wrong.value);
  }
  const JobOrErrors result = parse_job(job.dump());
  EXPECT_FALSE(result.job);
  ASSERT_EQ(result.errors.size(), 1) << to_text(result.errors);
  EXPECT_EQ(result.errors[0].path, wrong.path);
  EXPECT_THAT(result.errors[0].message, HasSubstr(wrong.says));
}

std::string text_of(std::size_t length) {
  return '"' + std::string(length, 'x') + '"';
}

std::string map_of(int entries, const std::string& prefix) {
  Json map = Json::object();
  for (int i = 0; i < entries; ++i) map[prefix + std::to_string(i)] = "v";
  return map.dump();
}

std::string tags_of(int entries) {
  Json tags = Json::array();
  for (int i = 0; i < entries; ++i) tags.push_back({{"Key", "k" + std::to_string(i)}});
  return tags.dump();
}

std::string metrics_of(int entries) {
  Json metrics = Json::array();
  for (int i = 0; i < entries; ++i) {
    metrics.push_back({{"Name", "m" + std::to_string(i)}, {"Regex", "(x)"}});
  }
  return metrics.dump();
}

const std::string kMetrics = "/AlgorithmSpecification/MetricDefinitions";
const std::string kMetricsPath = "AlgorithmSpecification.MetricDefinitions";
const std::string kSource = "/InputDataConfig/0/DataSource/S3DataSource";
const std::string kSourcePath = "InputDataConfig[0].DataSource.S3DataSource";

/// What is wrong with the hyperparameters of a job of that task.
std::string errors_of(const std::string& task, const Json& hyperparameters) {
  Json job = good_job();
  job["AlgorithmSpecification"]["AlgorithmName"] = task;
  job["HyperParameters"] = hyperparameters;
  return to_text(parse_job(job.dump()).errors);
}

TEST(Tasks, RegressionHasItsOwnHyperparametersAndDefaults) {
  Json job = good_job();
  job["AlgorithmSpecification"]["AlgorithmName"] = "regression";
  job["HyperParameters"] = {
      {"loss", "huber"},           {"huber_delta", "0.5"},
      {"csv_header", "true"},      {"target_columns", "[price, rent]"},
      {"hidden_widths", "32, 16"}, {"early_stopping_metric", "validation:rmse"}};
  const JobOrErrors result = parse_job(job.dump());
  ASSERT_TRUE(result.job) << to_text(result.errors);
  EXPECT_EQ(result.job->task, TaskKind::kRegression);
  const Hyperparameters& h = result.job->hyperparameters;
  EXPECT_EQ(h.model, "multilayer_perceptron");
  EXPECT_EQ(h.target_columns, (std::vector<std::string>{"price", "rent"}));
  EXPECT_EQ(h.augmentation, Augmentation::kNone);
}

TEST(Tasks, WhatIsOfAnotherTaskIsNamed) {
  EXPECT_EQ(errors_of("regression", {{"image_size", "28"}}),
            "HyperParameters.image_size: is of the task image-classification, not of regression\n");
  EXPECT_THAT(
      errors_of("regression", {{"model", "resnet18"}}),
      HasSubstr("HyperParameters.model: must be multilayer_perceptron, the URI of a "
                "TorchScript file, or custom:NAME, for the task regression, not \"resnet18\""));
  EXPECT_THAT(errors_of("regression", {{"early_stopping_metric", "validation:accuracy"}}),
              HasSubstr("train:rmse, train:mae, validation:loss"));
  EXPECT_THAT(errors_of("regression", {{"huber_delta", "2"}}), HasSubstr("needs the loss huber"));
  EXPECT_THAT(errors_of("regression", {{"target_columns", "a,,b"}}),
              HasSubstr("HyperParameters.target_columns: must be names with commas between"));
}

TEST(Tasks, LanguageModelingWantsAVocabularyAndItsOwnModel) {
  EXPECT_THAT(errors_of("language-modeling", {{"epochs", "1"}}),
              HasSubstr("HyperParameters.vocabulary_size: is required"));
  EXPECT_THAT(errors_of("language-modeling",
                        {{"vocabulary_size", "9"}, {"gpt_width", "10"}, {"gpt_heads", "4"}}),
              HasSubstr("HyperParameters.gpt_width: must be a multiple of gpt_heads, 4, not 10"));
  EXPECT_THAT(errors_of("language-modeling", {{"vocabulary_size", "9"}, {"model", "resnet18"}}),
              HasSubstr("HyperParameters.model: must be gpt, the URI of a TorchScript file, or "
                        "custom:NAME, for the task language-modeling"));
  EXPECT_EQ(
      errors_of("language-modeling", {{"vocabulary_size", "9"}, {"model", "s3://a-bucket/net.pt"}}),
      "");
  EXPECT_EQ(
      errors_of("language-modeling",
                {{"vocabulary_size", "9"}, {"model", "custom:rnn"}, {"tied_embeddings", "true"}}),
      "HyperParameters.tied_embeddings: needs the model gpt\n");
  EXPECT_THAT(errors_of("language-modeling", {{"vocabulary_size", "9"}, {"target_columns", "0"}}),
              HasSubstr("HyperParameters.target_columns: is of the task regression"));
  EXPECT_EQ(errors_of("language-modeling", {{"vocabulary_size", "9"}}), "");
}

INSTANTIATE_TEST_SUITE_P(
    Fields, MalformedJob,
    testing::Values(
        Wrong{"UnknownField", "/ResourceConfg", "{}", "ResourceConfg",
              "did you mean \"ResourceConfig\""},
        Wrong{"UnknownFieldDeep", kSource + "/S3URI", "\"s3://a\"", kSourcePath + ".S3URI",
              "did you mean \"S3Uri\""},
        Wrong{"UnknownFieldFarFromAll", "/ResourceConfig/Colour", "1", "ResourceConfig.Colour",
              "known are InstanceType, InstanceCount"},
        Wrong{"FieldOfSageMakerOnly", "/VpcConfig", "{}", "VpcConfig", "does not have"},
        Wrong{"EncryptionIsNotSilentlyIgnored", "/OutputDataConfig/KmsKeyId", "\"k\"",
              "OutputDataConfig.KmsKeyId", "does not have"},
        Wrong{"IsolationThatIsNotThere", "/EnableNetworkIsolation", "true",
              "EnableNetworkIsolation", "have the network of their hosts"},
        Wrong{"GzipInPipeModeOnly", "/InputDataConfig/0/CompressionType", "\"Gzip\"",
              "InputDataConfig[0].CompressionType", "belongs to Pipe mode"},
        Wrong{"FileSystem", "/InputDataConfig/0/DataSource/FileSystemDataSource",
              "{\"FileSystemId\": \"fs-1\"}", "InputDataConfig[0].DataSource.FileSystemDataSource",
              "file:///folder"},
        Wrong{"UncompressedModel", "/OutputDataConfig/CompressionType", "\"NONE\"",
              "OutputDataConfig.CompressionType", "always a model.tar.gz"},
        Wrong{"InstanceGroups", "/ResourceConfig/InstanceGroups", "[{}]",
              "ResourceConfig.InstanceGroups", "hosts of a job are alike"},
        Wrong{"SnakeCase", "/training_job_name", "\"a\"", "training_job_name",
              "did you mean \"TrainingJobName\""},
        Wrong{"ObjectForString", "/TrainingJobName", "{}", "TrainingJobName",
              "must be a string, not an object"},
        Wrong{"NumberForString", "/OutputDataConfig/S3OutputPath", "3",
              "OutputDataConfig.S3OutputPath", "must be a string, not a number"},
        Wrong{"StringForNumber", "/ResourceConfig/InstanceCount", "\"2\"",
              "ResourceConfig.InstanceCount", "must be a whole number, not \"2\""},
        Wrong{"FractionForInteger", "/ResourceConfig/InstanceCount", "1.5",
              "ResourceConfig.InstanceCount", "must be a whole number, not 1.5"},
        Wrong{"NumberBeyond32Bits", "/ResourceConfig/InstanceCount", "3000000000",
              "ResourceConfig.InstanceCount",
              "must be a whole number from -2147483648 to 2147483647"},
        Wrong{"NumberBeyond64Bits", "/InputDataConfig/0/ShuffleConfig",
              "{\"Seed\": 9223372036854775808}", "InputDataConfig[0].ShuffleConfig.Seed",
              "9223372036854775807, not 9223372036854775808"},
        Wrong{"ObjectForList", "/InputDataConfig", "{}", "InputDataConfig",
              "must be a list, not an object"},
        Wrong{"StringInList", "/InputDataConfig/0", "\"train\"", "InputDataConfig[0]",
              "must be an object, not a string"},
        Wrong{"ListForObject", "/ResourceConfig", "[]", "ResourceConfig",
              "must be an object, not a list"},
        Wrong{"BadEnum", kSource + "/S3DataType", "\"s3prefix\"", kSourcePath + ".S3DataType",
              "must be one of ManifestFile, S3Prefix, AugmentedManifestFile, not \"s3prefix\""},
        Wrong{"EnumByNumber", "/AlgorithmSpecification/TrainingInputMode", "2",
              "AlgorithmSpecification.TrainingInputMode",
              "must be one of Pipe, File, FastFile, not 2"},
        Wrong{"EnumOfProtobufOnly", "/AlgorithmSpecification/TrainingInputMode",
              "\"INPUT_MODE_UNSPECIFIED\"", "AlgorithmSpecification.TrainingInputMode",
              "must be one of"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Limits, MalformedJob,
    testing::Values(
        Wrong{"NoName", "/TrainingJobName", "", "TrainingJobName", "is required"},
        Wrong{"EmptyName", "/TrainingJobName", "\"\"", "TrainingJobName",
              "1 to 63 characters, not 0"},
        Wrong{"LongName", "/TrainingJobName", text_of(64), "TrainingJobName",
              "1 to 63 characters, not 64"},
        Wrong{"NameWithUnderscore", "/TrainingJobName", "\"my_job\"", "TrainingJobName",
              "letters, digits and hyphens"},
        Wrong{"NameThatEndsInHyphen", "/TrainingJobName", "\"job-\"", "TrainingJobName",
              "at both ends"},
        Wrong{"NameThatClimbs", "/TrainingJobName", "\"../x\"", "TrainingJobName",
              "letters, digits and hyphens"},
        Wrong{"NoOutput", "/OutputDataConfig", "", "OutputDataConfig", "is required"},
        Wrong{"NoOutputPath", "/OutputDataConfig", "{}", "OutputDataConfig.S3OutputPath",
              "is required"},
        Wrong{"NoChannels", "/InputDataConfig", "", "InputDataConfig", "is required"},
        Wrong{"EmptyChannels", "/InputDataConfig", "[]", "InputDataConfig", "is required"},
        Wrong{"NoDataSource", "/InputDataConfig/1/DataSource", "", "InputDataConfig[1].DataSource",
              "is required"},
        Wrong{"NoS3Uri", kSource + "/S3Uri", "", kSourcePath + ".S3Uri", "is required"},
        Wrong{"LongUri", kSource + "/S3Uri", "\"s3://bucket/" + std::string(1024, 'x') + "\"",
              kSourcePath + ".S3Uri", "1 to 1024 characters, not 1036"},
        Wrong{"NoInstances", "/ResourceConfig/InstanceCount", "0", "ResourceConfig.InstanceCount",
              "must be 1 to 10000, not 0"},
        Wrong{"NegativeInstances", "/ResourceConfig/InstanceCount", "-1",
              "ResourceConfig.InstanceCount", "must be 1 to 10000, not -1"},
        Wrong{"NoRuntime", "/StoppingCondition/MaxRuntimeInSeconds", "0",
              "StoppingCondition.MaxRuntimeInSeconds", "1 to 2419200, not 0"},
        Wrong{"RuntimeOver28Days", "/StoppingCondition/MaxRuntimeInSeconds", "2419201",
              "StoppingCondition.MaxRuntimeInSeconds", "1 to 2419200"},
        Wrong{"SpotIsNoText", "/EnableManagedSpotTraining", "\"true\"", "EnableManagedSpotTraining",
              "must be true or false"},
        Wrong{"SpotWithoutWait", "/EnableManagedSpotTraining", "true",
              "StoppingCondition.MaxWaitTimeInSeconds",
              "is required with EnableManagedSpotTraining: true"},
        Wrong{"WaitWithoutSpot", "/StoppingCondition/MaxWaitTimeInSeconds", "7200",
              "StoppingCondition.MaxWaitTimeInSeconds", "only with EnableManagedSpotTraining"},
        Wrong{"NoWait", "/StoppingCondition/MaxWaitTimeInSeconds", "0",
              "StoppingCondition.MaxWaitTimeInSeconds", "1 to 2147483647, not 0"},
        Wrong{"TooManyRetries", "/RetryStrategy", "{\"MaximumRetryAttempts\": 31}",
              "RetryStrategy.MaximumRetryAttempts", "1 to 30, not 31"},
        Wrong{"RetryWithoutNumber", "/RetryStrategy", "{}", "RetryStrategy.MaximumRetryAttempts",
              "is required"},
        Wrong{"CheckpointWithoutUri", "/CheckpointConfig", "{}", "CheckpointConfig.S3Uri",
              "is required"},
        Wrong{"BadRole", "/RoleArn", "\"arn:aws:iam::12:role/abcdefgh\"", "RoleArn",
              "arn:aws:iam::123456789012:role/name"},
        Wrong{"BadEnvironmentName", "/Environment", "{\"2X\": \"\"}", "Environment.2X",
              "name must be letters, digits and _"},
        Wrong{"LongEnvironmentValue", "/Environment", "{\"X\": " + text_of(513) + "}",
              "Environment.X", "at most 512 characters, not 513"},
        Wrong{"EnvironmentNumber", "/Environment", "{\"X\": 1}", "Environment.X",
              "must be a string: write \"1\""},
        Wrong{"TooManyEnvironmentVariables", "/Environment", map_of(101, "V"), "Environment",
              "at most 100 entries, not 101"},
        Wrong{"TooManyTags", "/Tags", tags_of(51), "Tags", "at most 50 entries, not 51"},
        Wrong{"TagTwice", "/Tags", R"([{"Key": "a"}, {"Key": "a"}])", "Tags[1].Key",
              "\"a\" is there already, at Tags[0]"},
        Wrong{"TagOfAws", "/Tags", R"([{"Key": "aws:x"}])", "Tags[0].Key",
              "must not begin with aws:"},
        Wrong{"PendingTooShort", "/StoppingCondition/MaxPendingTimeInSeconds", "60",
              "StoppingCondition.MaxPendingTimeInSeconds", "1800 to 2419200, not 60"},
        Wrong{"KeepAliveTooLong", "/ResourceConfig/KeepAlivePeriodInSeconds", "21601",
              "ResourceConfig.KeepAlivePeriodInSeconds", "at most 21600, not 21601"},
        Wrong{"MetricWithoutName", kMetrics, R"j([{"Regex": "(x)"}])j", kMetricsPath + "[0].Name",
              "is required"},
        Wrong{"MetricWithoutRegex", kMetrics, R"j([{"Name": "m"}])j", kMetricsPath + "[0].Regex",
              "is required"},
        Wrong{"LongRegex", kMetrics,
              R"j([{"Name": "m", "Regex": "()j" + std::string(499, 'x') + R"j()"}])j",
              kMetricsPath + "[0].Regex", "1 to 500 characters, not 501"},
        Wrong{"RegexWithoutGroup", kMetrics, R"j([{"Name": "m", "Regex": "loss: .*"}])j",
              kMetricsPath + "[0].Regex", "must have a group in parentheses"},
        Wrong{"BadRegex", kMetrics, R"j([{"Name": "m", "Regex": "(a"}])j",
              kMetricsPath + "[0].Regex", "missing )"},
        Wrong{"RegexOfPerl", kMetrics, R"j([{"Name": "m", "Regex": "(a)(?=b)"}])j",
              kMetricsPath + "[0].Regex", "no lookaround"},
        Wrong{"MetricTwice", kMetrics,
              R"j([{"Name": "m", "Regex": "(a)"}, {"Name": "m", "Regex": "(b)"}])j",
              kMetricsPath + "[1].Name", "\"m\" is there already"},
        Wrong{"TooManyMetrics", kMetrics, metrics_of(41), kMetricsPath,
              "at most 40 entries, not 41"},
        Wrong{"TagWithoutKey", "/Tags", "[{\"Value\": \"v\"}]", "Tags[0].Key", "is required"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Meaning, MalformedJob,
    testing::Values(
        Wrong{"UnknownChannel", "/InputDataConfig/1/ChannelName", "\"test\"",
              "InputDataConfig[1].ChannelName",
              "must be train (or training) or validation, not \"test\""},
        Wrong{
            "NoTrainChannel", "/InputDataConfig",
            R"([{"ChannelName": "validation", "DataSource": {"S3DataSource": {"S3Uri": "s3://data/x"}}}])",
            "InputDataConfig", "must have a channel with the ChannelName train"},
        Wrong{"TrainTwice", "/InputDataConfig/1/ChannelName", "\"training\"",
              "InputDataConfig[1].ChannelName", "\"train\" is there already"},
        Wrong{"AugmentedManifestWithoutNames", kSource + "/S3DataType", "\"AugmentedManifestFile\"",
              kSourcePath + ".AttributeNames", "must be two names"},
        Wrong{"NamesWithoutAugmentedManifest", kSource + "/AttributeNames",
              "[\"source-ref\", \"class\"]", kSourcePath + ".AttributeNames",
              "only with S3DataType: AugmentedManifestFile"},
        Wrong{"PipeMode", "/AlgorithmSpecification/TrainingInputMode", "\"Pipe\"",
              "AlgorithmSpecification.TrainingInputMode", "write File or FastFile"},
        Wrong{"PipeModeOfChannel", "/InputDataConfig/1/InputMode", "\"Pipe\"",
              "InputDataConfig[1].InputMode", "write File or FastFile"},
        Wrong{"OtherAlgorithm", "/AlgorithmSpecification/AlgorithmName", "\"xgboost\"",
              "AlgorithmSpecification.AlgorithmName", "image-classification"},
        Wrong{"ContainerImage", "/AlgorithmSpecification/TrainingImage", "\"repo/image:1\"",
              "AlgorithmSpecification.TrainingImage", "runs no containers"},
        Wrong{"UriOfAnotherKind", kSource + "/S3Uri", "\"https://data/train\"",
              kSourcePath + ".S3Uri", "\"https://data/train\""},
        Wrong{"OutputOfAnotherKind", "/OutputDataConfig/S3OutputPath", "\"jobs\"",
              "OutputDataConfig.S3OutputPath", "s3://bucket/prefix"},
        Wrong{"RelativeUriWithoutAFolder", kSource + "/S3Uri", "\"file://./data\"",
              kSourcePath + ".S3Uri", "is relative"},
        Wrong{"BadCheckpointBucket", "/CheckpointConfig/S3Uri", "\"s3://A\"",
              "CheckpointConfig.S3Uri", "bucket"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Hyperparameters, MalformedJob,
    testing::Values(
        Wrong{"Unknown", "/HyperParameters/learning-rate", "\"0.1\"",
              "HyperParameters.learning-rate", "did you mean \"learning_rate\""},
        Wrong{"Misspelt", "/HyperParameters/epoch", "\"3\"", "HyperParameters.epoch",
              "did you mean \"epochs\""},
        Wrong{"NumberForString", "/HyperParameters/epochs", "8", "HyperParameters.epochs",
              "must be a string: write \"8\""},
        Wrong{"ObjectForMap", "/HyperParameters", "[]", "HyperParameters",
              "must be an object, not a list"},
        Wrong{"NotANumber", "/HyperParameters/epochs", "\"ten\"", "HyperParameters.epochs",
              "must be a whole number from 1 to 100000, not \"ten\""},
        Wrong{"TrailingText", "/HyperParameters/epochs", "\"8 \"", "HyperParameters.epochs",
              "must be a whole number"},
        Wrong{"Zero", "/HyperParameters/batch_size", "\"0\"", "HyperParameters.batch_size",
              "from 1 to"},
        Wrong{"BeyondRange", "/HyperParameters/epochs", "\"99999999999999999999\"",
              "HyperParameters.epochs", "from 1 to 100000"},
        Wrong{"NegativeSeed", "/HyperParameters/seed", "\"-1\"", "HyperParameters.seed",
              "from 0 to 18446744073709551615"},
        Wrong{"NotFinite", "/HyperParameters/learning_rate", "\"nan\"",
              "HyperParameters.learning_rate", "must be a number from above 0 to 1000"},
        Wrong{"ExclusiveBound", "/HyperParameters/momentum", "\"1\"", "HyperParameters.momentum",
              "0 to below 1"},
        Wrong{"BadChoice", "/HyperParameters/optimizer", "\"rmsprop\"", "HyperParameters.optimizer",
              "must be one of sgd, adam, adamw, lamb, lars, not \"rmsprop\""},
        Wrong{"HalfPrecision", "/HyperParameters/precision", "\"half\"",
              "HyperParameters.precision", "must be one of float32, bf16, fp16, not \"half\""},
        Wrong{"LossScaleOfBf16", "/HyperParameters/loss_scale", "\"1024\"",
              "HyperParameters.loss_scale", "needs the precision fp16"},
        Wrong{"MultiplierWithoutName", "/HyperParameters/lr_multipliers", "\"0.1\"",
              "HyperParameters.lr_multipliers", "must be name=number"},
        Wrong{"MultiplierBelowZero", "/HyperParameters/lr_multipliers", "\"fc=1,head=-1\"",
              "HyperParameters.lr_multipliers", "each number 0 to 1000"},
        Wrong{"MultiplierTwice", "/HyperParameters/lr_multipliers", "\"fc=1, fc=2\"",
              "HyperParameters.lr_multipliers", "has \"fc\" twice"},
        Wrong{"CheckpointingOfAConvnet", "/HyperParameters/activation_checkpointing", "\"true\"",
              "HyperParameters.activation_checkpointing", "is for resnet18, resnet34"},
        Wrong{"SyncWithoutBatchNorm", "/HyperParameters/sync_batch_norm", "\"true\"",
              "HyperParameters.sync_batch_norm", "is for resnet18, resnet34"},
        Wrong{"CacheOfWhatIsTrained", "/HyperParameters/feature_cache_bytes", "\"1000000\"",
              "HyperParameters.feature_cache_bytes", "needs freeze_backbone"},
        Wrong{"BadModel", "/HyperParameters/model", "\"resnet_50\"", "HyperParameters.model",
              "did you mean \"resnet50\""},
        Wrong{"BadCustomModel", "/HyperParameters/model", "\"custom:a/b\"", "HyperParameters.model",
              "must be custom: and 1 to 63 letters"},
        Wrong{"BadModelUri", "/HyperParameters/model", "\"ftp://x/net.pt\"",
              "HyperParameters.model", "s3://bucket/prefix"},
        Wrong{"BadWeightsUri", "/HyperParameters/initial_weights", "\"weights.safetensors\"",
              "HyperParameters.initial_weights", "s3://bucket/prefix"},
        Wrong{"TwoChannels", "/HyperParameters/image_channels", "\"2\"",
              "HyperParameters.image_channels", "must be 1 or 3"},
        Wrong{"ZeroDeviation", "/HyperParameters/normalize_std", "\"0\"",
              "HyperParameters.normalize_std", "one number per image channel"},
        Wrong{"ListWithAGap", "/HyperParameters/normalize_mean", "\"0.1,,0.2\"",
              "HyperParameters.normalize_mean", "with commas between"},
        Wrong{"OneMeanForThreeChannels", "/HyperParameters/normalize_mean", "\"0.1, 0.2, 0.3\"",
              "HyperParameters.normalize_mean", "as many numbers as image_channels, 1, not 3"},
        Wrong{"CropScaleBackwards", "/HyperParameters/random_resized_crop_scale", "\"1, 0.08\"",
              "HyperParameters.random_resized_crop_scale", "smaller number first, not 1, 0.08"},
        Wrong{"OneCropRatio", "/HyperParameters/random_resized_crop_ratio", "\"1\"",
              "HyperParameters.random_resized_crop_ratio", "two numbers, the smaller first"},
        Wrong{"FiveJitters", "/HyperParameters/color_jitter", "\"0.1,0.1,0.1,0.1,0.1\"",
              "HyperParameters.color_jitter", "one to four numbers"},
        Wrong{"HueAllAround", "/HyperParameters/color_jitter", "\"0.4, 0.4, 0.4, 0.6\"",
              "HyperParameters.color_jitter", "a hue, the fourth, of at most 0.5, not 0.6"},
        Wrong{"MagnitudeOfImagination", "/HyperParameters/rand_augment_magnitude", "\"31\"",
              "HyperParameters.rand_augment_magnitude", "whole number from 0 to 30"},
        Wrong{"ErasedMoreThanAlways", "/HyperParameters/random_erasing", "\"1.5\"",
              "HyperParameters.random_erasing", "number from 0 to 1"},
        Wrong{"ResizedBelowTheCrop", "/HyperParameters/val_resize_size", "\"20\"",
              "HyperParameters.val_resize_size", "0 or at least image_size, 28, not 20"},
        Wrong{"ScaledPerhaps", "/HyperParameters/jpeg_scaled_decode", "\"perhaps\"",
              "HyperParameters.jpeg_scaled_decode", "one of true, false"},
        Wrong{"VDoesNotDivideB", "/HyperParameters/virtual_workers", "\"7\"",
              "HyperParameters.virtual_workers", "must divide batch_size, 256"},
        Wrong{"MoreRanksThanV", "/HyperParameters/virtual_workers", "\"1\"",
              "HyperParameters.virtual_workers", "at least the number of ranks, 2, not 1"},
        Wrong{"MoreRanksThanSamples", "/ResourceConfig/InstanceCount", "300",
              "HyperParameters.batch_size", "at least the number of ranks, 300, not 256"},
        Wrong{"TooManyRanks", "/HyperParameters/processes_per_instance", "\"2000\"",
              "HyperParameters.processes_per_instance", "from 1 to 1024"},
        Wrong{"WarmupLongerThanTraining", "/HyperParameters/warmup_epochs", "\"9\"",
              "HyperParameters.warmup_epochs", "must be at most epochs, 8, not 9"},
        Wrong{"NesterovWithoutMomentum", "/HyperParameters",
              "{\"nesterov\": \"true\", \"momentum\": \"0\"}", "HyperParameters.nesterov",
              "sgd with a momentum above 0"},
        Wrong{"NesterovOfAdam", "/HyperParameters",
              "{\"nesterov\": \"true\", \"optimizer\": \"adam\"}", "HyperParameters.nesterov",
              "needs the optimizer sgd"},
        Wrong{"NoFlag", "/HyperParameters/nesterov", "\"yes\"", "HyperParameters.nesterov",
              "must be one of true, false, not \"yes\""},
        Wrong{"MorePassesThanSamples", "/HyperParameters/gradient_accumulation", "\"129\"",
              "HyperParameters.gradient_accumulation",
              "at most the samples of a rank in a step, 128"},
        Wrong{"NoStepSize", "/HyperParameters/lr_schedule", "\"step\"",
              "HyperParameters.lr_schedule", "needs lr_step_size or lr_milestones"},
        Wrong{"StepSizeAndMilestones", "/HyperParameters",
              "{\"lr_schedule\": \"step\", \"lr_step_size\": \"2\", \"lr_milestones\": \"3\"}",
              "HyperParameters.lr_step_size", "where there are lr_milestones"},
        Wrong{"MilestonesThatFall", "/HyperParameters/lr_milestones", "\"6, 3\"",
              "HyperParameters.lr_milestones", "ascending, with commas between, not \"6, 3\""},
        Wrong{"TwoWarmUps", "/HyperParameters",
              "{\"lr_schedule\": \"one_cycle\", \"warmup_epochs\": \"1\"}",
              "HyperParameters.warmup_epochs", "one_cycle rises by itself"},
        Wrong{"MetricThatIsNone", "/HyperParameters/early_stopping_metric", "\"accuracy\"",
              "HyperParameters.early_stopping_metric", "validation:accuracy, not \"accuracy\""},
        Wrong{"OwnMetricWithoutALoss", "/HyperParameters/early_stopping_metric",
              "\"max train:covered\"", "HyperParameters.early_stopping_metric",
              "validation:accuracy, not \"max train:covered\""},
        Wrong{"OwnMetricWithoutADirection", "/HyperParameters",
              "{\"loss_module\": \"s3://a-bucket/loss.pt\", \"early_stopping_metric\": "
              "\"train:covered\"}",
              "HyperParameters.early_stopping_metric",
              "\"min train:covered\" or \"max train:covered\""},
        Wrong{"OwnMetricOfNoChannel", "/HyperParameters",
              "{\"loss_module\": \"s3://a-bucket/loss.pt\", \"early_stopping_metric\": "
              "\"max covered\"}",
              "HyperParameters.early_stopping_metric", "or one that loss_module returns"},
        Wrong{"LossThatIsToRise", "/HyperParameters/early_stopping_metric", "\"max train:loss\"",
              "HyperParameters.early_stopping_metric", "of train:loss a small value is a good one"},
        Wrong{"TaskThatIsNone", "/AlgorithmSpecification/AlgorithmName", "\"xgboost\"",
              "AlgorithmSpecification.AlgorithmName",
              "must be one of image-classification, regression"},
        Wrong{"LossOfAnotherTask", "/HyperParameters/loss", "\"l1\"", "HyperParameters.loss",
              "is of the task regression, not of image-classification"},
        Wrong{"WidthsOfAConvnet", "/HyperParameters/hidden_widths", "\"16\"",
              "HyperParameters.hidden_widths", "needs the model multilayer_perceptron"},
        Wrong{"SmoothedLossOfAUser", "/HyperParameters",
              "{\"loss_module\": \"s3://bucket/loss.pt\", \"label_smoothing\": \"0.1\"}",
              "HyperParameters.label_smoothing", "is of the task's own loss"},
        Wrong{"LossThatIsNoUri", "/HyperParameters/loss_module", "\"loss.pt\"",
              "HyperParameters.loss_module", "s3://"},
        Wrong{"ManyLayers", "/HyperParameters",
              "{\"model\": \"multilayer_perceptron\", \"hidden_widths\": "
              "\"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\"}",
              "HyperParameters.hidden_widths", "at most 16 numbers, not 17"},
        Wrong{"FrozenAndFresh", "/HyperParameters/freeze_backbone", "\"true\"",
              "HyperParameters.freeze_backbone", "needs initial_weights"},
        Wrong{"FrozenScript", "/HyperParameters",
              "{\"freeze_backbone\": \"true\", \"model\": \"s3://a-bucket/net.pt\"}",
              "HyperParameters.freeze_backbone", "needs a built-in model"},
        Wrong{"HeadOfAConvnet", "/HyperParameters/head_widths", "\"128\"",
              "HyperParameters.head_widths",
              "is for resnet18, resnet34 and resnet50, not for convnet"},
        Wrong{"EmptyLayer", "/HyperParameters/head_widths", "\"128, 0\"",
              "HyperParameters.head_widths", "whole numbers from 1 to 1000000, with commas"},
        Wrong{"MatchOfNothing", "/HyperParameters/initial_weights_match", "\"by_name\"",
              "HyperParameters.initial_weights_match", "needs initial_weights"},
        Wrong{"RisingToTheMinimum", "/HyperParameters/lr_min", "\"0.2\"", "HyperParameters.lr_min",
              "at most learning_rate, 0.1, not 0.2"},
        Wrong{"MomentumCycleOfCosine", "/HyperParameters/cycle_momentum", "\"true\"",
              "HyperParameters.cycle_momentum", "needs the lr_schedule one_cycle"},
        Wrong{"LongValue", "/HyperParameters/initial_weights",
              "\"s3://bucket/" + std::string(2500, 'x') + "\"", "HyperParameters.initial_weights",
              "at most 2500 characters, not 2512"},
        Wrong{"LineBreakInAName", "/HyperParameters/a\nb", "\"1\"", "HyperParameters.a?b",
              "is not a known hyperparameter"},
        Wrong{"LineBreakInAValue", "/HyperParameters/optimizer", "\"a\\nb\"",
              "HyperParameters.optimizer", "not \"a?b\""}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace musher
