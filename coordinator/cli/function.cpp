// musher function

#include <algorithm>

#include <fmt/format.h>

#include "common/log.h"
#include "common/loopback.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/daemon_options.h"
#include "coordinator/cli/metrics_listener.h"
#include "coordinator/server.h"
#include "serving/function/function_api.h"
#include "serving/function/image_invoker.h"
#include "serving/http/access_line.h"
#include "serving/http/server.h"

namespace musher::cli {

namespace {

/// As it stands on the command line.
struct Given {
  std::string verb;
  FunctionName function;
  std::string listen = "127.0.0.1:7078";
  std::string tls;
  std::string keys;
  std::string endpoint;
  std::string endpoint_url;
  std::string endpoint_key;
  std::vector<std::string> allowed_urls;
  int reserved_concurrency = 10;
  double timeout = 60;
  int max_retries = 2;
  double retry_after = 60;
  double max_event_age = 21'600;
  double drain = 70;
  bool access_log = false;
  std::string metrics_listen;
  std::string state;
};

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message + "; see musher function --help");
}

void check_range(const char* option, double value, double least, double most) {
  if (!(value >= least && value <= most))
    refuse(fmt::format("{} must be from {} to {}, not {}", option, least, most, value));
}

void check_given(const Given& given) {
  if (given.verb != "serve") refuse("musher function has serve, not \"" + given.verb + "\"");
  check(given.function);
  for (const auto& [option, value] : {std::pair{"--keys", &given.keys},
                                      {"--endpoint", &given.endpoint},
                                      {"--endpoint-url", &given.endpoint_url},
                                      {"--endpoint-key", &given.endpoint_key}}) {
    if (value->empty()) refuse(fmt::format("{} is missing", option));
  }
  if (given.allowed_urls.empty())
    refuse("--allow-url is missing: the function reads images below such a prefix alone");
  check_range("--reserved-concurrency", given.reserved_concurrency, 0, 1000);
  check_range("--timeout", given.timeout, 0.001, 900);
  check_range("--max-retries", given.max_retries, 0, 2);
  check_range("--retry-after", given.retry_after, 0.001, 3600);
  check_range("--max-event-age", given.max_event_age, 1, 21'600);
  check_range("--drain", given.drain, 0, 86'400);
}

HttpServerOptions http_options(const Given& given, const Logger& logger) {
  const ListenAddress address = ListenAddress::parse(given.listen);
  if (given.tls.empty() && !is_loopback(address.host)) {
    refuse("--listen " + given.listen +
           " can be reached from other machines, which needs --tls; "
           "without it it must be of this machine, e.g. 127.0.0.1:7078");
  }
  HttpServerOptions http;
  if (!given.tls.empty()) {
    http.tls = tls_folder(given.tls);
    http.tls->notice = [logger](const std::string& text) { logger->warn("{}", text); };
  }
  http.address = address.host == "localhost" ? "127.0.0.1" : address.host;
  http.port = static_cast<std::uint16_t>(address.port);
  // What is a little too large is told so in Lambda's words.
  http.body_limit = FunctionApi::kCallLimit + (1 << 20);
  return http;
}

FunctionOptions function_options(const Given& given) {
  FunctionOptions options;
  options.name = given.function.name;
  options.reserved_concurrency = static_cast<std::size_t>(given.reserved_concurrency);
  options.timeout = milliseconds(given.timeout);
  options.events.max_retries = given.max_retries;
  options.events.first_retry = milliseconds(given.retry_after);
  options.events.max_age = milliseconds(given.max_event_age);
  if (!given.state.empty()) {
    options.state = std::filesystem::absolute(given.state) / given.function.name;
  }
  return options;
}

/// A store that does not answer takes no longer than the function may.
StorageConfig storage_options(const Given& given) {
  StorageConfig storage = StorageConfig::from_environment();
  const auto most = std::max(std::chrono::milliseconds(1), milliseconds(given.timeout) / 2);
  storage.connect_timeout = std::min(storage.connect_timeout, most);
  storage.request_timeout = std::min(storage.request_timeout, most);
  storage.retry_limit = std::min(storage.retry_limit, most);
  return storage;
}

int serve(const Given& given) {
  block_stop_signals();
  const Logger logger = make_logger();
  const StorageConfig storage = storage_options(given);
  const auto invoker = std::make_shared<ImageInvoker>(
      ImageInvokerOptions{
          .endpoint = given.endpoint, .allowed_urls = given.allowed_urls, .storage = storage},
      EndpointClientOptions{.url = given.endpoint_url,
                            .region = given.function.region,
                            .key = read_signing_key(given.endpoint_key),
                            .ca_bundle = storage.ca_bundle});
  AccessKeys keys(given.keys, given.function.account);
  AccessGate gate(keys, {given.function.region, "lambda"});
  FunctionService service(
      function_options(given),
      [invoker](const std::string& event, const FunctionContext& context, FunctionLog& log) {
        return (*invoker)(event, context, log);
      },
      logger);
  if (given.state.empty())
    logger->warn("events are in memory alone, and lost with it; --state DIR keeps them");
  FunctionApi api(gate, given.function, service);
  HttpServerOptions http = http_options(given, logger);
  http.access_log = [&service, logger, lines = given.access_log](const AccessRecord& record) {
    service.metrics().add(record);
    if (lines) logger->info("{}", access_line(record));
  };
  HttpServer server(http, [&](HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
    api.handle(std::move(request), exchange);
  });
  logger->info("function {} on {}:{}, at most {} executions at a time", given.function.arn(),
               http.address, server.port(), given.reserved_concurrency);
  std::optional<MetricsListener> metrics;
  if (!given.metrics_listen.empty()) {
    metrics.emplace(given.metrics_listen, [&service, &server](MetricsPage& page) {
      service.add_metrics(page, server.connections());
    });
    logger->info("metrics on 127.0.0.1:{}", metrics->port());
  }
  while (wait_for_stop_signal(Deadline::after(std::chrono::hours(1))) == 0) {
  }
  logger->info("draining");
  const bool all = server.drain(Deadline::after(milliseconds(given.drain)));
  service.close();
  logger->info(all ? "ended" : "ended with calls that have no answer");
  return all ? kOk : kFailed;
}

int run(const Command& command, const std::vector<std::string>& words) {
  Given given;
  Options options(command);
  options.positional("VERB", &given.verb);
  options.positional("NAME", &given.function.name);
  options.add("listen", &given.listen, "HOST:PORT",
              "port 0: a free one; another than a loopback address needs --tls (127.0.0.1:7078)");
  options.add("tls", &given.tls, "FOLDER",
              "HTTPS, with certificate.pem and key.pem of this folder, which `musher certs` makes");
  options.add("keys", &given.keys, "FOLDER",
              "of `musher access`: who may lambda:InvokeFunction; needed");
  options.add("endpoint", &given.endpoint, "NAME", "that the function invokes; needed");
  options.add("endpoint-url", &given.endpoint_url, "URL",
              "where that is: https://HOST:PORT, or http:// on this machine; needed");
  options.add("endpoint-key", &given.endpoint_key, "FILE",
              "the function's own key, as `musher access create` printed it, its owner's alone; "
              "needed");
  options.add("allow-url", &given.allowed_urls, "PREFIX",
              "below which images are read, s3://bucket/folder; may be repeated; needed");
  options.add("reserved-concurrency", &given.reserved_concurrency, "N",
              "executions at a time; what is more gets 429 (10)");
  options.add("timeout", &given.timeout, "S", "of one execution (60)");
  options.add("max-retries", &given.max_retries, "N", "of an event after a failure, 0 to 2 (2)");
  options.add("retry-after", &given.retry_after, "S",
              "until the first of them, twice as long until the second (60)");
  options.add("max-event-age", &given.max_event_age, "S",
              "after which an event is given up (21600)");
  options.add("state", &given.state, "DIR",
              "where events are kept, in DIR/NAME, until they have come to their end; without it "
              "they are in memory alone, and those that still wait are lost when the function ends "
              "or is killed");
  options.add("region", &given.function.region, "REGION", "of function and endpoint (us-east-1)");
  options.add("drain", &given.drain, "S", "for what is under way at SIGTERM (70)");
  options.add("metrics-listen", &given.metrics_listen, "HOST:PORT",
              "a loopback address for GET /metrics, in Prometheus' form (none)");
  options.add("access-log", &given.access_log, "a line for each request");
  if (!options.parse(words)) return kOk;
  check_given(given);
  return serve(given);
}

}  // namespace

const Command kFunction = {
    "function", "serve NAME",
    "Serve a function by AWS Lambda's Invoke API: it fetches the image that an event names, "
    "{\"url\": \"s3://bucket/lab.jpg\"}, asks an endpoint about it and returns what that says. "
    "Callers sign as boto3 does.",
    run};

}  // namespace musher::cli
