#include "serving/server/options.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <thread>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "common/error.h"
#include "common/loopback.h"

namespace musher {
namespace {

namespace po = boost::program_options;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message + "; see musher-endpoint --help");
}

std::vector<std::size_t> parse_sizes(std::string_view text) {
  std::vector<std::size_t> sizes;
  while (!text.empty()) {
    std::size_t size = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const bool more = text.starts_with(',') && text.size() > 1;
    if (error != std::errc() || (!text.empty() && !more))
      refuse("--preferred-batch-sizes must be numbers with commas between, e.g. 8,16");
    sizes.push_back(size);
    if (more) text.remove_prefix(1);
  }
  return sizes;
}

/// As they stand on the command line, in its units.
struct Given {
  std::string preferred;
  std::int64_t port = 8080;
  std::int64_t max_batch_size = 32;
  double max_batch_delay_ms = 2;
  std::int64_t max_queued = 256;
  std::int64_t instances = 1;
  std::int64_t threads = 0;
  std::int64_t decode_threads = 0;
  std::int64_t io_threads = 1;
  double request_timeout = 60;
  double idle_timeout = 60;
  double body_timeout = 30;
  double drain = 25;
  std::int64_t body_limit_mib = 6;
  std::int64_t buffer_limit_mib = 1024;
  std::int64_t max_connections = 16'384;
  std::int64_t max_megapixels = 50;
};

void check_range(const char* option, double value, double least, double most) {
  if (!(value >= least && value <= most))
    refuse(fmt::format("{} must be from {} to {}, not {}", option, least, most, value));
}

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

void apply(const Given& given, EndpointOptions& options) {
  constexpr double kDay = 86'400;
  check_range("--port", static_cast<double>(given.port), 0, 65'535);
  check_range("--max-batch-size", static_cast<double>(given.max_batch_size), 1, 65'536);
  check_range("--max-batch-delay-ms", given.max_batch_delay_ms, 0, 60'000);
  check_range("--max-queued", static_cast<double>(given.max_queued), 1, 1e9);
  check_range("--instances", static_cast<double>(given.instances), 1, 1024);
  check_range("--threads", static_cast<double>(given.threads), 0, 1024);
  check_range("--decode-threads", static_cast<double>(given.decode_threads), 0, 1024);
  check_range("--io-threads", static_cast<double>(given.io_threads), 1, 1024);
  check_range("--request-timeout", given.request_timeout, 0.001, kDay);
  check_range("--idle-timeout", given.idle_timeout, 0.001, kDay);
  check_range("--body-timeout", given.body_timeout, 0.001, kDay);
  check_range("--drain", given.drain, 0, kDay);
  check_range("--body-limit-mib", static_cast<double>(given.body_limit_mib), 1, 4096);
  check_range("--buffer-limit-mib", static_cast<double>(given.buffer_limit_mib),
              static_cast<double>(given.body_limit_mib), 1 << 20);
  check_range("--max-connections", static_cast<double>(given.max_connections), 1, 1e6);
  check_range("--max-megapixels", static_cast<double>(given.max_megapixels), 1, 200);

  const auto size = [](std::int64_t value) { return static_cast<std::size_t>(value); };
  const std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  HttpServerOptions& http = options.http;
  http.port = static_cast<std::uint16_t>(given.port);
  http.threads = static_cast<int>(given.io_threads);
  http.body_limit = static_cast<std::uint64_t>(given.body_limit_mib) << 20;
  http.buffer_limit = static_cast<std::uint64_t>(given.buffer_limit_mib) << 20;
  http.max_connections = size(given.max_connections);
  http.idle_timeout = milliseconds_of(given.idle_timeout);
  http.request_timeout = milliseconds_of(given.body_timeout);
  InferenceOptions& inference = options.inference;
  inference.batching.max_batch_size = size(given.max_batch_size);
  inference.batching.max_batch_delay =
      std::chrono::microseconds(static_cast<std::int64_t>(given.max_batch_delay_ms * 1000));
  inference.batching.preferred_sizes = parse_sizes(given.preferred);
  inference.batching.max_queued = size(given.max_queued);
  inference.instances = size(given.instances);
  inference.decode_threads = size(given.decode_threads > 0 ? given.decode_threads : cores);
  inference.url_limit = http.body_limit;
  inference.request_timeout = milliseconds_of(given.request_timeout);
  options.threads = static_cast<int>(
      given.threads > 0 ? given.threads : std::max<std::int64_t>(1, cores / given.instances));
  options.max_pixels = given.max_megapixels * 1'000'000;
  options.drain = std::chrono::seconds(static_cast<std::int64_t>(given.drain));
  check(inference.batching);
}

/// HOST:PORT for --metrics-listen. What it shows is nobody's secret, but no stranger's either.
HttpServerOptions metrics_listener(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  HttpServerOptions listener;
  const auto end = text.data() + text.size();
  const auto parsed = colon == text.npos
                          ? std::from_chars_result{end, std::errc::invalid_argument}
                          : std::from_chars(text.data() + colon + 1, end, listener.port);
  listener.address = text.substr(0, colon);
  if (listener.address == "localhost") listener.address = "127.0.0.1";
  if (parsed.ec != std::errc() || parsed.ptr != end || !is_loopback(listener.address)) {
    refuse("--metrics-listen must be a loopback address with a port, e.g. 127.0.0.1:9100, not " +
           text);
  }
  return listener;
}

/// A listener that others can reach needs TLS, and requests that are signed or have a token.
void check_address(const EndpointOptions& options) {
  const std::string& address = options.http.address;
  const bool guarded = !options.keys.empty() || !options.token.empty();
  if (is_loopback(address) || (options.http.tls && guarded)) return;
  refuse(
      fmt::format("--address {} can be reached from other machines, which needs --tls, and "
                  "--endpoint with --keys or a --token; without both it must be of this machine, "
                  "e.g. 127.0.0.1",
                  address));
}

}  // namespace

std::optional<EndpointOptions> parse_endpoint_options(int argc, const char* const* argv) {
  EndpointOptions options;
  Given given;
  std::string metrics;
  std::string tls;
  po::options_description description(
      "musher-endpoint: serves the model of a job by SageMaker's container contract, GET /ping and "
      "POST /invocations.\n"
      "\n"
      "  musher-endpoint --model s3://bucket/jobs/NAME/output/model.tar.gz\n"
      "\n"
      "SIGTERM answers what is under way and ends; SIGHUP reads the model anew.\n"
      "\n"
      "Options");
  auto add = description.add_options();
  const auto value = [](auto* target, const char* placeholder) {
    return po::value(target)->value_name(placeholder);
  };
  add("help,h", "print this and end");
  add("model", value(&options.model, "URI"), "model.tar.gz, s3://… or file:///…");
  add("address", value(&options.http.address, "IP"),
      "to listen on; another than of this machine needs --tls, and --endpoint with --keys or a "
      "--token (127.0.0.1)");
  add("port", value(&given.port, "N"), "default 8080; 0: a free one");
  add("max-batch-size", value(&given.max_batch_size, "N"), "requests that run together (32)");
  add("max-batch-delay-ms", value(&given.max_batch_delay_ms, "MS"),
      "how long a request waits for others (2)");
  add("preferred-batch-sizes", value(&given.preferred, "N,N,…"),
      "as many requests run without a wait");
  add("max-queued", value(&given.max_queued, "N"), "requests that may wait; then 503 (256)");
  add("instances", value(&given.instances, "N"), "of the model, side by side (1)");
  add("threads", value(&given.threads, "N"), "of one instance (cores / instances)");
  add("decode-threads", value(&given.decode_threads, "N"), "for pictures (cores)");
  add("io-threads", value(&given.io_threads, "N"), "for connections (1)");
  add("request-timeout", value(&given.request_timeout, "S"), "until an answer; then 503 (60)");
  add("body-timeout", value(&given.body_timeout, "S"),
      "for a request to come whole; then 408 (30)");
  add("idle-timeout", value(&given.idle_timeout, "S"), "between requests; then closed (60)");
  add("body-limit-mib", value(&given.body_limit_mib, "MIB"), "of one request; then 413 (6)");
  add("buffer-limit-mib", value(&given.buffer_limit_mib, "MIB"),
      "of all bodies at once; then 503 (1024)");
  add("max-connections", value(&given.max_connections, "N"), "others wait (16384)");
  add("max-megapixels", value(&given.max_megapixels, "N"), "of a picture; then 400 (50)");
  add("allow-url", value(&options.inference.allowed_urls, "PREFIX"),
      "below which {\"url\": …} may name pictures; may be repeated (none)");
  add("drain", value(&given.drain, "S"), "for what is under way at SIGTERM (25)");
  add("endpoint", value(&options.endpoint.name, "NAME"),
      "answer SageMaker Runtime's InvokeEndpoint for this name, to signed requests alone");
  add("keys", value(&options.keys, "FOLDER"),
      "with --endpoint: the keys that `musher access` made");
  add("region", value(&options.endpoint.region, "REGION"), "of the endpoint (us-east-1)");
  add("tls", value(&tls, "FOLDER"),
      "HTTPS, with certificate.pem and key.pem of this folder, which `musher certs` makes");
  add("token", value(&options.token, "FILE"),
      "each request must have this file's line as X-Musher-Token, as those of the coordinator's "
      "HAProxy do");
  add("metrics-listen", value(&metrics, "HOST:PORT"),
      "a loopback address for GET /metrics alone; without --endpoint --port has it too");
  add("access-log", po::bool_switch(&options.access_log), "a line for each request");
  try {
    po::variables_map map;
    po::store(po::command_line_parser(argc, argv).options(description).run(), map);
    po::notify(map);
    if (map.count("help") != 0) {
      std::cout << description;
      return std::nullopt;
    }
  } catch (const po::error& error) {
    refuse(error.what());
  }
  if (options.model.empty()) refuse("--model is missing");
  Uri::parse(options.model);
  if (options.http.address == "localhost") options.http.address = "127.0.0.1";
  if (options.keys.empty() != options.endpoint.name.empty())
    refuse("--endpoint and --keys go together");
  if (!options.endpoint.name.empty()) check(options.endpoint);
  if (!tls.empty()) options.http.tls = tls_folder(tls);
  check_address(options);
  if (!metrics.empty()) options.metrics = metrics_listener(metrics);
  apply(given, options);
  return options;
}

}  // namespace musher
