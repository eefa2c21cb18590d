#include "serving/http/text_page.h"

#include <utility>

namespace musher {

HttpHandler text_page(std::string path, std::string content_type,
                      std::function<std::string()> text) {
  return [path = std::move(path), content_type = std::move(content_type), text = std::move(text)](
             const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
    if (request.path() != path) {
      return exchange->answer(
          http_error(404, "ResourceNotFound", "there is " + path + ", and nothing else"));
    }
    if (request.method != "GET" && request.method != "HEAD") {
      HttpResponse response = http_error(405, "MethodNotAllowed", path + " takes GET");
      response.headers.emplace_back("Allow", "GET, HEAD");
      return exchange->answer(std::move(response));
    }
    HttpResponse response;
    response.content_type = content_type;
    response.body = text();
    exchange->answer(std::move(response));
  };
}

}  // namespace musher
