#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "serving/batching/batcher.h"
#include "serving/endpoint/allowed_urls.h"
#include "serving/endpoint/invocation.h"
#include "serving/endpoint/work_pool.h"

namespace musher {

/// A batch that ran, for metrics.
struct BatchRecord {
  std::size_t instance = 0;
  std::chrono::steady_clock::duration duration{};  ///< with the answering
  /// Of each of its requests, from when it had come whole: decoding, and the queue.
  std::vector<std::chrono::steady_clock::duration> waits;
};

struct InferenceOptions {
  BatchingOptions batching;
  std::size_t instances = 1;                          ///< of the model, that run side by side
  std::size_t decode_threads = 2;                     ///< that turn bodies into inputs
  std::size_t fetch_threads = 4;                      ///< that wait for the objects that URLs name
  std::uint64_t url_limit = 6 << 20;                  ///< bytes of such an object
  std::chrono::milliseconds request_timeout{60'000};  ///< from the whole request to its answer
  std::vector<std::string> allowed_urls;              ///< prefixes
  StorageConfig storage;
  std::function<void(const BatchRecord&)> batch_log;  ///< called on the instances' threads
};

/// What a SageMaker container answers: `GET /ping` and `POST /invocations`. Decoding goes on beside
/// inference; nothing waits without a limit: where too much does, the answer is 503 with
/// Retry-After at once. Thread-safe.
/// https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
class InferenceService {
 public:
  /// kInvalidArgument naming the option.
  explicit InferenceService(InferenceOptions options);
  ~InferenceService();  ///< close()
  InferenceService(const InferenceService&) = delete;
  InferenceService& operator=(const InferenceService&) = delete;

  /// From now on new requests go to this one, and those under way stay with theirs: a model is
  /// replaced without a request that fails. Until the first, /ping says 503.
  void use(std::shared_ptr<Predictor> predictor);

  /// Answers, now or later. Never waits.
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange);

  /// Requests that are decoded and wait for an instance.
  std::size_t queued() const { return batcher_.queued(); }
  /// Invocations that have no answer yet, wherever they are.
  std::size_t under_way() const { return *under_way_; }
  bool ready() const { return predictor() != nullptr; }

  /// Answers what is under way, and ends. No handle() may come after.
  void close();

 private:
  std::shared_ptr<Predictor> predictor() const;
  void ping(Exchange& exchange) const;
  void invoke(HttpRequest request, std::shared_ptr<Exchange> outer);
  void attempt(Invocation invocation, void (InferenceService::*work)(Invocation));
  void add(WorkPool& pool, Invocation invocation, void (InferenceService::*work)(Invocation));
  void decode(Invocation invocation);
  void fetch(Invocation invocation);
  void decode_picture(Invocation invocation, std::span<const std::byte> picture);
  void submit(Invocation invocation);
  void run(std::size_t instance, std::vector<Invocation> batch);

  const InferenceOptions options_;
  AllowedUrls urls_;
  /// Shared with the exchanges, which may be let go of last.
  const std::shared_ptr<std::atomic<std::size_t>> under_way_ =
      std::make_shared<std::atomic<std::size_t>>(0);
  mutable std::mutex mutex_;
  std::shared_ptr<Predictor> predictor_;
  // Closed in this order: what each has left goes to the next.
  WorkPool decoders_;
  WorkPool fetchers_;
  Batcher<Invocation> batcher_;
};

}  // namespace musher
