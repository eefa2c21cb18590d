// musher-endpoint: one model server.

#include <cerrno>
#include <csignal>
#include <iostream>
#include <optional>

#include <fmt/format.h>
#include <sys/resource.h>

#include "common/error.h"
#include "common/log.h"
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

void log_access(const Logger& log, const AccessRecord& record) {
  const auto milliseconds = std::chrono::duration<double, std::milli>(record.duration).count();
  log->info("access {} \"{} {}\" {} {} bytes {:.2f} ms", record.id, record.method, record.target,
            record.status, record.bytes, milliseconds);
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

int serve(EndpointOptions options, const Signals& signals) {
  const Logger log = make_logger();
  raise_descriptor_limit();
  set_compute_threads(options.threads);
  if (options.access_log)
    options.http.access_log = [log](const AccessRecord& record) { log_access(log, record); };
  InferenceService service(options.inference);
  const HttpHandler container = [&](HttpRequest request, std::shared_ptr<Exchange> exchange) {
    service.handle(std::move(request), std::move(exchange));
  };
  std::optional<Signed> signed_api;
  if (!options.keys.empty()) signed_api.emplace(options, container);
  std::optional<HttpServer> server;
  server.emplace(options.http, signed_api ? signed_api->handler() : container);
  log->info("listening on {}:{}", options.http.address, server->port());
  service.use(load(options));
  log->info("ready: {}", options.model);
  while (signals.wait() == SIGHUP) {
    try {
      service.use(load(options));
      log->info("reloaded: {}", options.model);
    } catch (const Error& error) {
      log->error("not reloaded, the model before goes on: {}", error.what());
    }
  }
  log->info("draining");
  const bool all = server->drain(Deadline::after(options.drain));
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
