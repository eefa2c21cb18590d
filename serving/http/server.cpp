#include "serving/http/server.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <fmt/format.h>

#include "common/error.h"
#include "common/thread.h"
#include "serving/http/connection.h"
#include "serving/http/server_tls.h"

namespace musher {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::chrono::milliseconds kAcceptPause{100};  // where there are no descriptors left

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) ^ device();
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpServerOptions options, HttpHandler handler)
      : tls_(options.tls ? std::make_unique<ServerTls>(*options.tls) : nullptr),
        io_(options.threads),
        acceptor_(asio::make_strand(io_)),
        pause_(acceptor_.get_executor()) {
    shared_.options = std::move(options);
    shared_.handler = std::move(handler);
    shared_.id_seed = random_seed();
    shared_.ended = [this](const HttpConnection* connection) { ended(connection); };
    listen();
    asio::post(acceptor_.get_executor(), [this] { accept(); });
    for (int i = 0; i < shared_.options.threads; ++i) {
      threads_.emplace_back(fmt::format("http-{}", i), [this] { io_.run(); });
    }
  }

  ~Impl() {
    io_.stop();
    for (Thread& thread : threads_) thread.join();
    connections_.clear();
  }

  std::uint16_t port() const { return port_; }

  std::size_t connections() const {
    const std::lock_guard lock(mutex_);
    return connections_.size();
  }

  bool drain(Deadline deadline) {
    shared_.draining = true;
    asio::post(acceptor_.get_executor(), [this] { stop_accepting(); });
    for (const auto& connection : living()) connection->drain();
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline.when(), [&] { return connections_.empty(); });
  }

 private:
  void listen() {
    const HttpServerOptions& options = shared_.options;
    boost::system::error_code error;
    const auto address = asio::ip::make_address(options.address, error);
    const tcp::endpoint endpoint(address, options.port);
    if (!error) acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      throw Error(ErrorCode::kUnavailable, fmt::format("can't listen on {}:{}: {}", options.address,
                                                       options.port, error.message()));
    }
    port_ = acceptor_.local_endpoint().port();
  }

  // On the acceptor's strand, as all that touches it.
  void accept() {
    if (!acceptor_.is_open() || accepting_) return;
    if (connections() >= shared_.options.max_connections) return;  // ended() goes on
    accepting_ = true;
    acceptor_.async_accept(executor(), [this](boost::system::error_code error, tcp::socket socket) {
      accepting_ = false;
      if (!acceptor_.is_open()) return;
      if (error) return accept_later();
      add(std::move(socket));
      accept();
    });
  }

  /// For all of one connection. Where one thread does everything, no strand need say that nothing
  /// runs beside it.
  asio::any_io_executor executor() {
    if (shared_.options.threads == 1) return io_.get_executor();
    return asio::make_strand(io_);
  }

  void accept_later() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this](boost::system::error_code) { accept(); });
  }

  void stop_accepting() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

  void add(tcp::socket socket) {
    auto tls = tls_ ? tls_->current(std::chrono::steady_clock::now()) : nullptr;
    auto connection = std::make_shared<HttpConnection>(std::move(socket), std::move(tls), shared_);
    {
      const std::lock_guard lock(mutex_);
      connections_[connection.get()] = connection;
    }
    connection->start();
  }

  void ended(const HttpConnection* connection) {
    bool was_full = false;
    std::shared_ptr<HttpConnection> last;  // destroyed outside the lock
    {
      const std::lock_guard lock(mutex_);
      was_full = connections_.size() >= shared_.options.max_connections;
      if (auto node = connections_.extract(connection)) last = std::move(node.mapped());
    }
    changed_.notify_all();
    if (was_full && !shared_.draining) asio::post(acceptor_.get_executor(), [this] { accept(); });
  }

  std::vector<std::shared_ptr<HttpConnection>> living() const {
    std::vector<std::shared_ptr<HttpConnection>> all;
    const std::lock_guard lock(mutex_);
    for (const auto& [address, connection] : connections_) {
      all.push_back(connection);
    }
    return all;
  }

  const std::unique_ptr<ServerTls> tls_;  ///< null: none
  // Before the io_context, whose end destroys connections that wait for something.
  HttpServerShared shared_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<const HttpConnection*, std::shared_ptr<HttpConnection>> connections_;

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  bool accepting_ = false;
  std::uint16_t port_ = 0;
  std::vector<Thread> threads_;
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}
HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const {
  return impl_->port();
}

std::size_t HttpServer::connections() const {
  return impl_->connections();
}

bool HttpServer::drain(Deadline deadline) {
  return impl_->drain(deadline);
}

}  // namespace musher
