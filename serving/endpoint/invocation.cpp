#include "serving/endpoint/invocation.h"

#include <algorithm>
#include <exception>
#include <span>
#include <utility>

#include "serving/payload/answer.h"

namespace musher {
namespace {

using Group = std::span<Invocation>;

/// Logits of all, one after another.
std::vector<float> predict(std::size_t instance, Group group) {
  Predictor& predictor = *group.front().predictor;
  std::vector<float> outputs(group.size() * predictor.outputs());
  if (group.size() == 1) {
    predictor.predict(instance, group.front().inputs, 1, outputs);
    return outputs;
  }
  std::vector<float> inputs;
  inputs.reserve(group.size() * group.front().inputs.size());
  for (const Invocation& one : group)
    inputs.insert(inputs.end(), one.inputs.begin(), one.inputs.end());
  predictor.predict(instance, inputs, group.size(), outputs);
  return outputs;
}

void answer(Invocation& invocation, std::span<const float> logits) {
  HttpResponse response;
  response.content_type = invocation.answer_type;
  response.body = write_answer(logits, invocation.answer_type);
  invocation.exchange->answer(std::move(response));
}

void run_group(std::size_t instance, Group group) {
  try {
    const std::size_t outputs = group.front().predictor->outputs();
    const std::vector<float> logits = predict(instance, group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      try {
        answer(group[i], std::span(logits).subspan(i * outputs, outputs));
      } catch (const Error& error) {
        group[i].exchange->answer(answer_for(error));
      }
    }
  } catch (const std::exception& error) {
    if (group.size() > 1) {
      for (std::size_t i = 0; i < group.size(); ++i) run_group(instance, group.subspan(i, 1));
      return;
    }
    group.front().exchange->answer(
        http_error(500, "ModelError", std::string("the model failed: ") + error.what()));
  }
}

}  // namespace

HttpResponse answer_for(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kDataLoss:
      return http_error(400, "ValidationError", error.what());
    case ErrorCode::kPermissionDenied:
      return http_error(403, "AccessDeniedException", error.what());
    case ErrorCode::kNotFound:
      return http_error(404, "ResourceNotFound", error.what());
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
    case ErrorCode::kResourceExhausted:
      return http_error(503, "ServiceUnavailable", error.what());
    default:
      return http_error(500, "InternalFailure", error.what());
  }
}

void run_invocations(std::size_t instance, std::vector<Invocation> batch) {
  const auto gone = [](const Invocation& one) { return one.exchange->cancelled(); };
  for (Invocation& one : batch) {
    if (gone(one)) one.exchange->answer(http_error(400, "BadRequest", "the client went away"));
  }
  std::erase_if(batch, gone);
  for (auto begin = batch.begin(); begin != batch.end();) {
    const auto end = std::find_if(begin, batch.end(), [&](const Invocation& one) {
      return one.predictor != begin->predictor;
    });
    run_group(instance, Group(begin, end));
    begin = end;
  }
}

}  // namespace musher
