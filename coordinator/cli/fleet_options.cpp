#include "coordinator/cli/fleet_options.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace musher::cli {

namespace {

namespace fs = std::filesystem;

nlohmann::json read_policy(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(ErrorCode::kNotFound, "--role-policy " + path + " can't be read");
  nlohmann::json policy = nlohmann::json::parse(in, nullptr, false);
  if (!policy.is_object() || !policy.contains("Statement")) {
    throw Error(ErrorCode::kInvalidArgument, "--role-policy " + path + " is no IAM policy");
  }
  return policy;
}

std::map<std::string, std::string> tags_of(const std::vector<std::string>& words) {
  std::map<std::string, std::string> tags;
  for (const std::string& word : words) {
    const std::size_t at = word.find('=');
    if (at == std::string::npos || at == 0 || word.starts_with("musher:") ||
        word.starts_with("aws:")) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--tag must be KEY=VALUE with a key of your own, not \"" + word + "\"");
    }
    tags[word.substr(0, at)] = word.substr(at + 1);
  }
  return tags;
}

EfaUse efa_use(const std::string& word) {
  if (word == "no") return EfaUse::kNo;
  if (word == "where-there-is") return EfaUse::kWhereThereIs;
  if (word == "always") return EfaUse::kAlways;
  throw Error(ErrorCode::kInvalidArgument,
              "--efa must be no, where-there-is or always, not \"" + word + "\"");
}

}  // namespace

void FleetOptions::add_to(Options& options) {
  options.add("instances", &settings_.instances, "N", "how many hosts");
  options.add("type", &settings_.type, "TYPE", "of the instances, e.g. g5.xlarge");
  options.add("spot", &settings_.spot, "spare capacity, cheaper, which EC2 may take back");
  options.add("slots", &slots_, "N", "ranks on a host (its GPUs, at least 1)");
  add_common_to(options);
}

void FleetOptions::add_common_to(Options& options) {
  options.add("max-hours", &settings_.max_hours, "H",
              "when this time is over, all instances end, whoever is there to end them; needed");
  options.add("admit", &settings_.admit, "CIDR|SG",
              "who comes in by ssh: the coordinator's network or security group; may be repeated");
  options.add("role-policy", &role_policy_, "FILE",
              "what the instances may do, as launch/iam/render worker prints it: for a role of the "
              "fleet's own");
  options.add("instance-profile", &settings_.instance_profile, "NAME",
              "instead: an instance profile that is there");
  options.add("software", &settings_.software, "S3URI",
              "the archive of launch/bundle, which the instances fetch (Musher is in the image)");
  options.add(
      "image", &settings_.image, "AMI",
      "Debian 12, with an NVIDIA driver where there are GPUs, or ssm: and the parameter that "
      "has it (Debian's newest)");
  options.add("subnet", &settings_.subnet, "SUBNET", "where (the default VPC's first)");
  options.add("disk", &settings_.disk_gib, "GIB", "of the encrypted volume of each (100)");
  options.add(
      "efa", &efa_, "WHEN",
      "Elastic Fabric Adapters, with their driver and NCCL's plugin: no, where-there-is (if "
      "the type has them), always (no)");
  options.add("tag", &tags_, "KEY=VALUE", "for all that is made; may be repeated");
}

FleetSettings FleetOptions::settings(const std::string& name) const {
  FleetSettings settings = settings_;
  settings.name = name;
  if (!role_policy_.empty()) settings.role_policy = read_policy(role_policy_);
  settings.tags = tags_of(tags_);
  settings.efa = efa_use(efa_);
  // Both are at the same paths on the hosts: ROOT/build/bin/musher, and what ROOT/.venv links to.
  settings.root = fs::read_symlink("/proc/self/exe").parent_path().parent_path().parent_path();
  settings.cache =
      fs::weakly_canonical(fs::path(MUSHER_MPIRUN).parent_path().parent_path()).parent_path();
  return settings;
}

int FleetOptions::slots(int gpus) const {
  return slots_.value_or(std::max(1, gpus));
}

void add_aws_options(Options& options, AwsAccess* access) {
  options.add("region", &access->region, "REGION", "of AWS (that of AWS's own configuration)");
  options.add("endpoint", &access->endpoint, "URL", "of a stand-in for AWS");
  options.add("aws", &access->program, "PATH", "AWS's command line, version 2 (/usr/bin/aws)");
}

}  // namespace musher::cli
