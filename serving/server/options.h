#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "serving/endpoint/inference_service.h"
#include "serving/http/server.h"
#include "serving/runtime/runtime_api.h"

namespace musher {

/// The command line of musher-endpoint.
struct EndpointOptions {
  std::string model;  ///< URI of a model.tar.gz
  HttpServerOptions http;
  std::optional<HttpServerOptions> metrics;  ///< of a port for GET /metrics alone
  InferenceOptions inference;
  int threads = 0;  ///< of one instance; 0: the cores divided among the instances
  std::int64_t max_pixels = 50'000'000;
  std::chrono::seconds drain{25};  ///< SageMaker kills 30 s after SIGTERM
  bool access_log = false;
  std::string keys;   ///< folder of access keys; empty: SageMaker's container contract, unsigned
  std::string token;  ///< file with what X-Musher-Token of each request must be; empty: anything
  EndpointName endpoint;
};

/// Empty where help was asked for, and printed. kInvalidArgument naming the option.
std::optional<EndpointOptions> parse_endpoint_options(int argc, const char* const* argv);

}  // namespace musher
