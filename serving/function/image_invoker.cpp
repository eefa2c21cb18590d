#include "serving/function/image_invoker.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "serving/function/s3_url.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

std::string url_in(const std::string& event) {
  const Json json = Json::parse(event, nullptr, /*allow_exceptions=*/false);
  const auto url = json.is_object() ? json.find("url") : json.end();
  if (!json.is_object() || url == json.end() || !url->is_string()) {
    throw FunctionError("ValueError",
                        R"(the event must be {"url": "s3://BUCKET/KEY"}, which names an image)");
  }
  return s3_uri_of(url->get<std::string>());
}

const char* type_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNotFound:
      return "NoSuchKey";
    case ErrorCode::kPermissionDenied:
      return "AccessDenied";
    case ErrorCode::kInvalidArgument:
      return "ValueError";
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return "ServiceUnavailable";
    default:
      return "RuntimeError";
  }
}

std::string answer_of(const EndpointAnswer& answer, const FunctionContext& context) {
  // What says that it is JSON may not be.
  if (!Json::accept(answer.body)) {
    throw FunctionError(
        "JSONDecodeError",
        fmt::format("the endpoint's answer of type \"{}\" is not JSON", answer.content_type));
  }
  const Json response = {
      {"statusCode", 200},
      {"headers", {{"Content-Type", "text/plain"}, {"Access-Control-Allow-Origin", "*"}}},
      {"type-result", "<class 'str'>"},
      {"COntent-Type-In", to_string(context)},
      {"body", answer.body}};
  return response.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string picture_type(std::string_view picture) {
  if (picture.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (picture.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (picture.starts_with("RIFF") && picture.substr(0, 12).ends_with("WEBP")) return "image/webp";
  return "application/x-image";
}

ImageInvoker::ImageInvoker(ImageInvokerOptions options, EndpointClientOptions client)
    : options_(std::move(options)),
      urls_(options_.allowed_urls, options_.storage),
      client_(std::move(client)) {}

std::string ImageInvoker::fetch(const std::string& url, FunctionLog& log) {
  try {
    const std::vector<std::byte> bytes = urls_.read(url, options_.image_limit);
    log.line(fmt::format("{}: {} bytes", url, bytes.size()));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } catch (const Error& error) {
    throw FunctionError(type_of(error), error.what());
  }
}

std::string ImageInvoker::operator()(const std::string& event, const FunctionContext& context,
                                     FunctionLog& log) {
  EndpointCall call = {.endpoint = options_.endpoint,
                       .content_type = {},
                       .body = fetch(url_in(event), log),
                       .request_id = context.request_id};
  call.content_type = picture_type(call.body);
  const EndpointAnswer answer = [&] {
    try {
      return client_.invoke(call, context.deadline);
    } catch (const Error& error) {
      throw FunctionError(type_of(error), error.what());
    }
  }();
  log.line(
      fmt::format("endpoint {}: {}, {} bytes", call.endpoint, answer.status, answer.body.size()));
  if (answer.status != 200) {
    throw FunctionError(
        answer.error_code,
        fmt::format("An error occurred ({}) when calling the InvokeEndpoint operation: {}",
                    answer.error_code, answer.error_message));
  }
  return answer_of(answer, context);
}

}  // namespace musher
