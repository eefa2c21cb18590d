#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "serving/client/endpoint_client.h"
#include "serving/endpoint/allowed_urls.h"
#include "serving/function/execution.h"

namespace musher {

struct ImageInvokerOptions {
  std::string endpoint;                   ///< its name
  std::vector<std::string> allowed_urls;  ///< prefixes below which images may lie
  std::uint64_t image_limit = 6 << 20;    ///< bytes
  StorageConfig storage;
};

/// The function of the dog-breed project: an event `{"url": "s3://bucket/lab.jpg"}` names an image,
/// which it fetches and sends to the endpoint by InvokeEndpoint; its answer is
///
///     {"statusCode": 200,
///      "headers": {"Content-Type": "text/plain", "Access-Control-Allow-Origin": "*"},
///      "type-result": "<class 'str'>", "COntent-Type-In": "LambdaContext(…)",
///      "body": "[[…logits…]]"}
///
/// What goes wrong is a FunctionError with the service's own code and words, as boto3 would have
/// raised it. Thread-safe.
class ImageInvoker {
 public:
  ImageInvoker(ImageInvokerOptions options, EndpointClientOptions client);

  /// A `Function`.
  std::string operator()(const std::string& event, const FunctionContext& context,
                         FunctionLog& log);

 private:
  std::string fetch(const std::string& url, FunctionLog& log);

  const ImageInvokerOptions options_;
  AllowedUrls urls_;
  EndpointClient client_;
};

/// By the first bytes: image/jpeg, image/png, image/webp; else application/x-image.
std::string picture_type(std::string_view picture);

}  // namespace musher
