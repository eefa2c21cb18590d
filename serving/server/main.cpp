// musher-endpoint: one model server.

#include <atomic>
#include <csignal>
#include <iostream>
#include <optional>

#include <sys/resource.h>

#include "common/error.h"
#include "common/log.h"
#include "serving/access/private_file.h"
#include "serving/http/access_line.h"
#include "serving/http/text_page.h"
#include "serving/http/token_gate.h"
#include "serving/metrics/endpoint_metrics.h"
#include "serving/predictor/artifact_predictor.h"
#include "serving/server/options.h"

namespace musher {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

/// The signals that this program waits for, blocked in every thread made after it.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
  }
  int wait() const {
    int number = 0;
    while (sigwait(&set_, &number) != 0) continue;
    return number;
  }

 private:
  sigset_t set_ = {};
};

/// As many connections as the system allows.
void raise_descriptor_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::shared_ptr<Predictor> load(const EndpointOptions& options) {
  return load_predictor(options.model, options.inference.storage,
                        {.instances = options.inference.instances,
                         .warm_up_batch = options.inference.batching.max_batch_size,
                         .max_pixels = options.max_pixels});
}

/// Has what happens counted, and logged where that is wanted.
void observe(EndpointOptions& options, EndpointMetrics& metrics, const Logger& log) {
  options.http.access_log = [&metrics, log,
                             lines = options.access_log](const AccessRecord& record) {
    metrics.add(record);
    if (lines) log->info("{}", access_line(record, "the model"));
  };
  if (options.http.tls)
    options.http.tls->notice = [log](const std::string& text) { log->warn("{}", text); };
  options.inference.batch_log = [&metrics](const BatchRecord& record) { metrics.add(record); };
}

/// InvokeEndpoint for signed requests.
class Signed {
 public:
  Signed(const EndpointOptions& options, HttpHandler container)
      : keys_(options.keys, options.endpoint.account),
        gate_(keys_, {options.endpoint.region, "sagemaker"}),
        api_(gate_, options.endpoint, std::move(container)) {}
  HttpHandler handler() {
    return [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
      api_.handle(std::move(request), std::move(exchange));
    };
  }

 private:
  AccessKeys keys_;
  AccessGate gate_;
  RuntimeApi api_;
};

/// The line of a file that its owner alone may read.
std::string read_token(const std::string& file) {
  std::string token = read_private_file(file).value_or("");
  while (token.ends_with('\n')) token.pop_back();
  if (token.empty()) throw Error(ErrorCode::kInvalidArgument, "--token: there is none in " + file);
  return token;
}

/// Reads the model now and at each SIGHUP, until another signal comes.
void keep_model(InferenceService& service, const EndpointOptions& options, EndpointMetrics& metrics,
                const Signals& signals, const Logger& log) {
  service.use(load(options));
  metrics.add_load(true);
  log->info("ready: {}", options.model);
  while (signals.wait() == SIGHUP) {
    try {
      service.use(load(options));
      metrics.add_load(true);
      log->info("reloaded: {}", options.model);
    } catch (const Error& error) {
      metrics.add_load(false);
      log->error("not reloaded, the model before goes on: {}", error.what());
    }
  }
}

int serve(EndpointOptions options, const Signals& signals) {
  const Logger log = make_logger();
  raise_descriptor_limit();
  set_compute_threads(options.threads);
  EndpointMetrics metrics;
  observe(options, metrics, log);
  InferenceService service(options.inference);
  std::atomic<const HttpServer*> running = nullptr;
  const HttpHandler page = text_page("/metrics", kMetricsType, [&] {
    const HttpServer* known = running;
    return metrics.page(service, known ? known->connections() : 0).text();
  });
  const HttpHandler container = [&](HttpRequest request, std::shared_ptr<Exchange> exchange) {
    // With signatures this path is closed, as all are but one: then --metrics-listen shows it.
    const bool metrics_wanted = request.path() == "/metrics" && options.keys.empty();
    if (metrics_wanted) return page(std::move(request), std::move(exchange));
    service.handle(std::move(request), std::move(exchange));
  };
  std::optional<Signed> signed_api;
  if (!options.keys.empty()) signed_api.emplace(options, container);
  std::optional<HttpServer> server;
  std::optional<HttpServer> metrics_server;
  HttpHandler handler = signed_api ? signed_api->handler() : container;
  if (!options.token.empty())
    handler = require_token(read_token(options.token), std::move(handler));
  server.emplace(options.http, std::move(handler));
  running = &*server;
  log->info("listening on {}:{}", options.http.address, server->port());
  if (options.metrics) {
    metrics_server.emplace(*options.metrics, page);
    log->info("metrics on {}:{}", options.metrics->address, metrics_server->port());
  }
  keep_model(service, options, metrics, signals, log);
  log->info("draining");
  const bool all = server->drain(Deadline::after(options.drain));
  metrics_server.reset();
  server.reset();  // before the service that it hands requests to
  service.close();
  log->info(all ? "ended" : "ended with requests that have no answer");
  return all ? 0 : kExitFailed;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  using namespace musher;
  try {
    const Signals signals;
    auto options = parse_endpoint_options(argc, argv);
    if (!options) return 0;
    options->inference.storage = StorageConfig::from_environment();
    return serve(std::move(*options), signals);
  } catch (const Error& error) {
    std::cerr << "musher-endpoint: " << error.what() << std::endl;
    return error.code() == ErrorCode::kInvalidArgument ? kExitUsage : kExitFailed;
  } catch (const std::exception& error) {
    std::cerr << "musher-endpoint: " << error.what() << std::endl;
    return kExitFailed;
  }
}
