#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "serving/endpoint/predictor.h"
#include "serving/http/exchange.h"

namespace musher {

/// One POST to /invocations on its way.
struct Invocation {
  HttpRequest request;
  std::shared_ptr<Exchange> exchange;
  std::shared_ptr<Predictor> predictor;  ///< the one it was decoded for answers it
  std::string_view answer_type;          ///< of kAnswerTypes
  std::chrono::steady_clock::time_point came;
  std::chrono::steady_clock::time_point deadline;
  std::vector<float> inputs;  ///< once decoded
};

/// The answer for what went wrong, as SageMaker's containers give it.
HttpResponse answer_for(const Error& error);

/// Runs a batch on an instance and answers each. The samples of one predictor run together; where
/// that fails, each by itself, so that one that the model does not bear spoils no other's answer.
/// Throws nothing.
void run_invocations(std::size_t instance, std::vector<Invocation> batch);

}  // namespace musher
