#include "fuzz/victim.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

#include "common/error.h"
#include "image/image_decoder.h"
#include "serving/endpoint/inference_service.h"
#include "serving/http/server.h"
#include "serving/payload/answer.h"
#include "serving/payload/array.h"
#include "serving/payload/media_type.h"

namespace musher::test {
namespace {

constexpr std::int64_t kSize = 16;
constexpr std::int64_t kMaxPixels = 1'000'000;

ImageDecoder make_decoder() {
  ImageTransform transform;
  transform.size = kSize;
  transform.mean = {0.5, 0.5, 0.5};
  transform.std = {0.5, 0.5, 0.5};
  return ImageDecoder(transform, kMaxPixels);
}

class Mean : public Predictor {
 public:
  const std::vector<std::int64_t>& input_shape() const override { return shape_; }
  std::size_t outputs() const override { return 1; }
  void decode(std::span<const std::byte> picture, float* out) const override {
    decoder_.decode(picture, 0, out);
  }
  void predict(std::size_t, std::span<const float> inputs, std::size_t samples,
               std::span<float> outputs) override {
    const std::size_t each = inputs.size() / samples;
    for (std::size_t i = 0; i < samples; ++i) {
      const auto one = inputs.subspan(i * each, each);
      // In double: the mean of what is finite is finite.
      outputs[i] = static_cast<float>(std::accumulate(one.begin(), one.end(), 0.0) /
                                      static_cast<double>(each));
    }
  }

 private:
  const std::vector<std::int64_t> shape_ = {3, kSize, kSize};
  const ImageDecoder decoder_ = make_decoder();
};

HttpServerOptions http_options() {
  HttpServerOptions options;
  options.body_limit = 256 << 10;
  options.header_limit = 4 << 10;
  options.buffer_limit = 4 << 20;
  options.request_timeout = std::chrono::milliseconds(300);
  options.write_timeout = std::chrono::milliseconds(300);
  options.idle_timeout = std::chrono::milliseconds(300);
  return options;
}

std::string post(const std::string& type, const std::string& body, const std::string& more = "") {
  return fmt::format(
             "POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: {}\r\n{}Content-Length: "
             "{}\r\n\r\n",
             type, more, body.size()) +
         body;
}

std::string chunked(const std::string& type, const std::string& body) {
  const std::string half = body.substr(0, body.size() / 2);
  const std::string rest = body.substr(half.size());
  return fmt::format(
      "POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n"
      "\r\n{:x};name=value\r\n{}\r\n{:x}\r\n{}\r\n0\r\nTrailer: a\r\n\r\n",
      type, half.size(), half, rest.size(), rest);
}

}  // namespace

struct Victim::Impl {
  InferenceService service{[] {
    InferenceOptions options;
    options.batching.max_batch_delay = {};
    options.allowed_urls = {"file:///nonexistent/allowed"};
    return options;
  }()};
  HttpServer server{http_options(),
                    [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
                      service.handle(std::move(request), std::move(exchange));
                    }};
};

Victim::Victim() : impl_(std::make_unique<Impl>()) {
  impl_->service.use(std::make_shared<Mean>());
}
Victim::~Victim() = default;
std::uint16_t Victim::port() const {
  return impl_->server.port();
}
std::size_t Victim::connections() const {
  return impl_->server.connections();
}
std::size_t Victim::under_way() const {
  return impl_->service.under_way();
}

std::vector<std::string> good_bodies() {
  std::vector<std::string> bodies;
  std::ifstream photograph(std::filesystem::path(PHOTOGRAPHS) / "chelsea.jpg", std::ios::binary);
  bodies.emplace_back(std::istreambuf_iterator<char>(photograph), std::istreambuf_iterator<char>());
  const std::vector<float> values(3 * kSize * kSize, 0.5F);
  bodies.push_back(write_npy({{3, kSize, kSize}, values}));
  bodies.push_back(write_npy({{1, 3, 2, 2}, std::vector<float>(12, 1)}));
  bodies.push_back(R"({"instances": [[[[1, 2.5e3], [-0.1, null]]]]})");
  bodies.push_back(R"({"url": "s3://bucket/../\u0000key"})");
  bodies.push_back(R"({"url": "file:///nonexistent/allowed/a.jpg"})");
  // A PNG of one grey pixel.
  static constexpr char kPng[] =
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9c\x63`\0\0"
      "\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xae\x42`\x82";
  bodies.emplace_back(kPng, sizeof kPng - 1);
  return bodies;
}

std::vector<std::string> good_requests() {
  const std::vector<std::string> bodies = good_bodies();
  std::vector<std::string> requests = {
      "GET /ping HTTP/1.1\r\nHost: a\r\nX-Amzn-RequestId: abc-1\r\n\r\n",
      "HEAD /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /ping HTTP/1.0\r\n\r\nGET /ping?a=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
      post("image/jpeg", bodies[0]),
      post("application/x-npy", bodies[1], "Accept: application/x-npy, text/csv;q=0.5\r\n"),
      post("application/x-npy", bodies[2]),
      chunked("image/jpeg", bodies[0]),
      chunked("application/json", bodies[3]),
      post("application/json", bodies[4]),
      post("application/json", bodies[5], "Expect: 100-continue\r\n"),
      post("image/png; charset=x", bodies[6], "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
  };
  requests.push_back(requests[0] + requests[5] + requests[4]);
  return requests;
}

void parse_as_everything(const std::string& body) {
  static const ImageDecoder decoder = make_decoder();
  std::vector<float> floats(decoder.floats());
  const auto bytes = std::as_bytes(std::span(body));
  const auto bear = [](const auto& parse) {
    try {
      parse();
    } catch (const Error&) {
      // That is how it is to say so.
    }
  };
  bear([&] { decoder.decode(bytes, 0, floats.data()); });
  bear([&] { read_npy(body); });
  bear([&] { read_json_instance(body); });
  bear([&] { choose_media_type(body.substr(0, 1000), kAnswerTypes); });
}

}  // namespace musher::test
