#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_stream.hpp>

namespace musher {

/// The bytes of a connection, with TLS or without, as the one stream that Boost.Beast's algorithms
/// work on. Used on the socket's executor alone; one read and one write at a time.
class HttpStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Context = std::shared_ptr<boost::asio::ssl::context>;
  using executor_type = Socket::executor_type;  // NOLINT(readability-identifier-naming): Boost's

  /// `context`: TLS as its server; null: none.
  HttpStream(Socket socket, Context context)
      : socket_(std::move(socket)), context_(std::move(context)) {
    if (context_) tls_.emplace(socket_, *context_);
  }
  HttpStream(const HttpStream&) = delete;  // tls_ refers to socket_
  HttpStream& operator=(const HttpStream&) = delete;

  executor_type get_executor() { return socket_.get_executor(); }
  Socket& socket() { return socket_; }
  bool has_tls() const { return tls_.has_value(); }

  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    } else {
      socket_.async_read_some(buffers, std::forward<Handler>(handler));
    }
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    } else {
      socket_.async_write_some(buffers, std::forward<Handler>(handler));
    }
  }

  /// REQUIRES: has_tls().
  template <typename Handler>
  void async_handshake(Handler&& handler) {
    tls_->next_layer().async_handshake(boost::asio::ssl::stream_base::server,
                                       std::forward<Handler>(handler));
  }
  /// Says that nothing more is sent, and waits for the other side to say so. REQUIRES: has_tls().
  template <typename Handler>
  void async_shutdown(Handler&& handler) {
    tls_->next_layer().async_shutdown(std::forward<Handler>(handler));
  }

 private:
  /// Header and body of a small answer in one record instead of two.
  using Tls = boost::beast::flat_stream<boost::asio::ssl::stream<Socket&>>;

  Socket socket_;
  const Context context_;
  std::optional<Tls> tls_;
};

}  // namespace musher
