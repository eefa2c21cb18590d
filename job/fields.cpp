#include "job/fields.h"

#include <map>
#include <vector>

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

struct Row {
  Fate fate;
  std::string why;
  std::vector<std::string> harmless = {};  ///< values that ask for nothing else than what is done
};

const std::map<std::string, Row>& table() {
  static const std::map<std::string, Row> rows = {
      // Of other owners of machines: they say how, not what.
      {"RoleArn", {Fate::kNotice, "credentials are those of whoever starts the coordinator"}},
      {"ResourceConfig.InstanceType",
       {Fate::kNotice,
        "where the coordinator rents instances it is their type; elsewhere the hosts are those of "
        "the coordinator"}},
      {"ResourceConfig.VolumeSizeInGB",
       {Fate::kNotice,
        "where the coordinator rents instances it is the size of their volumes; elsewhere data is "
        "streamed and needs none"}},
      {"ResourceConfig.KeepAlivePeriodInSeconds",
       {Fate::kNotice,
        "where the coordinator rents instances they are kept for so long; elsewhere the hosts are "
        "the coordinator's and stay for the next job anyway"}},
      {"AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
       {Fate::kNotice, "metrics are kept over time for every job; see musher metrics"}},
      {"CheckpointConfig.LocalPath", {Fate::kNotice, "checkpoints go to the store directly"}},
      {"InputDataConfig[].ContentType",
       {Fate::kNotice, "the kind of an object is told by its name"}},
      {"DebugHookConfig", {Fate::kNotice, "there is no debugger"}},
      {"DebugRuleConfigurations", {Fate::kNotice, "there is no debugger"}},
      {"ProfilerConfig", {Fate::kNotice, "there is no profiler"}},
      {"ProfilerRuleConfigurations", {Fate::kNotice, "there is no profiler"}},
      {"TensorBoardOutputConfig", {Fate::kNotice, "its path is not used"}},
      {"ExperimentConfig", {Fate::kNotice, "there are no experiments; tag the job instead"}},
      {"RemoteDebugConfig", {Fate::kNotice, "log in to the hosts directly"}},
      {"InfraCheckConfig", {Fate::kNotice, "a host is found bad when it fails"}},
      {"SessionChainingConfig", {Fate::kNotice, "there are no sessions to chain"}},
      {"MlflowConfig", {Fate::kNotice, "nothing is sent to MLflow"}},

      {"AlgorithmSpecification.TrainingImage",
       {Fate::kRefused, "Musher runs no containers; name the model in HyperParameters.model"}},
      {"AlgorithmSpecification.ContainerEntrypoint", {Fate::kRefused, "Musher runs no containers"}},
      {"AlgorithmSpecification.ContainerArguments", {Fate::kRefused, "Musher runs no containers"}},
      {"AlgorithmSpecification.TrainingImageConfig", {Fate::kRefused, "Musher runs no containers"}},
      {"InputDataConfig[].DataSource.FileSystemDataSource",
       {Fate::kRefused, "mount the file system and write file:///folder as the S3Uri"}},
      {"InputDataConfig[].DataSource.DatasetSource",
       {Fate::kRefused, "name the data by its S3Uri"}},
      {"InputDataConfig[].DataSource.S3DataSource.InstanceGroupNames",
       {Fate::kRefused, "all hosts of a job are alike"}},
      {"InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig",
       {Fate::kRefused, "there is no model hub"}},
      {"InputDataConfig[].DataSource.S3DataSource.HubAccessConfig",
       {Fate::kRefused, "there is no model hub"}},
      {"InputDataConfig[].CompressionType",
       {Fate::kRefused, "it belongs to Pipe mode, which is not offered", {"None"}}},
      {"InputDataConfig[].RecordWrapperType",
       {Fate::kRefused, "it belongs to Pipe mode, which is not offered", {"None"}}},
      {"OutputDataConfig.KmsKeyId",
       {Fate::kRefused, "set default encryption on the bucket instead"}},
      {"OutputDataConfig.CompressionType",
       {Fate::kRefused, "the model is always a model.tar.gz", {"GZIP"}}},
      {"ResourceConfig.VolumeKmsKeyId",
       {Fate::kRefused,
        "encrypt the hosts' disks instead; volumes of rented instances are encrypted, with the "
        "account's default key for EBS"}},
      {"ResourceConfig.InstanceGroups", {Fate::kRefused, "all hosts of a job are alike"}},
      {"ResourceConfig.TrainingPlanArn", {Fate::kRefused, "there are no training plans"}},
      {"ResourceConfig.InstancePlacementConfig",
       {Fate::kRefused, "the scheduler places the ranks"}},
      {"ResourceConfig.InstancePreferences",
       {Fate::kRefused, "the hosts are those of the coordinator"}},
      {"ResourceConfig.SelectedInstanceType", {Fate::kRefused, "it belongs to an answer"}},
      {"ResourceConfig.SelectedInstanceCount", {Fate::kRefused, "it belongs to an answer"}},
      {"VpcConfig", {Fate::kRefused, "the network is that of the hosts"}},
      {"EnableNetworkIsolation", {Fate::kRefused, "ranks have the network of their hosts"}},
      {"EnableInterContainerTrafficEncryption",
       {Fate::kRefused, "traffic between ranks is not encrypted; use a private network"}},
      {"ServerlessJobConfig", {Fate::kRefused, "a job runs on hosts"}},
      {"ModelPackageConfig", {Fate::kRefused, "there are no model packages"}},
  };
  return rows;
}

/// `InputDataConfig[12].X` → `InputDataConfig[].X`.
std::string without_indices(const std::string& path) {
  std::string result;
  bool inside = false;
  for (const char c : path) {
    if (c == ']') inside = false;
    if (!inside) result += c;
    if (c == '[') inside = true;
  }
  return result;
}

bool asks_for_nothing(const Json& value, const Row& row) {
  if (value.is_null() || value == false) return true;
  if (value.is_array() && value.empty()) return true;
  if (!value.is_string()) return false;
  if (value.get_ref<const std::string&>().empty()) return true;
  for (const std::string& harmless : row.harmless) {
    if (value == harmless) return true;
  }
  return false;
}

}  // namespace

FieldFate fate_of(const std::string& path, const Json& value) {
  const auto row = table().find(without_indices(path));
  if (row == table().end()) return {};
  if (asks_for_nothing(value, row->second)) return {Fate::kActs, "", true};
  return {row->second.fate, row->second.why, true};
}

}  // namespace musher
