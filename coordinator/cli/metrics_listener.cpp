#include "coordinator/cli/metrics_listener.h"

#include <utility>

#include "common/error.h"
#include "common/loopback.h"
#include "coordinator/server.h"
#include "monitoring/page.h"
#include "monitoring/process_usage.h"
#include "serving/http/server.h"
#include "serving/http/text_page.h"

namespace musher::cli {

namespace {

HttpServerOptions checked(const std::string& listen) {
  ListenAddress address = ListenAddress::parse(listen);
  if (address.host == "localhost") address.host = "127.0.0.1";
  if (!is_loopback(address.host)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "--metrics-listen must be a loopback address with a port, e.g. 127.0.0.1:9177, not " +
            listen);
  }
  HttpServerOptions options;
  options.address = address.host;
  options.port = static_cast<std::uint16_t>(address.port);
  return options;
}

std::string metrics_of(const MetricsListener::Fill& fill) {
  MetricsPage page;
  fill(page);
  add_process_usage(page);
  return page.text();
}

}  // namespace

class MetricsListener::Impl {
 public:
  Impl(const std::string& listen, Fill fill)
      : server(checked(listen), text_page("/metrics", kMetricsType,
                                          [fill = std::move(fill)] { return metrics_of(fill); })) {}
  HttpServer server;
};

MetricsListener::MetricsListener(const std::string& listen, Fill fill)
    : impl_(std::make_unique<Impl>(listen, std::move(fill))) {}
MetricsListener::~MetricsListener() = default;
std::uint16_t MetricsListener::port() const {
  return impl_->server.port();
}

}  // namespace musher::cli
