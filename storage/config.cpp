#include "storage/config.h"

#include <cstdlib>
#include <initializer_list>

namespace musher {
namespace {

std::string first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return {};
}

}  // namespace

StorageConfig StorageConfig::from_environment() {
  StorageConfig config;
  config.s3_endpoint = first_set({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  config.s3_region = first_set({"AWS_REGION", "AWS_DEFAULT_REGION"});
  config.ca_bundle = first_set({"AWS_CA_BUNDLE"});
  return config;
}

}  // namespace musher
