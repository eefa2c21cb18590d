#include "serving/endpoint/inference_service.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <numeric>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "serving/payload/answer.h"
#include "serving/payload/array.h"
#include "serving/payload/media_type.h"

namespace musher {
namespace {

constexpr std::array<std::string_view, 4> kPictureTypes = {"image/jpeg", "image/png", "image/webp",
                                                           "application/x-image"};
using Clock = std::chrono::steady_clock;

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kNpy = "application/x-npy";
/// Bytes of numbers that are decoded at once, on the thread that has read them: some microseconds,
/// less than it takes to hand them to another.
constexpr std::size_t kSmallBody = 4 << 10;

bool is_picture(std::string_view type) {
  return std::ranges::find(kPictureTypes, type) != kPictureTypes.end();
}

HttpResponse busy() {
  return http_error(503, "ServiceUnavailable", "too many requests wait already");
}

void expire(const Invocation& invocation) {
  invocation.exchange->answer(
      http_error(503, "ServiceUnavailable", "the request waited too long for its turn"));
}

/// Counts an invocation until it has its answer, which then says how long it took.
std::shared_ptr<Exchange> metered(std::shared_ptr<Exchange> exchange,
                                  std::shared_ptr<std::atomic<std::size_t>> under_way) {
  ++*under_way;
  return forward(std::move(exchange),
                 [under_way = std::move(under_way), began = Clock::now()](HttpResponse response) {
                   --*under_way;
                   response.upstream_status = response.status;
                   response.upstream_time = Clock::now() - began;
                   return response;
                 });
}

InferenceOptions checked(InferenceOptions options) {
  check(options.batching);
  if (options.instances < 1 || options.decode_threads < 1 || options.fetch_threads < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "instances and the numbers of threads must be at least 1");
  }
  return options;
}

}  // namespace

InferenceService::InferenceService(InferenceOptions options)
    : options_(checked(std::move(options))),
      urls_(options_.allowed_urls, options_.storage),
      decoders_("decode", options_.decode_threads, options_.batching.max_queued),
      fetchers_("fetch", options_.fetch_threads, options_.batching.max_queued),
      batcher_(
          options_.batching, options_.instances,
          [this](std::size_t instance, std::vector<Invocation> batch) {
            run(instance, std::move(batch));
          },
          expire) {}

InferenceService::~InferenceService() {
  close();
}

void InferenceService::close() {
  decoders_.close();
  fetchers_.close();
  batcher_.close();
}

void InferenceService::use(std::shared_ptr<Predictor> predictor) {
  const std::lock_guard lock(mutex_);
  predictor_.swap(predictor);  // the old one ends outside the lock, with its last request
}

std::shared_ptr<Predictor> InferenceService::predictor() const {
  const std::lock_guard lock(mutex_);
  return predictor_;
}

void InferenceService::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  const std::string_view path = request.path();
  const bool is_ping = path == "/ping";
  if (!is_ping && path != "/invocations") {
    return exchange->answer(
        http_error(404, "ResourceNotFound", "there is /ping and /invocations, and nothing else"));
  }
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (is_ping ? !get : request.method != "POST") {
    HttpResponse response = http_error(405, "MethodNotAllowed",
                                       is_ping ? "/ping takes GET" : "/invocations takes POST");
    response.headers.emplace_back("Allow", is_ping ? "GET, HEAD" : "POST");
    return exchange->answer(std::move(response));
  }
  if (is_ping) return ping(*exchange);
  invoke(std::move(request), std::move(exchange));
}

void InferenceService::ping(Exchange& exchange) const {
  if (predictor()) return exchange.answer({});
  exchange.answer(http_error(503, "ServiceUnavailable", "the model is not loaded yet"));
}

void InferenceService::invoke(HttpRequest request, std::shared_ptr<Exchange> outer) {
  const auto exchange = metered(std::move(outer), under_way_);
  Invocation invocation;
  invocation.predictor = predictor();
  if (!invocation.predictor) {
    return exchange->answer(http_error(503, "ServiceUnavailable", "the model is not loaded yet"));
  }
  const auto answer_type = choose_media_type(request.header("accept"), kAnswerTypes);
  if (!answer_type) {
    return exchange->answer(http_error(
        406, "NotAcceptable", "Accept must take application/json, text/csv or application/x-npy"));
  }
  const std::string type = media_type(request.header("content-type"));
  if (!is_picture(type) && type != kJson && type != kNpy) {
    return exchange->answer(
        http_error(415, "UnsupportedMediaType",
                   "Content-Type must be image/jpeg, image/png, image/webp, application/json or "
                   "application/x-npy"));
  }
  if (request.body.empty())
    return exchange->answer(http_error(400, "ValidationError", "the body is empty"));
  invocation.answer_type = *answer_type;
  invocation.came = Clock::now();
  invocation.deadline = invocation.came + options_.request_timeout;
  invocation.request = std::move(request);
  invocation.exchange = exchange;
  const bool small = !is_picture(type) && invocation.request.body.size() <= kSmallBody;
  if (small) return attempt(std::move(invocation), &InferenceService::decode);
  add(decoders_, std::move(invocation), &InferenceService::decode);
}

/// What goes wrong is the answer.
void InferenceService::attempt(Invocation invocation, void (InferenceService::*work)(Invocation)) {
  const auto exchange = invocation.exchange;
  if (exchange->cancelled())
    return exchange->answer(http_error(400, "BadRequest", "the client went away"));
  if (Clock::now() >= invocation.deadline) return expire(invocation);
  try {
    (this->*work)(std::move(invocation));
  } catch (const Error& error) {
    exchange->answer(answer_for(error));
  } catch (const std::exception& error) {
    exchange->answer(http_error(500, "InternalFailure", error.what()));
  }
}

void InferenceService::add(WorkPool& pool, Invocation invocation,
                           void (InferenceService::*work)(Invocation)) {
  const auto exchange = invocation.exchange;
  // std::function wants what can be copied.
  auto shared = std::make_shared<Invocation>(std::move(invocation));
  const bool added = pool.try_add([this, shared, work] { attempt(std::move(*shared), work); });
  if (!added) exchange->answer(busy());
}

void InferenceService::run(std::size_t instance, std::vector<Invocation> batch) {
  if (!options_.batch_log) return run_invocations(instance, std::move(batch));
  const auto began = Clock::now();
  BatchRecord record;
  record.instance = instance;
  for (const Invocation& one : batch) record.waits.push_back(began - one.came);
  run_invocations(instance, std::move(batch));
  record.duration = Clock::now() - began;
  options_.batch_log(record);
}

void InferenceService::decode(Invocation invocation) {
  const std::string type = media_type(invocation.request.header("content-type"));
  const std::string& body = invocation.request.body;
  if (is_picture(type)) {
    const std::string picture = std::move(invocation.request.body);
    return decode_picture(std::move(invocation), std::as_bytes(std::span(picture)));
  }
  Array array;
  if (type == kNpy) {
    array = read_npy(body);
  } else {
    auto instance = read_json_instance(body);
    if (auto* url = std::get_if<UrlInstance>(&instance)) {
      invocation.request.body = std::move(url->url);
      return add(fetchers_, std::move(invocation), &InferenceService::fetch);
    }
    array = std::get<Array>(std::move(instance));
  }
  invocation.inputs = one_sample(std::move(array), invocation.predictor->input_shape()).values;
  submit(std::move(invocation));
}

void InferenceService::fetch(Invocation invocation) {
  const std::vector<std::byte> picture = urls_.read(invocation.request.body, options_.url_limit);
  decode_picture(std::move(invocation), picture);
}

void InferenceService::decode_picture(Invocation invocation, std::span<const std::byte> picture) {
  const auto& shape = invocation.predictor->input_shape();
  const std::int64_t floats =
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  invocation.inputs.resize(static_cast<std::size_t>(floats));
  invocation.predictor->decode(picture, invocation.inputs.data());
  submit(std::move(invocation));
}

void InferenceService::submit(Invocation invocation) {
  const auto exchange = invocation.exchange;
  const auto deadline = invocation.deadline;
  const auto ticket = batcher_.submit(std::move(invocation), deadline);
  if (!ticket) return exchange->answer(busy());
  exchange->on_cancel([this, ticket = *ticket] {
    if (const auto left = batcher_.cancel(ticket))
      left->exchange->answer(http_error(400, "BadRequest", "the client went away"));
  });
}

}  // namespace musher
